package linux

import (
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// unshareFlags are the bits of unshare(2) besides those of namespaces.
const unshareFlags = unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM |
	unix.CLONE_SYSVSEM

// freshOf takes the namespaces out of CLONE_ flags and returns the other flags.
func freshOf(flags uint64) (fresh kernel.Fresh, rest uint64) {
	for _, f := range freshFlags {
		if flags&f.flag != 0 {
			fresh |= f.fresh
			flags &^= f.flag
		}
	}
	return fresh, flags
}

// sysUnshare is unshare(2), with what each flag implies.
func sysUnshare(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	fresh, flags := freshOf(a[0])
	if flags&^unshareFlags != 0 {
		return 0, unix.EINVAL
	}
	u := kernel.Unshare{
		Fresh:   fresh,
		Files:   flags&unix.CLONE_FILES != 0,
		FS:      flags&unix.CLONE_FS != 0 || fresh&(kernel.FreshMount|kernel.FreshUser) != 0,
		SysVSem: flags&unix.CLONE_SYSVSEM != 0,
		Memory:  flags&unix.CLONE_VM != 0,
		Actions: flags&(unix.CLONE_SIGHAND|unix.CLONE_VM) != 0,
		Thread:  flags&unix.CLONE_THREAD != 0 || fresh&kernel.FreshUser != 0,
	}
	return 0, t.Unshare(u)
}

// sysSetns is setns(2).
func sysSetns(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if f.IsPath() {
		return 0, unix.EBADF
	}
	fresh, rest := freshOf(uint64(uint32(a[1])))
	if rest != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.SetNS(f, fresh)
}
