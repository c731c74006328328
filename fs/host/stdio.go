package host

import (
	"fmt"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// File makes an open file of an inherited descriptor, which it takes over: when the
// guest's last reference goes it is closed. name is what /proc/self/fd shows; "" for the usual. Errors
// are those of fstat(2) and fcntl(2).
func (s *Streams) File(fd int, name string) (*vfs.File, error) {
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		return nil, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	kept := flags & (unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK)
	kind := uint32(st.Mode) & unix.S_IFMT
	i := &streamInode{flags: flags}
	if kind == unix.S_IFREG {
		c := &cursor{fd: fd, access: flags & unix.O_ACCMODE, appends: flags&unix.O_APPEND != 0, refs: 1}
		i.opener = c
		f := vfs.NewFile(c, s.sys.AnonPath(i, nameOr(name, "host", st.Ino)), kept)
		_, err := f.Seek(nil, 0, unix.SEEK_CUR)
		return f, err
	}
	_, notTTY := unix.IoctlGetTermios(fd, unix.TCGETS)
	one := &stream{s: s, fd: fd, kind: kind, tty: notTTY == nil, refs: 1}
	if kind == unix.S_IFCHR && !one.tty {
		d := &device{stream: one}
		i.opener = d
		return vfs.NewFile(d, s.sys.AnonPath(i, nameOr(name, "host", st.Ino)), kept), nil
	}
	what := map[uint32]string{unix.S_IFIFO: "pipe", unix.S_IFSOCK: "socket"}[kind]
	if one.tty && name == "" {
		name = "/dev/tty"
	}
	p := &plainStream{one}
	i.opener = p
	return vfs.NewFile(p, s.sys.AnonPath(i, nameOr(name, what, st.Ino)), kept), nil
}

func nameOr(name, what string, ino uint64) string {
	if name != "" {
		return name
	}
	return fmt.Sprintf("%s:[%d]", what, ino)
}

var (
	_ vfs.StreamOps   = (*plainStream)(nil)
	_ vfs.IoctlOps    = (*plainStream)(nil)
	_ vfs.AttrOps     = (*plainStream)(nil)
	_ waiter.Waitable = (*plainStream)(nil)
	_ vfs.SeekOps     = (*device)(nil)
	_ vfs.SeekOps     = (*cursor)(nil)
	_ vfs.AttrOps     = (*cursor)(nil)
	_ vfs.SyncOps     = (*cursor)(nil)
	_ vfs.MapOps      = (*cursor)(nil)
)

// streamInode is the inode of an inherited descriptor. It can be opened again
// (/dev/stdin, /proc/self/fd/0) for as long as one file of it is open.
type streamInode struct {
	vfs.NoInode
	flags  int // that the descriptor was opened with
	opener interface {
		vfs.FileOps
		vfs.AttrOps
		share() bool
	}
}

// Attr implements vfs.Inode.
func (i *streamInode) Attr() (vfs.Attr, error) { return i.opener.Attr() }

// Open implements vfs.Inode: one more open file of the same descriptor. EACCES for more than it was opened for.
func (i *streamInode) Open(_ vfs.Caller, flags int) (vfs.FileOps, error) {
	have, want := i.flags&unix.O_ACCMODE, flags&unix.O_ACCMODE
	if have != unix.O_RDWR && have != want {
		return nil, unix.EACCES
	}
	if !i.opener.share() {
		return nil, unix.ENXIO
	}
	return i.opener, nil
}

// SetAttr implements vfs.Inode: the size of a regular file, and no more.
func (i *streamInode) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	c, ok := i.opener.(*cursor)
	if !ok || s.Set&^(vfs.SetSize|vfs.SetMtime) != 0 || s.Set&vfs.SetSize == 0 {
		return unix.EPERM
	}
	return c.truncate(s.Size)
}

// plainStream is a terminal, pipe or socket.
type plainStream struct{ *stream }

// IsStream implements vfs.StreamOps.
func (plainStream) IsStream() {}

// device is a character device that is no terminal, such as /dev/null.
type device struct{ *stream }

// Seek implements vfs.SeekOps.
func (d *device) Seek(_ vfs.Caller, _, off int64, whence int) (int64, error) {
	return unix.Seek(d.fd, off, whence)
}

// cursor is an inherited regular file. The position is shared with processes outside:
// transfers from where the last one ended use the host's position, wherever
// that is by now, so that two descriptors of one host file follow each other.
type cursor struct {
	fd      int
	access  int
	appends bool
	mapping mapping

	mu     sync.Mutex
	at     int64 // where the VFS believes the host's position to be
	refs   int
	mapped uint64
}

func (c *cursor) share() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refs == 0 {
		return false
	}
	c.refs++
	return true
}

// Attr implements vfs.AttrOps.
func (c *cursor) Attr() (vfs.Attr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refs == 0 {
		return vfs.Attr{}, unix.ENXIO
	}
	return attrOf(c.fd)
}

// truncate is ftruncate(2).
func (c *cursor) truncate(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refs == 0 {
		return unix.ENXIO
	}
	return unix.Ftruncate(c.fd, size)
}

// Seek implements vfs.SeekOps.
func (c *cursor) Seek(_ vfs.Caller, _, off int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := unix.Seek(c.fd, off, whence)
	if err == nil {
		c.at = at
	}
	return at, err
}

// Read implements vfs.FileOps.
func (c *cursor) Read(_ vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	return c.transfer(dst, off, true)
}

// Write implements vfs.FileOps.
func (c *cursor) Write(_ vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	return c.transfer(src, off, false)
}

func (c *cursor) transfer(b *mm.Buffer, off int64, read bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off != c.at && (read || !c.appends) {
		return transfer(c.fd, b, off, read)
	}
	done := 0
	for b.Len() > 0 && done < transferMax {
		n, short, err := transferOnce(c.fd, b, int(min(b.Len(), uint64(transferMax-done))), atCursor, read)
		done += n
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || short {
			break
		}
	}
	c.at = off + int64(done)
	return done, nil
}

// Sync implements vfs.SyncOps.
func (c *cursor) Sync(dataOnly bool) error {
	if dataOnly {
		return unix.Fdatasync(c.fd)
	}
	return unix.Fsync(c.fd)
}

// Release implements vfs.FileOps.
func (c *cursor) Release() {
	c.mu.Lock()
	c.refs--
	last := c.refs == 0
	c.mu.Unlock()
	if last {
		closeFD(c.fd)
	}
}

// Mappable implements vfs.MapOps.
func (c *cursor) Mappable() (mm.Mappable, error) {
	if err := c.mapping.ask(c.fd); err != nil {
		return nil, err
	}
	return c, nil
}

// AddMapping implements mm.Mappable.
func (c *cursor) AddMapping(_ *mm.MemoryManager, ar mm.Range, _ uint64, writable bool) error {
	if writable && c.access != unix.O_RDWR || c.access == unix.O_WRONLY {
		return unix.EACCES
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mapped == 0 {
		c.refs++
	}
	c.mapped += ar.Length()
	return nil
}

// RemoveMapping implements mm.Mappable.
func (c *cursor) RemoveMapping(_ *mm.MemoryManager, ar mm.Range, _ uint64, _ bool) {
	c.mu.Lock()
	last := c.mapped != 0 && c.mapped <= ar.Length()
	c.mapped -= min(c.mapped, ar.Length())
	c.mu.Unlock()
	if last {
		c.Release()
	}
}

// Translate implements mm.Mappable.
func (c *cursor) Translate(off, length uint64, write bool) (mm.Backing, error) {
	if write && c.access != unix.O_RDWR {
		return mm.Backing{}, unix.EACCES
	}
	return translate(c.fd, off, length)
}

// MappedName implements mm.Mappable.
func (c *cursor) MappedName() (string, uint32, uint32, uint64) {
	a, _ := c.Attr()
	return "", a.Major, a.Minor, a.Ino
}
