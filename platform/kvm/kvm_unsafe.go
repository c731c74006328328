package kvm

import (
	"runtime/debug"
	"unsafe"

	"gosentry/platform/kvm/pagetable"
)

// tablesOf is b as frames.
func tablesOf(b []byte) []pagetable.Table {
	return unsafe.Slice((*pagetable.Table)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/pageSize)
}

// bytesOf is a frame's memory.
func bytesOf(t *pagetable.Table) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), pageSize)
}

// addressOf is where b begins.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// copyOut copies from a window. It returns false where the file has no such page.
func copyOut(to, from []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	copy(to, from)
	return true
}
