package ktime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Both are ParamsSize bytes with the same offsets.
var (
	_ [ParamsSize]byte = [unsafe.Sizeof(Params{})]byte{}
	_ [ParamsSize]byte = [unsafe.Sizeof(page{})]byte{}
)

// pageAt lays a page over b, which must be long enough and aligned to 8 bytes;
// EINVAL otherwise.
func pageAt(b []byte) (*page, error) {
	if len(b) < ParamsSize || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 != 0 {
		return nil, unix.EINVAL
	}
	return (*page)(unsafe.Pointer(unsafe.SliceData(b))), nil
}
