package kvm

import (
	"sync/atomic"
	"unsafe"
)

// word is a word of the memory file that guests may be writing to.
func (g *testGuest) word(page uint64) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&g.mem[page*pageSize]))
}
