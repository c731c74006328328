package linux

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/callfilter"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Flags of SECCOMP_SET_MODE_FILTER.
const (
	seccompTSync      = 1 << 0
	seccompLog        = 1 << 1
	seccompSpecAllow  = 1 << 2
	seccompListener   = 1 << 3
	seccompTSyncESRCH = 1 << 4
	seccompKillable   = 1 << 5

	seccompFlags = seccompTSync | seccompLog | seccompSpecAllow | seccompListener | seccompTSyncESRCH | seccompKillable
)

// sysSeccomp is seccomp(2).
func sysSeccomp(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	switch uint32(a[0]) {
	case unix.SECCOMP_SET_MODE_STRICT:
		if uint32(a[1]) != 0 || a[2] != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetSeccompStrict(strictCalls)
	case unix.SECCOMP_SET_MODE_FILTER:
		return seccompFilter(t, uint32(a[1]), a[2])
	case unix.SECCOMP_GET_ACTION_AVAIL:
		return 0, seccompAvailable(t, uint32(a[1]), a[2])
	case unix.SECCOMP_GET_NOTIF_SIZES:
		if uint32(a[1]) != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.CopyOut(mm.Addr(a[2]), []byte{80, 0, 24, 0, callfilter.DataSize, 0})
	}
	return 0, unix.EINVAL
}

// prctlSeccomp is PR_SET_SECCOMP.
func prctlSeccomp(t *kernel.Task, mode, filter uint64) (uint64, error) {
	switch mode {
	case kernel.SeccompStrict:
		return 0, t.SetSeccompStrict(strictCalls)
	case kernel.SeccompFilter:
		return seccompFilter(t, 0, filter)
	}
	return 0, unix.EINVAL
}

// strictCalls are the calls that strict mode leaves.
func strictCalls(number uint64) bool {
	switch number {
	case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT, unix.SYS_RT_SIGRETURN:
		return true
	}
	return false
}

func seccompAvailable(t *kernel.Task, flags uint32, addr uint64) error {
	if flags != 0 {
		return unix.EINVAL
	}
	action, err := load32(t, addr)
	if err != nil {
		return err
	}
	switch callfilter.Action(action) {
	case callfilter.KillProcess, callfilter.KillThread, callfilter.Trap, callfilter.Errno,
		callfilter.UserNotif, callfilter.Trace, callfilter.Log, callfilter.Allow:
		return nil
	}
	return unix.EOPNOTSUPP
}

// seccompFilter installs the program of the struct sock_fprog at addr. It returns the id of a thread that
// cannot be given it, if all are to have it.
func seccompFilter(t *kernel.Task, flags uint32, addr uint64) (uint64, error) {
	listens := flags&seccompListener != 0
	switch {
	case flags&^seccompFlags != 0, flags&seccompKillable != 0 && !listens,
		listens && flags&(seccompTSync|seccompTSyncESRCH) == seccompTSync:
		return 0, unix.EINVAL
	}
	var fprog [2]uint64 // u16 length, address
	if err := loadWords(t, addr, fprog[:]); err != nil {
		return 0, err
	}
	n := int(uint16(fprog[0]))
	if n == 0 || n > callfilter.MaxInstructions {
		return 0, unix.EINVAL
	}
	if err := t.MayFilterCalls(); err != nil {
		return 0, err
	}
	given, err := loadInstructions(t, fprog[1], n)
	if err != nil {
		return 0, err
	}
	program, err := callfilter.Check(given)
	if err != nil {
		return 0, err
	}
	if listens {
		return seccompListen(t, program, flags)
	}
	failed, err := addFilter(t, program, flags, nil)
	return uint64(failed), err
}

func addFilter(t *kernel.Task, p callfilter.Program, flags uint32, l *kernel.CallListener) (int32, error) {
	failed, err := t.AddCallFilter(p, flags&seccompTSync != 0, l)
	if failed != 0 && flags&seccompTSyncESRCH != 0 {
		return 0, unix.ESRCH
	}
	return failed, err
}

// seccompListen installs a filter with a listener and returns the descriptor of that.
func seccompListen(t *kernel.Task, p callfilter.Program, flags uint32) (uint64, error) {
	fd, err := t.FDs().Open(t.Limits(), true, func() (*vfs.File, error) {
		l := kernel.NewCallListener(flags&seccompKillable != 0)
		if _, err := addFilter(t, p, flags, l); err != nil {
			return nil, err
		}
		return t.Kernel().ListenerFile(l), nil
	})
	return uint64(fd), err
}

func loadInstructions(t *kernel.Task, addr uint64, n int) ([]unix.SockFilter, error) {
	const size = 8
	b := make([]byte, size*n)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	list := make([]unix.SockFilter, n)
	for i := range list {
		in := b[size*i:]
		list[i] = unix.SockFilter{Code: le.Uint16(in), Jt: in[2], Jf: in[3], K: le.Uint32(in[4:])}
	}
	return list, nil
}
