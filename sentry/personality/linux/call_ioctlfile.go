package linux

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2) that every file answers alike, whatever it is.
const (
	fioBlockMap   = 1          // FIBMAP
	fioBlockSize  = 2          // FIGETBSZ
	fioSize       = 0x5460     // FIOQSIZE
	fioExtents    = 0xc020660b // FS_IOC_FIEMAP
	fioReadable   = unix.TIOCINQ
	fioClone      = unix.FICLONE
	fioCloneRange = unix.FICLONERANGE
)

// commonIoctl answers what is the same for all files; mine is false for what is the file's own affair.
func commonIoctl(t *kernel.Task, f *vfs.File, cmd uint32, arg uint64) (mine bool, err error) {
	if f.IsPath() {
		return true, unix.EBADF
	}
	regular := f.FileType() == unix.S_IFREG
	switch cmd {
	case fioBlockSize:
		return true, storeBlockSize(t, f, arg)
	case fioSize:
		return true, storeSize(t, f, arg)
	case fioExtents:
		return true, unix.EOPNOTSUPP
	case fioClone:
		return true, mayClone(t, f, int32(arg))
	case fioCloneRange:
		var w [4]uint64
		if err := loadWords(t, arg, w[:]); err != nil {
			return true, err
		}
		return true, mayClone(t, f, int32(w[0]))
	case fioBlockMap:
		if regular && !t.Creds().HasGlobal(unix.CAP_SYS_RAWIO) {
			return true, unix.EPERM
		}
		return regular, unix.EINVAL
	case fioReadable:
		return regular, storeBehind(t, f, arg)
	}
	return false, nil
}

func storeBlockSize(t *kernel.Task, f *vfs.File, addr uint64) error {
	s, err := vfs.Statfs(t, f.Path())
	if err != nil {
		return err
	}
	return store32(t, addr, uint32(s.Bsize))
}

func storeSize(t *kernel.Task, f *vfs.File, addr uint64) error {
	switch f.FileType() {
	case unix.S_IFREG, unix.S_IFDIR:
	default:
		return unix.ENOTTY
	}
	attr, err := f.Attr()
	if err != nil {
		return err
	}
	return storeWords(t, addr, uint64(attr.Size))
}

// storeBehind tells how much of a regular file is behind the position.
func storeBehind(t *kernel.Task, f *vfs.File, addr uint64) error {
	if f.FileType() != unix.S_IFREG {
		return nil
	}
	attr, err := f.Attr()
	if err != nil {
		return err
	}
	pos, err := f.Seek(t, 0, unix.SEEK_CUR)
	if err != nil {
		return unix.ENOTTY
	}
	return store32(t, addr, uint32(attr.Size-pos))
}

// mayClone refuses to share blocks between files, as a file system does that cannot: with the error that says what else is wrong,
// if anything is.
func mayClone(t *kernel.Task, out *vfs.File, fd int32) error {
	in, err := t.FDs().Get(fd)
	if err != nil {
		return err
	}
	defer in.DecRef()
	switch {
	case in.IsPath():
		return unix.EBADF
	case !in.Path().SameFS(out.Path()):
		return unix.EXDEV
	case in.FileType() == unix.S_IFDIR || out.FileType() == unix.S_IFDIR:
		return unix.EISDIR
	case in.FileType() != unix.S_IFREG || out.FileType() != unix.S_IFREG:
		return unix.EINVAL
	case !in.Readable() || !out.Writable() || out.Flags()&unix.O_APPEND != 0:
		return unix.EBADF
	}
	return unix.EOPNOTSUPP
}
