package ktime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

var _ [PageSize]byte = [unsafe.Sizeof(Page{})]byte{}

// pageAt lays a Page over b, which must be long enough and aligned to 8 bytes;
// EINVAL otherwise.
func pageAt(b []byte) (*Page, error) {
	if len(b) < PageSize || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 != 0 {
		return nil, unix.EINVAL
	}
	return (*Page)(unsafe.Pointer(unsafe.SliceData(b))), nil
}
