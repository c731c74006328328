package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlBytes is ioctl(2) with a pointer to buf, which must be as long as cmd has it.
func ioctlBytes(fd int, cmd uint32, buf []byte) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(&buf[0])))
	if e != 0 {
		return e
	}
	return nil
}

// ioctlValue is ioctl(2) with a number.
func ioctlValue(fd int, cmd, arg uint32) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	if e != 0 {
		return e
	}
	return nil
}
