package overlay

import (
	"math"

	"gosentry/fs/pipe"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// file is an open regular file. It reads from below until there is something above.
type file struct {
	n        *node
	writable bool
	lower    vfs.FileOps // nil if there was content above when it was opened
}

var (
	_ vfs.SeekOps  = (*file)(nil)
	_ vfs.SyncOps  = (*file)(nil)
	_ vfs.AllocOps = (*file)(nil)
	_ vfs.MapOps   = (*file)(nil)
	_ vfs.DirOps   = (*dirFile)(nil)
	_ vfs.SyncOps  = (*dirFile)(nil)
)

// Open implements vfs.Inode.
func (n *node) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	switch n.kind {
	case unix.S_IFREG:
		return n.openFile(c, flags)
	case unix.S_IFDIR:
		return n.openDir(c)
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	}
	return n.openSpecial(c, flags)
}

func (n *node) openFile(c vfs.Caller, flags int) (vfs.FileOps, error) {
	if !n.Hold() {
		return nil, unix.ESTALE
	}
	f := &file{n: n, writable: flags&unix.O_ACCMODE != unix.O_RDONLY}
	if n.content.Load() == nil {
		// What cannot be read cannot be copied up either, so a writer must be able to read below.
		lower, err := n.lower.Open(c, unix.O_RDONLY)
		if err != nil {
			n.Unhold()
			return nil, err
		}
		f.lower = lower
	}
	return f, nil
}

// openSpecial opens a FIFO, which is the sandbox's own even if the lower file system has one there, or a
// device.
func (n *node) openSpecial(c vfs.Caller, flags int) (vfs.FileOps, error) {
	n.mu.Lock()
	m, err := n.own()
	if err == nil && n.kind == unix.S_IFIFO && m.fifo == nil {
		m.fifo = pipe.NewFIFO()
	}
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	switch n.kind {
	case unix.S_IFIFO:
		return m.fifo.Open(flags)
	case unix.S_IFCHR, unix.S_IFBLK:
		if n.fs.device != nil {
			return n.fs.device(c, n.kind, m.attr.RdevMajor, m.attr.RdevMinor, flags)
		}
	}
	return nil, unix.ENXIO
}

// Hold implements vfs.HoldOps. It is false when the content was given back already.
func (n *node) Hold() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.gone {
		n.users++
	}
	return !n.gone
}

// Unhold implements vfs.HoldOps.
func (n *node) Unhold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users--
	n.settle()
}

// settle gives the content back when nobody can come to it any more. n.mu is held.
func (n *node) settle() {
	if n.gone || n.users > 0 || n.names > 0 {
		return
	}
	n.gone = true
	if m := n.meta; m != nil {
		_ = n.fs.reserve(-len(m.target) - bytesOf(m.xattrs))
	}
	if c := n.content.Load(); c != nil {
		c.Drop()
	}
	if n.copy != nil && n.copy.done == nil {
		n.copy.to.Drop()
		n.copy = nil
	}
	n.fs.mu.Lock()
	charged := n.charged
	n.charged = false
	n.fs.mu.Unlock()
	if charged {
		n.fs.uncharge()
	}
}

// Read implements vfs.FileOps.
func (f *file) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	if up := f.n.content.Load(); up != nil {
		return up.ReadAt(dst, off)
	}
	return f.lower.Read(c, dst, off)
}

// above returns the content for a change, after copying up.
func (f *file) above(c vfs.Caller) (*tmpfs.Regular, error) {
	if up := f.n.content.Load(); up != nil {
		return up, nil
	}
	if err := f.n.copyUp(c, math.MaxInt64); err != nil {
		return nil, err
	}
	return f.n.content.Load(), nil
}

// Write implements vfs.FileOps.
func (f *file) Write(c vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	up, err := f.above(c)
	if err != nil {
		return 0, err
	}
	n, err := up.WriteAt(src, off)
	if n > 0 {
		f.n.touched()
	}
	return n, noSpace(err)
}

// Release implements vfs.FileOps.
func (f *file) Release() {
	if f.lower != nil {
		f.lower.Release()
	}
	f.n.Unhold()
}

// Seek implements vfs.SeekOps.
func (f *file) Seek(c vfs.Caller, cur, off int64, whence int) (int64, error) {
	switch whence {
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		return f.seekSparse(c, cur, off, whence)
	case unix.SEEK_SET, unix.SEEK_CUR:
		return vfs.SeekTo(cur, 0, off, whence)
	}
	a, err := f.n.Attr()
	if err != nil {
		return 0, err
	}
	return vfs.SeekTo(cur, a.Size, off, whence)
}

func (f *file) seekSparse(c vfs.Caller, cur, off int64, whence int) (int64, error) {
	up := f.n.content.Load()
	switch {
	case up == nil:
		if s, ok := f.lower.(vfs.SeekOps); ok {
			return s.Seek(c, cur, off, whence)
		}
		a, err := f.n.Attr()
		if err != nil {
			return 0, err
		}
		return vfs.SeekTo(cur, a.Size, off, whence)
	case whence == unix.SEEK_DATA:
		return up.SeekData(off)
	}
	return up.SeekHole(off)
}

// Sync implements vfs.SyncOps: there is nothing that memory could be written to.
func (f *file) Sync(bool) error { return nil }

// Allocate implements vfs.AllocOps.
func (f *file) Allocate(c vfs.Caller, mode uint32, off, length int64) error {
	up, err := f.above(c)
	if err != nil {
		return err
	}
	if err := up.Allocate(mode, off, length); err != nil {
		return noSpace(err)
	}
	f.n.touched()
	return nil
}

// Mappable implements vfs.MapOps. A file open for writing is copied up for it, since a
// mapping cannot change over later.
func (f *file) Mappable() (mm.Mappable, error) {
	if up := f.n.content.Load(); up != nil {
		return up, nil
	}
	if f.writable {
		up, err := f.above(nil)
		if err != nil {
			return nil, err
		}
		return up, nil
	}
	m, ok := f.lower.(vfs.MapOps)
	if !ok {
		return nil, unix.ENODEV
	}
	return m.Mappable()
}
