package linux

import (
	"encoding/binary"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysClose(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.FDs().Close(t, int32(a[0]))
}

// Flags of close_range(2).
const (
	closeRangeUnshare = 2
	closeRangeCloexec = 4
)

func sysCloseRange(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	first, last, flags := uint32(a[0]), uint32(a[1]), a[2]
	if flags&^(closeRangeUnshare|closeRangeCloexec) != 0 || first > last {
		return 0, unix.EINVAL
	}
	if err := closeRangeTable(t, first, last, flags); err != nil {
		return 0, err
	}
	if flags&closeRangeCloexec != 0 {
		t.FDs().MarkRange(first, last)
	} else {
		t.FDs().CloseRange(t, first, last)
	}
	return 0, nil
}

// closeRangeTable gives the task a table of its own where close_range asks for one; what is to be closed need not
// be in it.
func closeRangeTable(t *kernel.Task, first, last uint32, flags uint64) error {
	switch flags {
	case closeRangeUnshare:
		return t.UnshareFilesWithout(first, last)
	case closeRangeUnshare | closeRangeCloexec:
		return t.UnshareFiles()
	}
	return nil
}

func sysDup(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	return dupFD(t, f, 0, false)
}

func sysDup2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int32(a[0]) == int32(a[1]) {
		if _, err := t.FDs().CloseOnExec(int32(a[0])); err != nil {
			return 0, err
		}
		return uint64(uint32(a[0])), nil
	}
	return dupTo(t, int32(a[0]), int32(a[1]), false)
}

func sysDup3(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2]&^unix.O_CLOEXEC != 0 || int32(a[0]) == int32(a[1]) {
		return 0, unix.EINVAL
	}
	return dupTo(t, int32(a[0]), int32(a[1]), a[2] != 0)
}

func dupTo(t *kernel.Task, from, to int32, cloexec bool) (uint64, error) {
	f, err := t.FDs().Get(from)
	if err != nil {
		return 0, err
	}
	old, err := t.FDs().SetFD(t.Limits(), to, f, cloexec)
	if err != nil {
		f.DecRef()
		return 0, err
	}
	if old != nil {
		t.FDs().Drop(t, old) //nolint:errcheck // as Linux, dup2 does not report it
	}
	return uint64(to), nil
}

func sysPipe(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysPipe2(t, arch.SyscallArgs{a[0]})
}

func sysPipe2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := int(a[1])
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return 0, unix.EINVAL
	}
	r, w := pipe.New(t.Kernel().VFS(), t, flags&^unix.O_CLOEXEC)
	return 0, storeFDs(t, a[0], r, w, flags&unix.O_CLOEXEC != 0)
}

// storeFDs gives two files descriptors and writes their numbers to addr.
func storeFDs(t *kernel.Task, addr uint64, one, two *vfs.File, cloexec bool) error {
	fd1, err := newFD(t, one, cloexec)
	if err != nil {
		two.DecRef()
		return err
	}
	fd2, err := newFD(t, two, cloexec)
	if err != nil {
		t.FDs().Close(t, int32(fd1)) //nolint:errcheck // a fresh file
		return err
	}
	var b [8]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(fd1))
	binary.LittleEndian.PutUint32(b[4:], uint32(fd2))
	if err := t.CopyOut(mm.Addr(addr), b[:]); err != nil {
		t.FDs().Close(t, int32(fd1)) //nolint:errcheck // a fresh file
		t.FDs().Close(t, int32(fd2)) //nolint:errcheck // a fresh file
		return err
	}
	return nil
}

func sysFsync(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error { return f.Sync(false) })
}

func sysFdatasync(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error { return f.Sync(true) })
}

func sysSyncFileRange(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^7 != 0 || int64(a[1]) < 0 || int64(a[2]) < 0 {
		return 0, unix.EINVAL
	}
	return onFile(t, a[0], func(f *vfs.File) error {
		if f.FileType() != unix.S_IFREG && f.FileType() != unix.S_IFDIR {
			return unix.ESPIPE
		}
		return f.Sync(true)
	})
}

// sysSync has nothing to do: what the sandbox writes to the host is written at once.
func sysSync(*kernel.Task, arch.SyscallArgs) (uint64, error) { return 0, nil }

func sysSyncfs(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(*vfs.File) error { return nil })
}

func sysReadahead(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error {
		switch {
		case !f.Readable():
			return unix.EBADF
		case f.FileType() != unix.S_IFREG:
			return unix.EINVAL
		}
		return nil
	})
}

func sysFadvise64(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error {
		switch {
		case f.FileType() == unix.S_IFIFO:
			return unix.ESPIPE
		case int32(a[3]) < 0 || int32(a[3]) > unix.FADV_NOREUSE:
			return unix.EINVAL
		}
		return nil
	})
}

func sysFallocate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error {
		return failWrite(t, f.Allocate(t, uint32(a[1]), int64(a[2]), int64(a[3])))
	})
}

func sysFlock(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error {
		for {
			wait, err := f.Flock(int(int32(a[1])))
			if err != nil || wait == nil {
				return err
			}
			if err := t.Block(wait.C); err != nil {
				wait.Cancel()
				return err
			}
		}
	})
}

// maxDirents bounds what one getdents returns, in bytes.
const maxDirents = 1 << 20

func sysGetdents64(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return getdents(t, a, func(b []byte, d *vfs.Dirent) []byte {
		return abi.AppendDirent64(b, d.Ino, d.Next, d.Type, d.Name)
	})
}

// sysGetdents is the old form: the type stands in the last byte of a record.
func sysGetdents(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return getdents(t, a, func(b []byte, d *vfs.Dirent) []byte {
		return abi.AppendDirent(b, d.Ino, d.Next, d.Type, d.Name)
	})
}

func getdents(t *kernel.Task, a arch.SyscallArgs, encode func([]byte, *vfs.Dirent) []byte) (uint64, error) {
	room := int(min(uint64(uint32(a[2])), maxDirents))
	var b []byte
	full := false
	_, err := onFile(t, a[0], func(f *vfs.File) error {
		return f.ReadDir(t, func(d vfs.Dirent) bool {
			next := encode(b, &d)
			if full = len(next) > room; full {
				return false
			}
			b = next
			return true
		})
	})
	switch {
	case err != nil:
		return 0, err
	case full && len(b) == 0:
		return 0, unix.EINVAL
	}
	return uint64(len(b)), t.CopyOut(mm.Addr(a[1]), b)
}
