package sandbox

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prctlAllThreads makes a prctl(2) of one argument on every thread.
func prctlAllThreads(option int, arg uintptr) error {
	return everyThread(unix.SYS_PRCTL, uintptr(option), arg, 0)
}

// keepCapabilitiesAllThreads takes all capabilities but those of the mask, of which it may have some, from the permitted and
// effective sets of every thread, and empties the inheritable and with it the ambient set.
func keepCapabilitiesAllThreads(mask uint32) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := new([2]unix.CapUserData)
	if err := unix.Capget(header, &data[0]); err != nil {
		return err
	}
	mask &= data[0].Permitted
	*data = [2]unix.CapUserData{{Effective: mask, Permitted: mask}}
	err := everyThread(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(header)
	runtime.KeepAlive(data)
	return err
}

// nameProcess sets what ps(1) shows instead of the "exe" of /proc/self/exe.
func nameProcess() {
	name := []byte(os.Args[0] + "\x00")
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	runtime.KeepAlive(name)
}

func nonzero(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
