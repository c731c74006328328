package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// transfer is a read or a write of package syscalls, at an offset or not.
type transfer func(t *kernel.Task, f *vfs.File, b *mm.Buffer, off int64) (int, error)

func readHere(t *kernel.Task, f *vfs.File, b *mm.Buffer, _ int64) (int, error) {
	return syscalls.Read(t, f, b)
}

func writeHere(t *kernel.Task, f *vfs.File, b *mm.Buffer, _ int64) (int, error) {
	return syscalls.Write(t, f, b)
}

// move runs one transfer from or to a single buffer.
func move(t *kernel.Task, fd, addr, size uint64, off int64, op transfer) (uint64, error) {
	f, err := t.FDs().Get(int32(fd))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if int64(size) < 0 || addr+size < addr || addr+size > userTop {
		if size != 0 {
			return 0, unix.EFAULT
		}
	}
	n, err := op(t, f, t.Buffer(mm.Addr(addr), min(size, syscalls.MaxTransfer)), off)
	return uint64(n), err
}

func sysRead(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return move(t, a[0], a[1], a[2], 0, readHere)
}

func sysWrite(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return move(t, a[0], a[1], a[2], 0, writeHere)
}

func sysPread64(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return move(t, a[0], a[1], a[2], int64(a[3]), syscalls.PRead)
}

func sysPwrite64(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return move(t, a[0], a[1], a[2], int64(a[3]), syscalls.PWrite)
}

// maxIovecs is UIO_MAXIOV (readv(2)).
const maxIovecs = 1024

// loadIovecs reads an array of struct iovec; the lengths add up to MaxTransfer at most.
func loadIovecs(t *kernel.Task, addr, count uint64) ([]mm.Range, error) {
	if count > maxIovecs {
		return nil, unix.EINVAL
	}
	b := make([]byte, abi.IovecSize*count)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return nil, err
	}
	left := uint64(syscalls.MaxTransfer)
	ranges := make([]mm.Range, 0, count)
	for ; len(b) > 0; b = b[abi.IovecSize:] {
		v := abi.DecodeIovec(b)
		if int64(v.Len) < 0 {
			return nil, unix.EINVAL
		}
		if v.Len != 0 && (v.Base+v.Len < v.Base || v.Base+v.Len > userTop) {
			return nil, unix.EFAULT
		}
		size := min(v.Len, left)
		left -= size
		ranges = append(ranges, mm.Range{Start: mm.Addr(v.Base), End: mm.Addr(v.Base + size)})
	}
	return ranges, nil
}

// way is what a transfer asks of a file.
type way struct{ writes, positioned bool }

// check is ESPIPE or EBADF for what the file is not, or is not open for.
func (w way) check(f *vfs.File) error {
	if _, stream := f.Ops().(vfs.StreamOps); stream && w.positioned {
		return unix.ESPIPE
	}
	if w.writes && !f.Writable() || !w.writes && !f.Readable() {
		return unix.EBADF
	}
	return nil
}

// moveVector runs one transfer from or to several buffers. That of no bytes ends before the
// file hears of it: unlike write(2) it sends no empty datagram.
func moveVector(t *kernel.Task, fd, addr, count uint64, off int64, w way, op transfer) (uint64, error) {
	if w.positioned && off < 0 {
		return 0, unix.EINVAL
	}
	f, err := t.FDs().Get(int32(fd))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if err := w.check(f); err != nil {
		return 0, err
	}
	ranges, err := loadIovecs(t, addr, count)
	if err != nil {
		return 0, err
	}
	b := mm.NewBuffer(t.MM(), ranges)
	if b.Len() == 0 {
		return 0, nil
	}
	n, err := op(t, f, b, off)
	return uint64(n), err
}

func sysReadv(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return moveVector(t, a[0], a[1], a[2], 0, way{}, readHere)
}

func sysWritev(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return moveVector(t, a[0], a[1], a[2], 0, way{writes: true}, writeHere)
}

func sysPreadv(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return moveVector(t, a[0], a[1], a[2], int64(a[3]), way{positioned: true}, syscalls.PRead)
}

func sysPwritev(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return moveVector(t, a[0], a[1], a[2], int64(a[3]), way{writes: true, positioned: true}, syscalls.PWrite)
}

const rwfNoAppend = 0x20 // RWF_NOAPPEND

// rwFlags are the RWF_ flags that preadv2 and pwritev2 accept. HIPRI, DSYNC and SYNC
// ask for nothing, since writes reach their file at once.
const rwFlags = unix.RWF_HIPRI | unix.RWF_DSYNC | unix.RWF_SYNC | unix.RWF_NOWAIT | unix.RWF_APPEND | rwfNoAppend

func checkRWFlags(flags uint64) error {
	switch {
	case flags&^rwFlags != 0:
		return unix.EOPNOTSUPP
	case flags&unix.RWF_APPEND != 0 && flags&rwfNoAppend != 0:
		return unix.EINVAL
	}
	return nil
}

// sysPreadv2 reads at the position when the offset is -1. What RWF_NOWAIT forbids to
// wait for is data; a regular file's is there.
func sysPreadv2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	off := int64(a[3])
	op := syscalls.PRead
	switch noWait := a[5]&unix.RWF_NOWAIT != 0; {
	case noWait && off == -1:
		op = func(t *kernel.Task, f *vfs.File, b *mm.Buffer, _ int64) (int, error) { return f.Read(t, b) }
	case noWait:
		op = func(t *kernel.Task, f *vfs.File, b *mm.Buffer, off int64) (int, error) { return f.PRead(t, b, off) }
	case off == -1:
		op = readHere
	}
	return moveVector(t, a[0], a[1], a[2], off, way{positioned: off != -1}, func(t *kernel.Task, f *vfs.File, b *mm.Buffer, off int64) (int, error) {
		if err := checkRWFlags(a[5]); err != nil {
			return 0, err
		}
		return op(t, f, b, off)
	})
}

// sysPwritev2 writes at the position when the offset is -1.
func sysPwritev2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := a[5]
	return moveVector(t, a[0], a[1], a[2], int64(a[3]), way{true, int64(a[3]) != -1}, func(t *kernel.Task, f *vfs.File, b *mm.Buffer, off int64) (int, error) {
		if err := checkRWFlags(flags); err != nil {
			return 0, err
		}
		appending := (flags&unix.RWF_APPEND | uint64(f.Flags())&unix.O_APPEND) != 0
		if appending && flags&rwfNoAppend != 0 {
			if f.AppendOnly() {
				return 0, unix.EPERM
			}
			appending = false
		}
		return syscalls.WriteAs(t, f, b, off, appending, flags&unix.RWF_NOWAIT != 0)
	})
}

func sysLseek(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	off, err := f.Seek(t, int64(a[1]), int(int32(a[2])))
	return uint64(off), err
}

func sysSendfile(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return copyBetween(t, a[0], a[1], 0, a[2], a[3], true)
}

func sysCopyFileRange(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	return copyBetween(t, a[2], a[0], a[3], a[1], a[4], false)
}

// copyBetween moves bytes between two files; outAddr and inAddr hold offsets to
// use and advance, or are 0.
func copyBetween(t *kernel.Task, outFD, inFD, outAddr, inAddr, length uint64, stream bool) (uint64, error) {
	in, err := t.FDs().Get(int32(inFD))
	if err != nil {
		return 0, err
	}
	defer in.DecRef()
	out, err := t.FDs().Get(int32(outFD))
	if err != nil {
		return 0, err
	}
	defer out.DecRef()
	if err := mayCopy(t, out, in, stream, inAddr != 0); err != nil {
		return 0, err
	}
	inOff, err := loadOffset(t, inAddr)
	if err != nil {
		return 0, err
	}
	outOff, err := loadOffset(t, outAddr)
	if err != nil {
		return 0, err
	}
	n, err := syscalls.Copy(t, out, in, outOff, inOff, min(length, syscalls.MaxTransfer))
	if err != nil {
		return 0, err
	}
	for addr, off := range map[uint64]*int64{inAddr: inOff, outAddr: outOff} {
		if off != nil {
			if err := storeWords(t, addr, uint64(*off)); err != nil {
				return 0, err
			}
		}
	}
	return uint64(n), nil
}

// mayCopy refuses files that sendfile, or copy_file_range without stream, does not take;
// positioned says that the caller gives the place to read from.
func mayCopy(t *kernel.Task, out, in *vfs.File, stream, positioned bool) error {
	regular := in.FileType() == unix.S_IFREG && out.FileType() == unix.S_IFREG
	directory := in.FileType() == unix.S_IFDIR || out.FileType() == unix.S_IFDIR
	switch {
	case in.IsPath() || out.IsPath():
		return unix.EBADF
	case !stream && directory:
		return unix.EISDIR
	case !stream && !regular:
		return unix.EINVAL
	case !in.Readable() || !out.Writable():
		return unix.EBADF
	case directory:
		return unix.EINVAL
	case out.Flags()&unix.O_APPEND != 0 && !stream:
		return unix.EBADF
	case out.Flags()&unix.O_APPEND != 0:
		return unix.EINVAL
	case !stream && out.Immutable():
		return unix.EPERM
	case !stream && !in.Path().SameFS(out.Path()):
		return unix.EXDEV
	case in.FileType() == unix.S_IFSOCK && out.FileType() == unix.S_IFIFO:
		return nil
	}
	_, err := in.Seek(t, 0, unix.SEEK_CUR)
	switch {
	case err != nil && positioned:
		return unix.ESPIPE
	case err != nil:
		return unix.EINVAL // what was read could not be given back
	}
	return nil
}

func loadOffset(t *kernel.Task, addr uint64) (*int64, error) {
	if addr == 0 {
		return nil, nil
	}
	var w [1]uint64
	if err := loadWords(t, addr, w[:]); err != nil {
		return nil, err
	}
	off := int64(w[0])
	if off < 0 {
		return nil, unix.EINVAL
	}
	return &off, nil
}
