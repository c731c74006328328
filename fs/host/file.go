package host

import (
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// file is an open regular file.
type file struct {
	n *inode
	h *handle
}

// Read implements vfs.FileOps.
func (f *file) Read(_ vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	return transfer(f.h.fd, dst, off, true)
}

// Write implements vfs.FileOps.
func (f *file) Write(_ vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	return transfer(f.h.fd, src, off, false)
}

// Release implements vfs.FileOps.
func (f *file) Release() { f.n.tree.releaseFile(f.h) }

// transferMax bounds one host call: Linux moves at most this much in one.
const transferMax = 0x7ffff000

// transfer moves bytes between the file and guest memory without a copy in between.
func transfer(fd int, b *mm.Buffer, off int64, read bool) (int, error) {
	done := 0
	for b.Len() > 0 && done < transferMax {
		want := int(min(b.Len(), uint64(transferMax-done)))
		n, short, err := transferOnce(fd, b, want, off+int64(done), read)
		done += n
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || short {
			break
		}
	}
	return done, nil
}

// transferOnce is one pread or pwrite of what memory is at hand at once. short tells that the
// host moved less than that.
func transferOnce(fd int, b *mm.Buffer, want int, off int64, read bool) (n int, short bool, err error) {
	n, err = b.WithBytes(want, read, func(segs [][]byte) (int, error) {
		for {
			n, err := vectored(fd, segs, off, read)
			if err != unix.EINTR {
				short = n < length(segs)
				return n, err
			}
		}
	})
	return n, short || n == 0, err
}

// vectored is pread, pwrite, preadv or pwritev; off is atCursor for the descriptor's own position.
func vectored(fd int, segs [][]byte, off int64, read bool) (n int, err error) {
	switch {
	case off == atCursor && read:
		n, err = unix.Readv(fd, segs)
	case off == atCursor:
		n, err = unix.Writev(fd, segs)
	case len(segs) == 1 && read:
		n, err = unix.Pread(fd, segs[0], off)
	case len(segs) == 1:
		n, err = unix.Pwrite(fd, segs[0], off)
	case read:
		n, err = unix.Preadv(fd, segs, off)
	default:
		n, err = unix.Pwritev(fd, segs, off)
	}
	return max(n, 0), err
}

const atCursor = -1

func length(segs [][]byte) (n int) {
	for _, s := range segs {
		n += len(s)
	}
	return n
}

// Seek implements vfs.SeekOps: SEEK_DATA and SEEK_HOLE are the host's to answer.
func (f *file) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	if whence == unix.SEEK_DATA || whence == unix.SEEK_HOLE {
		if off < 0 {
			return 0, unix.ENXIO
		}
		return unix.Seek(f.h.fd, off, whence)
	}
	size := int64(0)
	if whence == unix.SEEK_END {
		a, err := f.n.Attr()
		if err != nil {
			return 0, err
		}
		size = a.Size
	}
	return vfs.SeekTo(cur, size, off, whence)
}

// Sync implements vfs.SyncOps.
func (f *file) Sync(dataOnly bool) error {
	if f.n.tree.cfg.ReadOnly {
		return nil
	}
	if dataOnly {
		return unix.Fdatasync(f.h.fd)
	}
	return unix.Fsync(f.h.fd)
}

// Allocate implements vfs.AllocOps.
func (f *file) Allocate(_ vfs.Caller, mode uint32, off, length int64) error {
	return f.h.Allocate(mode, off, length)
}

// Mappable implements vfs.MapOps: the host is asked once for each inode.
func (f *file) Mappable() (mm.Mappable, error) {
	if err := f.n.mapping.ask(f.h.fd); err != nil {
		return nil, err
	}
	return f.h, nil
}
