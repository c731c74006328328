package linux

import (
	"math"

	"gosentry/fs/vfs"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// fcntlAsync is what fcntl(2) has about the signals of asynchronous I/O.
func fcntlAsync(t *kernel.Task, f *vfs.File, cmd int32, arg uint64) (uint64, error) {
	switch cmd {
	case unix.F_SETOWN:
		kind, id := int32(kernel.OwnerProcess), int32(arg)
		if id == math.MinInt32 {
			return 0, unix.EINVAL
		}
		if id < 0 {
			kind, id = kernel.OwnerGroup, -id
		}
		return 0, setOwner(t, f, kind, id)
	case unix.F_GETOWN:
		kind, id := owner(t, f)
		if kind == kernel.OwnerGroup {
			id = -id
		}
		return uint64(int64(id)), nil
	case unix.F_SETOWN_EX:
		var w [1]uint64
		if err := loadWords(t, arg, w[:]); err != nil {
			return 0, err
		}
		kind := int32(w[0])
		if kind < kernel.OwnerThread || kind > kernel.OwnerGroup {
			return 0, unix.EINVAL
		}
		return 0, setOwner(t, f, kind, int32(w[0]>>32))
	case unix.F_GETOWN_EX:
		kind, id := owner(t, f)
		return 0, storeWords(t, arg, uint64(uint32(kind))|uint64(uint32(id))<<32)
	case unix.F_SETSIG:
		if arg != 0 && !signal.Valid(signal.Signal(arg)) {
			return 0, unix.EINVAL
		}
		f.SetAsync(func(a *vfs.Async) { a.Signal = int32(arg) })
		return 0, nil
	}
	return uint64(f.Async().Signal), nil
}

// setOwner makes a thread, process or group, 0 meaning nobody, the one that f tells.
func setOwner(t *kernel.Task, f *vfs.File, kind, id int32) error {
	var who any
	if id != 0 {
		pid, err := t.FindPID(id)
		if err != nil {
			return err
		}
		who = pid
	}
	creds := t.Creds()
	f.SetAsync(func(a *vfs.Async) { a.Owner, a.Kind, a.UID, a.EUID = who, kind, creds.RUID, creds.EUID })
	return nil
}

// owner returns what setOwner left, the id as t sees it: 0 if it is gone.
func owner(t *kernel.Task, f *vfs.File) (kind, id int32) {
	a := f.Async()
	if pid, ok := a.Owner.(*kernel.PID); ok {
		id = t.IDOf(pid)
	}
	return a.Kind, id
}

// setFlags is F_SETFL through descriptor fd.
func setFlags(t *kernel.Task, f *vfs.File, flags int, fd int32) error {
	if err := f.SetFlags(t, flags, fd); err != nil {
		return err
	}
	if flags&unix.O_ASYNC != 0 {
		t.AdoptAsync(f)
	}
	return nil
}
