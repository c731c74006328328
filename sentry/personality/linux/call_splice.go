package linux

import (
	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// spliceFlags are all flags of splice(2), tee(2) and vmsplice(2); of those only SPLICE_F_NONBLOCK
// means anything here.
const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MORE | unix.SPLICE_F_GIFT

// twoFiles returns the files that a call moves bytes between, to be dropped by the caller; EBADF when the
// one is not open for reading or the other for writing.
func twoFiles(t *kernel.Task, inFD, outFD uint64) (in, out *vfs.File, err error) {
	if in, err = t.FDs().Get(int32(inFD)); err != nil {
		return nil, nil, err
	}
	if out, err = t.FDs().Get(int32(outFD)); err != nil {
		in.DecRef()
		return nil, nil, err
	}
	if !in.Readable() || !out.Writable() {
		in.DecRef()
		out.DecRef()
		return nil, nil, unix.EBADF
	}
	return in, out, nil
}

func sysSplice(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[4] == 0 {
		return 0, nil
	}
	if a[5]&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	in, out, err := twoFiles(t, a[0], a[2])
	if err != nil {
		return 0, err
	}
	defer in.DecRef()
	defer out.DecRef()
	if err := maySplice(t, in, out, a[1] != 0, a[3] != 0); err != nil {
		return 0, err
	}
	inOff, err := loadOffset(t, a[1])
	if err != nil {
		return 0, err
	}
	outOff, err := loadOffset(t, a[3])
	if err != nil {
		return 0, err
	}
	now := a[5]&unix.SPLICE_F_NONBLOCK != 0 || pipe.Is(in) && in.NonBlocking() || pipe.Is(out) && out.NonBlocking()
	n, err := syscalls.Splice(t, in, out, inOff, outOff, int(min(a[4], syscalls.MaxTransfer)), now)
	if err != nil {
		return 0, err
	}
	if inOff != nil {
		err = storeWords(t, a[1], uint64(*inOff))
	} else if outOff != nil {
		err = storeWords(t, a[3], uint64(*outOff))
	}
	return uint64(n), err
}

// oneWay are files that splice(2) does not read from or, with write, not write to.
type oneWay interface{ Splices(write bool) bool }

// maySplice checks what the files are; inOff and outOff tell whether there are positions.
func maySplice(t *kernel.Task, in, out *vfs.File, inOff, outOff bool) error {
	fromPipe, toPipe := pipe.Is(in), pipe.Is(out)
	other, position := in, inOff
	if fromPipe {
		other, position = out, outOff
	}
	switch {
	case fromPipe && inOff || toPipe && outOff:
		return unix.ESPIPE
	case fromPipe && toPipe && pipe.Same(in, out), !fromPipe && !toPipe:
		return unix.EINVAL
	case fromPipe && toPipe:
		return nil
	case fromPipe && out.Flags()&unix.O_APPEND != 0, other.FileType() == unix.S_IFDIR:
		return unix.EINVAL
	}
	if s, ok := other.Ops().(oneWay); ok && !s.Splices(fromPipe) {
		return unix.EINVAL
	}
	if position {
		if _, err := other.Seek(t, 0, unix.SEEK_CUR); err != nil {
			return unix.EINVAL
		}
	}
	return nil
}

func sysTee(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	if a[2] == 0 {
		return 0, nil
	}
	in, out, err := twoFiles(t, a[0], a[1])
	if err != nil {
		return 0, err
	}
	defer in.DecRef()
	defer out.DecRef()
	now := a[3]&unix.SPLICE_F_NONBLOCK != 0 || in.NonBlocking() || out.NonBlocking()
	n, err := syscalls.Tee(t, in, out, int(min(a[2], syscalls.MaxTransfer)), now)
	return uint64(n), err
}

func sysVmsplice(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^spliceFlags != 0 {
		return 0, unix.EINVAL
	}
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if !pipe.Is(f) {
		return 0, unix.EBADF
	}
	ranges, err := loadIovecs(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	b := mm.NewBuffer(t.MM(), ranges)
	now := a[3]&unix.SPLICE_F_NONBLOCK != 0 || f.NonBlocking()
	var n int
	switch {
	case b.Len() == 0:
	case f.Writable():
		n, err = syscalls.FillPipe(t, f, b, now)
	case now:
		n, err = f.Read(t, b)
	default:
		n, err = syscalls.Read(t, f, b)
	}
	return uint64(n), err
}
