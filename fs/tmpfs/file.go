package tmpfs

import (
	"sync/atomic"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// file is a regular file.
type file struct {
	inode
	data *Regular
	// These are guarded by mu. Of a file made by O_TMPFILE the first hold is passed to
	// who opens it first (fresh), and it may get a first name (orphan).
	fresh, orphan bool
}

func (fs *fileSystem) newFile(a vfs.NewAttr, nlink uint32) *file {
	f := &file{}
	f.init(fs, a, nlink)
	f.data = NewRegular(fs.file, fs.quota, f.mappedName)
	return f
}

func (f *file) link(now unix.Timespec) error {
	f.mu.Lock()
	if !f.orphan {
		f.mu.Unlock()
		return f.inode.link(now)
	}
	defer f.mu.Unlock()
	if !f.data.Hold() {
		return unix.ENOENT
	}
	f.orphan = false
	f.attr.Nlink, f.attr.Ctime = 1, now
	return nil
}

func (f *file) unlinked() {
	f.dropXattrs()
	f.data.Drop()
}

// mappedName leaves the path to who maps the file, since it knows by which name.
func (f *file) mappedName() (string, uint32, uint32, uint64) { return "", 0, 0, f.ino }

// Hold implements vfs.HoldOps.
func (f *file) Hold() bool { return f.data.Hold() }

// Unhold implements vfs.HoldOps.
func (f *file) Unhold() { f.data.Drop() }

// Attr implements vfs.Inode.
func (f *file) Attr() (vfs.Attr, error) {
	a, err := f.inode.Attr()
	a.Size, a.Blocks = f.data.stat()
	return a, err
}

// SetAttr implements vfs.Inode.
func (f *file) SetAttr(c vfs.Caller, s vfs.SetAttr) error {
	if s.Set&vfs.SetSize != 0 {
		if err := f.data.Truncate(s.Size); err != nil {
			return err
		}
	}
	return f.inode.SetAttr(c, s)
}

// Open implements vfs.Inode. ESTALE where the last name went before it.
func (f *file) Open(_ vfs.Caller, flags int) (vfs.FileOps, error) {
	f.mu.Lock()
	first := f.fresh
	f.fresh = false
	f.mu.Unlock()
	if !first && !f.data.Hold() {
		return nil, unix.ESTALE
	}
	o := &openFile{f: f, unnamed: first}
	o.SetFlags(flags)
	return o, nil
}

// openFile is an open regular file.
type openFile struct {
	f       *file
	unnamed bool // the first open file of what O_TMPFILE made
	noTimes bool // of access, whatever noAtime says
	noAtime atomic.Bool
}

// SetFlags implements vfs.FlagOps.
func (o *openFile) SetFlags(flags int) { o.noAtime.Store(flags&unix.O_NOATIME != 0) }

// KeepNoAtime implements vfs.AtimeOps.
func (o *openFile) KeepNoAtime() { o.noTimes = true }

func (o *openFile) Read(_ vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	n, err := o.f.data.ReadAt(dst, off)
	if !o.noTimes && !o.noAtime.Load() {
		o.f.accessed()
	}
	return n, err
}

func (o *openFile) Write(_ vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	n, err := o.f.data.WriteAt(src, off)
	if n > 0 {
		o.f.touch(vfs.Now())
	}
	return n, err
}

// Release implements vfs.FileOps.
func (o *openFile) Release() {
	if o.unnamed {
		o.f.fs.give() // what it was counted as until now
	}
	o.f.data.Drop()
}

// Mappable implements vfs.MapOps.
func (o *openFile) Mappable() (mm.Mappable, error) { return o.f.data, nil }

// Allocate implements vfs.AllocOps.
func (o *openFile) Allocate(_ vfs.Caller, mode uint32, off, length int64) error {
	if err := o.f.data.Allocate(mode, off, length); err != nil {
		return err
	}
	o.f.touch(vfs.Now())
	return nil
}

// Seek implements vfs.SeekOps.
func (o *openFile) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	switch whence {
	case unix.SEEK_DATA:
		return o.f.data.SeekData(off)
	case unix.SEEK_HOLE:
		return o.f.data.SeekHole(off)
	}
	return vfs.SeekTo(cur, o.f.data.Size(), off, whence)
}

// Seals implements vfs.SealOps.
func (o *openFile) Seals() uint32 { return o.f.data.Seals() }

// AddSeals implements vfs.SealOps.
func (o *openFile) AddSeals(seals uint32) error { return o.f.data.AddSeals(seals) }

// special is a FIFO, a socket's name or a device.
type special struct {
	inode
	major, minor uint32
	fifo         *pipe.FIFO
}

func (fs *fileSystem) newSpecial(a vfs.NewAttr, major, minor uint32) *special {
	s := &special{major: major, minor: minor}
	s.init(fs, a, 1)
	if s.kind == unix.S_IFIFO {
		s.fifo = pipe.NewFIFOWithin(fs.fifos)
	}
	return s
}

// Attr implements vfs.Inode.
func (s *special) Attr() (vfs.Attr, error) {
	a, err := s.inode.Attr()
	a.RdevMajor, a.RdevMinor = s.major, s.minor
	return a, err
}

// Open implements vfs.Inode.
func (s *special) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	switch {
	case s.fifo != nil:
		return s.fifo.Open(flags)
	case s.kind != unix.S_IFSOCK && s.fs.openDevice != nil:
		return s.fs.openDevice(c, s.kind, s.major, s.minor, flags)
	}
	return nil, unix.ENXIO
}

// NewMemFD makes what memfd_create(2) gives: a file without a name in any tree. Without
// sealing it has F_SEAL_SEAL.
func NewMemFD(sys *vfs.System, c vfs.Caller, memory *mm.MemoryFile, name string, sealing bool) (*vfs.File, error) {
	fs := &fileSystem{file: memory, quota: NewQuota(memory.Limit())}
	fs.aside = mm.NewAside(memory, fs)
	fs.ino.Store(sys.NextIno() - 1)
	creds := c.Creds()
	f := fs.newFile(vfs.NewAttr{Mode: unix.S_IFREG | 0o777, UID: creds.FSUID, GID: creds.FSGID}, 0)
	if sealing {
		f.data.AllowSeals()
	}
	f.fresh = true
	ops, err := f.Open(c, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return vfs.NewFile(ops, sys.AnonPath(f, "/memfd:"+name+" (deleted)"), unix.O_RDWR|vfs.LargeFile), nil
}
