package tmpfs

import (
	"sort"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// dir is a directory. Its entries are guarded by the VFS's directory lock.
type dir struct {
	inode
	parent atomic.Pointer[dir]

	byName map[string]*entry
	list   []*entry // by position; what was removed has no node
	holes  int      // removed entries in list
	last   int64    // position

	count atomic.Int64 // entries, for those who do not hold the lock
}

type entry struct {
	name string
	node node
	pos  int64
}

// entrySize is what a directory's size grows by with each entry, as elsewhere.
const entrySize = 20

func (fs *fileSystem) newDir(a vfs.NewAttr) *dir {
	d := &dir{byName: map[string]*entry{}, last: 2}
	d.init(fs, a, 2)
	return d
}

func (d *dir) insert(name string, n node) {
	d.last++
	e := &entry{name: name, node: n, pos: d.last}
	d.byName[name] = e
	d.list = append(d.list, e)
	d.count.Add(1)
}

func (d *dir) remove(name string) {
	e := d.byName[name]
	delete(d.byName, name)
	d.count.Add(-1)
	e.node = nil
	if d.holes++; d.holes > 16 && d.holes > len(d.list)/2 {
		kept := make([]*entry, 0, len(d.byName)+len(d.byName)/4)
		for _, e := range d.list {
			if e.node != nil {
				kept = append(kept, e)
			}
		}
		d.list, d.holes = kept, 0
	}
}

// Attr implements vfs.Inode.
func (d *dir) Attr() (vfs.Attr, error) {
	a, err := d.inode.Attr()
	a.Size = int64(d.count.Load()) * entrySize
	return a, err
}

// Lookup implements vfs.Inode.
func (d *dir) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if e := d.byName[name]; e != nil {
		return e.node, nil
	}
	return nil, unix.ENOENT
}

// enter gives a new inode its name.
func (d *dir) enter(name string, n node) error {
	if d.byName[name] != nil {
		return unix.EEXIST
	}
	if err := d.fs.take(); err != nil {
		return err
	}
	d.insert(name, n)
	d.touch(n.base().attr.Ctime)
	return nil
}

// Create implements vfs.Inode.
func (d *dir) Create(_ vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	f := d.fs.newFile(a, 1)
	if err := d.enter(name, f); err != nil {
		return nil, err
	}
	return f, nil
}

// Tmpfile implements vfs.TmpfileOps.
func (d *dir) Tmpfile(_ vfs.Caller, a vfs.NewAttr) (vfs.Inode, error) {
	if err := d.fs.take(); err != nil {
		return nil, err
	}
	f := d.fs.newFile(a, 0)
	f.fresh, f.orphan = true, true
	return f, nil
}

// Mkdir implements vfs.Inode.
func (d *dir) Mkdir(_ vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	n := d.fs.newDir(a)
	n.parent.Store(d)
	if err := d.enter(name, n); err != nil {
		return nil, err
	}
	d.addLink(1, n.attr.Ctime)
	return n, nil
}

// Mknod implements vfs.Inode.
func (d *dir) Mknod(_ vfs.Caller, name string, a vfs.NewAttr, major, minor uint32) (vfs.Inode, error) {
	s := d.fs.newSpecial(a, major, minor)
	if err := d.enter(name, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Symlink implements vfs.Inode.
func (d *dir) Symlink(_ vfs.Caller, name, target string, a vfs.NewAttr) (vfs.Inode, error) {
	s := &symlink{target: target}
	s.init(d.fs, a, 1)
	if err := s.charge(); err != nil {
		return nil, err
	}
	if err := d.enter(name, s); err != nil {
		s.uncharge()
		return nil, err
	}
	return s, nil
}

// maxLinks bounds the names of one file.
const maxLinks = 1 << 16

// Link implements vfs.Inode.
func (d *dir) Link(_ vfs.Caller, name string, target vfs.Inode) error {
	n, ok := target.(node)
	if !ok || n.base().fs != d.fs {
		return unix.EXDEV
	}
	now := vfs.Now()
	if err := n.link(now); err != nil {
		return err
	}
	if err := d.enter(name, n); err != nil {
		if n.base().addLink(-1, now) == 0 {
			n.unlinked()
		}
		return err
	}
	d.touch(now)
	return nil
}

// Unlink implements vfs.Inode.
func (d *dir) Unlink(_ vfs.Caller, name string, child vfs.Inode) error {
	e := d.byName[name]
	if e == nil || e.node != child {
		return unix.ENOENT
	}
	d.unlink(e, vfs.Now())
	return nil
}

// unlink takes away the name of what is not a directory.
func (d *dir) unlink(e *entry, now unix.Timespec) {
	n := e.node
	d.remove(e.name)
	d.touch(now)
	d.fs.give()
	if n.base().addLink(-1, now) == 0 {
		n.unlinked()
	}
}

// Rmdir implements vfs.Inode.
func (d *dir) Rmdir(_ vfs.Caller, name string, child vfs.Inode) error {
	e := d.byName[name]
	if e == nil || e.node != child {
		return unix.ENOENT
	}
	n, ok := child.(*dir)
	switch {
	case !ok:
		return unix.ENOTDIR
	case len(n.byName) > 0:
		return unix.ENOTEMPTY
	}
	d.rmdir(e, n, vfs.Now())
	return nil
}

func (d *dir) rmdir(e *entry, n *dir, now unix.Timespec) {
	d.remove(e.name)
	d.fs.give()
	d.touch(now)
	d.addLink(-1, now)
	n.addLink(-2, now)
	n.dropXattrs()
}

// Rename implements vfs.Inode.
func (d *dir) Rename(_ vfs.Caller, name string, child, newDir vfs.Inode, newName string, target vfs.Inode, exchange bool) error {
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	from, over := d.byName[name], to.byName[newName]
	if from == nil || from.node != child || (over == nil) != (target == nil) || over != nil && over.node != target {
		return unix.ENOENT
	}
	now := vfs.Now()
	moved := from.node
	if exchange {
		other := over.node
		from.node, over.node = other, moved
		reparent(moved, d, to, now)
		reparent(other, to, d, now)
	} else {
		if n, ok := target.(*dir); ok {
			if len(n.byName) > 0 {
				return unix.ENOTEMPTY
			}
			to.rmdir(over, n, now)
		} else if over != nil {
			to.unlink(over, now)
		}
		d.remove(name)
		to.insert(newName, moved)
		reparent(moved, d, to, now)
	}
	d.touch(now)
	to.touch(now)
	return nil
}

// reparent tells a node and both directories that it moved.
func reparent(n node, from, to *dir, now unix.Timespec) {
	n.base().addLink(0, now)
	if sub, ok := n.(*dir); ok && from != to {
		sub.parent.Store(to)
		from.addLink(-1, now)
		to.addLink(1, now)
	}
}

// Open implements vfs.Inode.
func (d *dir) Open(vfs.Caller, int) (vfs.FileOps, error) { return dirFile{d}, nil }

// dirFile is an open directory.
type dirFile struct{ d *dir }

// ReadDir implements vfs.DirOps: "." and ".." have the positions 1 and 2.
func (f dirFile) ReadDir(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	d := f.d
	d.accessed()
	if pos < 1 && !emit(vfs.Dirent{Name: ".", Ino: d.ino, Type: unix.DT_DIR, Next: 1}) {
		return nil
	}
	if pos < 2 && !emit(vfs.Dirent{Name: "..", Ino: d.parent.Load().ino, Type: unix.DT_DIR, Next: 2}) {
		return nil
	}
	first := sort.Search(len(d.list), func(i int) bool { return d.list[i].pos > pos })
	for _, e := range d.list[first:] {
		if e.node == nil {
			continue
		}
		b := e.node.base()
		if !emit(vfs.Dirent{Name: e.name, Ino: b.ino, Type: uint8(b.kind >> 12), Next: e.pos}) {
			break
		}
	}
	return nil
}

func (dirFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EISDIR }
func (dirFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }
func (dirFile) Release()                                         {}

// Seek implements vfs.SeekOps: positions have no end to count from.
func (dirFile) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	if whence != unix.SEEK_SET && whence != unix.SEEK_CUR {
		return 0, unix.EINVAL
	}
	return vfs.SeekTo(cur, 0, off, whence)
}
