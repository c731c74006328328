package platformtest

import (
	"sync/atomic"
	"unsafe"
)

// atomic loads from an offset of the memory file that guests write to meanwhile.
func (e *env) atomic(offset int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&e.mem[offset])))
}
