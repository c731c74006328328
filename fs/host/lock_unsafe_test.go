package host

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lock puts a filter on all threads.
func lock(program []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	const setModeFilter, tsync = 1, 1
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	if e != 0 {
		return e
	}
	return nil
}
