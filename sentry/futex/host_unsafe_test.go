package futex

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	hostWakeOpCode  = 5
	hostPrivateFlag = 128
)

// hostWakeOp is FUTEX_WAKE_OP of the host on v, with no waiters.
func hostWakeOp(v *uint32, encoded uint32) unix.Errno {
	var other uint32
	_, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&other)), hostWakeOpCode|hostPrivateFlag,
		1, 1, uintptr(unsafe.Pointer(v)), uintptr(encoded))
	return e
}
