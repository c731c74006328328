package cgroup

import (
	"bytes"
	"strings"
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// directory is the inode of a group. Its files are made with it.
type directory struct {
	*pseudo.SourceDir
	group *Group
	names []string
	files map[string]vfs.Inode
	of    map[string]controllers // whose files they are; 0: always there
}

func newDirectory(g *Group, mode uint32) *directory {
	d := &directory{group: g, files: map[string]vfs.Inode{}, of: map[string]controllers{}}
	d.SourceDir = g.tree.fs.NewSourceDir(mode&0o1777, source{d})
	for _, a := range attributes() {
		if g.parent != nil || a.root {
			d.names = append(d.names, a.name)
			d.files[a.name], d.of[a.name] = g.newFile(&a), a.of
		}
	}
	return d
}

// setOwner gives the directory and its files to who made it.
func (d *directory) setOwner(a vfs.NewAttr) {
	d.SetOwner(a.UID, a.GID)
	for _, f := range d.files {
		f.(interface{ node() *pseudo.Node }).node().SetOwner(a.UID, a.GID)
	}
}

// Attr implements vfs.Inode.
func (d *directory) Attr() (vfs.Attr, error) {
	a, err := d.SourceDir.Attr()
	d.group.tree.mu.Lock()
	defer d.group.tree.mu.Unlock()
	a.Nlink += uint32(len(d.group.children))
	return a, err
}

// Mkdir implements vfs.Inode: it makes a group.
func (d *directory) Mkdir(_ vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	if strings.Contains(name, "\n") {
		return nil, unix.EINVAL
	}
	if d.files[name] != nil {
		return nil, unix.EEXIST
	}
	g, err := d.group.make(name, a)
	if err != nil {
		return nil, err
	}
	return g.dir, nil
}

// Rmdir implements vfs.Inode.
func (d *directory) Rmdir(_ vfs.Caller, _ string, child vfs.Inode) error {
	c, ok := child.(*directory)
	if !ok {
		return unix.ENOTDIR
	}
	return c.group.remove()
}

// source gives a directory's entries: files, then groups.
type source struct{ *directory }

// find returns what is called name now, nil for nothing.
func (s source) find(name string) vfs.Inode {
	if s.group.Removed() {
		return nil
	}
	if f := s.files[name]; f != nil {
		if !s.have().has(s.of[name]) {
			return nil
		}
		return f
	}
	if g := s.group.child(name); g != nil {
		return g.dir
	}
	return nil
}

// have returns the controllers that work in the group.
func (s source) have() controllers {
	s.group.tree.mu.Lock()
	defer s.group.tree.mu.Unlock()
	return s.group.haveLocked()
}

// Lookup implements pseudo.Source.
func (s source) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if in := s.find(name); in != nil {
		return in, nil
	}
	return nil, unix.ENOENT
}

// Valid implements pseudo.Validator.
func (s source) Valid(_ vfs.Caller, name string, child vfs.Inode) bool { return s.find(name) == child }

// List implements pseudo.Source.
func (s source) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	have := s.have()
	for i, name := range s.names {
		if int64(i) < pos || !have.has(s.of[name]) {
			continue
		}
		if !emit(vfs.Dirent{Name: name, Ino: inoOf(s.files[name]), Type: unix.DT_REG, Next: int64(i + 1)}) {
			return nil
		}
	}
	g, files := s.group, int64(len(s.names))
	g.tree.mu.Lock()
	children := g.order
	g.tree.mu.Unlock()
	for _, c := range children {
		if c.position+files <= pos {
			continue
		}
		if !emit(vfs.Dirent{Name: c.name, Ino: c.dir.Ino(), Type: unix.DT_DIR, Next: c.position + files}) {
			return nil
		}
	}
	return nil
}

func inoOf(in vfs.Inode) uint64 { return in.(interface{ Ino() uint64 }).Ino() }

// file is the inode of an attribute.
type file struct {
	*pseudo.File
	group  *Group
	events *watched // nil: cannot be waited for
}

func (g *Group) newFile(a *attribute) *file {
	var show pseudo.Generate
	var store pseudo.Store
	if a.show != nil {
		show = func(c vfs.Caller, b *bytes.Buffer) error {
			if err := g.works(a.of); err != nil {
				return err
			}
			return a.show(g, c, b)
		}
	}
	if a.store != nil {
		store = func(c vfs.Caller, data []byte) error {
			if err := g.works(a.of); err != nil {
				return err
			}
			return a.store(g, c, strings.TrimSpace(string(data)))
		}
	}
	f := &file{File: g.tree.fs.NewKnob(a.mode, show, store), group: g}
	if a.events != nil {
		f.events = a.events(g)
	}
	return f
}

func (f *file) node() *pseudo.Node { return &f.Node }

// Open implements vfs.Inode.
func (f *file) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	ops, err := f.File.Open(c, flags)
	if err != nil || f.events == nil {
		return ops, err
	}
	return &openWatched{FileOps: ops, file: f, seen: unread}, nil
}

// unread is what a file has seen that was not read yet: it is ready then (kernfs).
const unread = ^uint64(0)

// openWatched is an open file that tells when its content is another than at the last read.
type openWatched struct {
	vfs.FileOps
	file *file

	mu   sync.Mutex
	seen uint64 // changes that the reader knows of
}

func (o *openWatched) note() {
	n := o.changes()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = n
}

func (o *openWatched) changes() uint64 {
	t := o.file.group.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	return o.file.events.changes
}

// Read implements vfs.FileOps.
func (o *openWatched) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	if off == 0 {
		o.note()
	}
	return o.FileOps.Read(c, dst, off)
}

// Seek implements vfs.SeekOps.
func (o *openWatched) Seek(c vfs.Caller, cur, off int64, whence int) (int64, error) {
	return o.FileOps.(vfs.SeekOps).Seek(c, cur, off, whence)
}

// Readiness implements waiter.Waitable.
func (o *openWatched) Readiness(wanted waiter.EventMask) waiter.EventMask {
	ready := waiter.In | waiter.Out | waiter.RdNorm | waiter.WrNorm
	changes := o.changes()
	o.mu.Lock()
	defer o.mu.Unlock()
	if changes != o.seen {
		return (ready|waiter.Pri)&wanted | waiter.Err
	}
	return ready & wanted
}

// Register implements waiter.Waitable.
func (o *openWatched) Register(e *waiter.Entry) { o.file.events.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (o *openWatched) Unregister(e *waiter.Entry) { o.file.events.queue.Unregister(e) }
