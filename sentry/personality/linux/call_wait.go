package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// waitFlags are the options that wait4(2) and waitid(2) share.
const waitFlags = unix.WNOHANG | unix.WCONTINUED | unix.WNOTHREAD | unix.WCLONE | unix.WALL

func waitArgs(options uint64) kernel.WaitArgs {
	return kernel.WaitArgs{
		Exited:    options&unix.WEXITED != 0,
		Stopped:   options&unix.WSTOPPED != 0,
		Continued: options&unix.WCONTINUED != 0,
		NoHang:    options&unix.WNOHANG != 0,
		NoReap:    options&unix.WNOWAIT != 0,
		Clone:     options&unix.WCLONE != 0,
		All:       options&unix.WALL != 0,
		OwnOnly:   options&unix.WNOTHREAD != 0,
	}
}

func sysWait4(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, options := int32(a[0]), uint64(uint32(a[2]))
	if options&^(waitFlags|unix.WUNTRACED) != 0 {
		return 0, unix.EINVAL
	}
	w := waitArgs(options | unix.WEXITED)
	switch {
	case id == -1<<31:
		return 0, unix.ESRCH
	case id == -1:
		w.Kind = kernel.WaitAny
	case id <= 0:
		w.Kind, w.ID = kernel.WaitGroup, -id
	default:
		w.Kind, w.ID = kernel.WaitPID, id
	}
	r, err := t.Wait(w)
	if err != nil || r.PID == 0 {
		return 0, err
	}
	if a[1] != 0 {
		if err := store32(t, a[1], uint32(r.Wait4Status())); err != nil {
			return 0, err
		}
	}
	if a[3] != 0 {
		if err := storeRusage(t, a[3], r.Usage); err != nil {
			return 0, err
		}
	}
	return uint64(r.PID), nil
}

// waitidFilled is what waitid writes: signo, errno, code, pid, uid and status.
const waitidFilled = 28

// sysWaitid writes zeroes where there is an error, too.
func sysWaitid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, err := waitFor(t, a)
	if err != nil && a[2] != 0 {
		if err := t.CopyOut(mm.Addr(a[2]), make([]byte, waitidFilled)); err != nil {
			return 0, err
		}
	}
	return n, err
}

func waitFor(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, options := int32(a[1]), uint64(uint32(a[3]))
	if options&^(waitFlags|unix.WNOWAIT|unix.WEXITED|unix.WSTOPPED) != 0 ||
		options&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return 0, unix.EINVAL
	}
	w := waitArgs(options)
	w.ID = id
	switch a[0] {
	case unix.P_ALL:
		w.Kind = kernel.WaitAny
	case unix.P_PID:
		if w.Kind = kernel.WaitPID; id <= 0 {
			return 0, unix.EINVAL
		}
	case unix.P_PGID:
		if w.Kind = kernel.WaitGroup; id < 0 {
			return 0, unix.EINVAL
		}
	case unix.P_PIDFD:
		if w.Kind = kernel.WaitProcess; id < 0 {
			return 0, unix.EINVAL
		}
		file, err := t.FDs().Get(id)
		if err != nil {
			return 0, err
		}
		defer file.DecRef()
		if w.Process, err = kernel.ChildOf(file); err != nil {
			return 0, err
		}
		if file.Flags()&unix.O_NONBLOCK != 0 && !w.NoHang {
			return waitNonblocking(t, w, a)
		}
	default:
		return 0, unix.EINVAL
	}
	return finishWaitid(t, w, a)
}

// waitNonblocking waits through a pidfd with PIDFD_NONBLOCK: EAGAIN where
// another wait would block.
func waitNonblocking(t *kernel.Task, w kernel.WaitArgs, a arch.SyscallArgs) (uint64, error) {
	w.NoHang = true
	w.NoReap = true
	r, err := t.Wait(w)
	if err == nil && r.PID == 0 {
		return 0, unix.EAGAIN
	}
	w.NoReap = waitArgs(uint64(uint32(a[3]))).NoReap
	return finishWaitid(t, w, a)
}

func finishWaitid(t *kernel.Task, w kernel.WaitArgs, a arch.SyscallArgs) (uint64, error) {
	r, err := t.Wait(w)
	if err != nil {
		return 0, err
	}
	if a[4] != 0 && r.PID != 0 {
		if err := storeRusage(t, a[4], r.Usage); err != nil {
			return 0, err
		}
	}
	if a[2] == 0 {
		return 0, nil
	}
	var b [arch.SiginfoSize]byte
	if r.PID != 0 {
		b = EncodeSiginfo(&signal.Info{
			Signo: unix.SIGCHLD, Code: r.Code, PID: r.PID, UID: r.UID, Status: r.Status,
		})
	}
	return 0, t.CopyOut(mm.Addr(a[2]), b[:waitidFilled])
}

// storeRusage writes a struct rusage.
func storeRusage(t *kernel.Task, addr uint64, u kernel.Usage) error {
	return t.CopyOut(mm.Addr(addr), abi.AppendRusage(make([]byte, 0, abi.RusageSize), &unix.Rusage{
		Utime: unix.NsecToTimeval(int64(u.User)), Stime: unix.NsecToTimeval(int64(u.System)),
		Maxrss: int64(u.MaxRSS / 1024), Minflt: int64(u.MinorFaults), Majflt: int64(u.MajFaults),
		Nvcsw: int64(u.VoluntarySwitches), Nivcsw: int64(u.InvoluntarySwitches),
	}))
}
