package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysFcntl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	fd, cmd := int32(a[0]), int32(a[1])
	f, err := t.FDs().Get(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if f.IsPath() && !fcntlOnPath(cmd) {
		return 0, unix.EBADF
	}
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		f.IncRef()
		return dupFD(t, f, int32(a[2]), cmd == unix.F_DUPFD_CLOEXEC)
	case unix.F_GETFD:
		on, err := t.FDs().CloseOnExec(fd)
		return boolean(on), err
	case unix.F_SETFD:
		return 0, t.FDs().SetCloseOnExec(fd, a[2]&unix.FD_CLOEXEC != 0)
	case unix.F_GETFL:
		return uint64(f.Flags()), nil
	case unix.F_SETFL:
		return 0, setFlags(t, f, int(a[2]), fd)
	case unix.F_CREATED_QUERY:
		return boolean(f.Created()), nil
	case unix.F_DUPFD_QUERY:
		return sameFile(t, f, int32(a[2]))
	case unix.F_GETLEASE:
		return uint64(f.Lease()), nil
	case unix.F_SETLEASE:
		return 0, t.SetLease(f, int16(max(-1, min(int32(a[2]), unix.F_UNLCK+1))), fd)
	case unix.F_GETLK, unix.F_OFD_GETLK:
		return 0, getLock(t, f, cmd, a[2])
	case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return 0, setLock(t, f, cmd, a[2])
	case unix.F_GETOWN, unix.F_SETOWN, unix.F_GETOWN_EX, unix.F_SETOWN_EX, unix.F_GETSIG, unix.F_SETSIG:
		return fcntlAsync(t, f, cmd, a[2])
	}
	return fcntlFile(t, f, cmd, a[2])
}

func fcntlOnPath(cmd int32) bool {
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_CREATED_QUERY, unix.F_DUPFD_QUERY:
		return true
	}
	return false
}

// sameFile tells whether a descriptor is of the same open file as f (F_DUPFD_QUERY).
func sameFile(t *kernel.Task, f *vfs.File, fd int32) (uint64, error) {
	other, err := t.FDs().Get(fd)
	if err != nil {
		return 0, err
	}
	defer other.DecRef()
	return boolean(f == other), nil
}

// writeHint is F_GET_RW_HINT and F_SET_RW_HINT: how long what is written will stay, which nobody here asks.
func writeHint(t *kernel.Task, f *vfs.File, set bool, addr uint64) error {
	var w [1]uint64
	if !set {
		w[0] = uint64(f.WriteHint())
		return storeWords(t, addr, w[:]...)
	}
	if err := loadWords(t, addr, w[:]); err != nil {
		return err
	}
	return f.SetWriteHint(t, w[0])
}

// fcntlFile is what only some files have: pipe sizes and seals.
func fcntlFile(t *kernel.Task, f *vfs.File, cmd int32, arg uint64) (uint64, error) {
	switch cmd {
	case unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ:
		o, ok := f.Ops().(vfs.SizerOps)
		switch {
		case !ok:
			return 0, unix.EBADF
		case cmd == unix.F_GETPIPE_SZ:
			return uint64(o.PipeSize()), nil
		case uint64(uint32(arg)) > 1<<31-1:
			return 0, unix.EINVAL
		case int64(uint32(arg)) > t.Kernel().VFS().PipeMax.Load() && int(uint32(arg)) > o.PipeSize() && !t.Creds().HasGlobal(unix.CAP_SYS_RESOURCE):
			return 0, unix.EPERM
		}
		n, err := o.SetPipeSize(t, int(uint32(arg)))
		return uint64(n), err
	case unix.F_GET_SEALS, unix.F_ADD_SEALS:
		o, ok := f.Ops().(vfs.SealOps)
		switch {
		case cmd == unix.F_ADD_SEALS && !f.Writable():
			return 0, unix.EPERM
		case !ok:
			return 0, unix.EINVAL
		case cmd == unix.F_GET_SEALS:
			return uint64(o.Seals()), nil
		}
		return 0, o.AddSeals(uint32(arg))
	case unix.F_GET_RW_HINT, unix.F_SET_RW_HINT:
		return 0, writeHint(t, f, cmd == unix.F_SET_RW_HINT, arg)
	}
	return 0, unix.EINVAL
}

// lockOf turns a struct flock into the lock that is meant, and its owner: the
// process, or nil for a lock of the open file.
func lockOf(t *kernel.Task, f *vfs.File, l *unix.Flock_t, cmd int32) (*vfs.LockOwner, vfs.RecordLock, error) {
	start, end, err := f.LockRange(l.Whence, l.Start, l.Len)
	if err != nil {
		return nil, vfs.RecordLock{}, err
	}
	lock := vfs.RecordLock{Type: l.Type, Start: start, End: end, PID: t.TGID()}
	switch cmd {
	case unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		if l.Pid != 0 {
			return nil, lock, unix.EINVAL
		}
		lock.PID = -1
		return nil, lock, nil
	}
	return t.FDs().LockOwner(), lock, nil
}

func setLock(t *kernel.Task, f *vfs.File, cmd int32, addr uint64) error {
	l, err := load(t, addr, abi.FlockSize, abi.DecodeFlock)
	if err != nil {
		return err
	}
	if l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK && l.Type != unix.F_UNLCK {
		return unix.EINVAL
	}
	owner, lock, err := lockOf(t, f, &l, cmd)
	if err != nil {
		return err
	}
	wait := cmd == unix.F_SETLKW || cmd == unix.F_OFD_SETLKW
	for {
		w, err := f.SetLock(owner, lock, wait)
		if err != nil || w == nil {
			return err
		}
		if err := t.Block(w.C); err != nil {
			w.Cancel()
			return err
		}
	}
}

func getLock(t *kernel.Task, f *vfs.File, cmd int32, addr uint64) error {
	l, err := load(t, addr, abi.FlockSize, abi.DecodeFlock)
	if err != nil {
		return err
	}
	if l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK {
		return unix.EINVAL
	}
	owner, lock, err := lockOf(t, f, &l, cmd)
	if err != nil {
		return err
	}
	found := f.TestLock(owner, lock)
	if found.Type == unix.F_UNLCK {
		l.Type = unix.F_UNLCK
		return t.CopyOut(mm.Addr(addr), abi.AppendFlock(nil, &l)[:2])
	}
	length := found.End - found.Start
	if found.End == 1<<63-1 {
		length = 0
	}
	return t.CopyOut(mm.Addr(addr), abi.AppendFlock(nil, &unix.Flock_t{
		Type: found.Type, Start: found.Start, Len: length, Pid: found.PID,
	}))
}
