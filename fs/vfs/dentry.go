package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Limits on names, in bytes.
const (
	NameMax = 255
	PathMax = 4096 // with the terminating zero
)

// Dentry is one name in a directory; see the package's doc.
type Dentry struct {
	// These never change.
	inode Inode // nil for a known absence
	state *InodeState
	reval Revalidator   // the inode as a directory that changes by itself, or nil
	perm  PermissionOps // the inode's own permission check, or nil
	fs    *fileSystem
	kind  uint32 // S_IFMT

	place    atomic.Pointer[place]
	children atomic.Pointer[childTable] // made with the first child

	mounts  atomic.Int32 // how many mounts cover it, in any namespace
	deleted atomic.Bool  // the name is gone
	used    atomic.Bool  // found since the ring's hand came by
}

// place is where a Dentry hangs. A file system's root, and a file that never had a name, has no parent.
type place struct {
	parent *Dentry
	name   string
}

// Path is a name as seen through a mount. Paths are comparable; the zero Path is
// none.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}

// Inode returns the inode behind the path.
func (p Path) Inode() Inode { return p.Dentry.inode }

// Ok tells whether p is a path at all.
func (p Path) Ok() bool { return p.Dentry != nil }

// Deleted tells whether the name was removed (or never was).
func (p Path) Deleted() bool { return p.Dentry.deleted.Load() }

// IsDir tells whether the path leads to a directory.
func (p Path) IsDir() bool { return p.Dentry.kind == unix.S_IFDIR }

// FileType returns the S_IFMT part of the inode's mode, which never changes.
func (p Path) FileType() uint32 { return p.Dentry.kind }

// Name returns the last component: "" for a file system's root.
func (p Path) Name() string { return p.Dentry.place.Load().name }

// newDentry makes a name for inode, or for its absence when that is nil.
func newDentry(fs *fileSystem, parent *Dentry, name string, inode Inode) (*Dentry, error) {
	d := &Dentry{inode: inode, fs: fs}
	if inode != nil {
		d.state = inode.State()
		kind, err := fileType(inode)
		if err != nil {
			return nil, err
		}
		d.kind = kind
		if kind == unix.S_IFDIR {
			d.reval, _ = inode.(Revalidator)
		}
		d.perm, _ = inode.(PermissionOps)
	}
	d.place.Store(&place{parent: parent, name: name})
	return d, nil
}

func fileType(inode Inode) (uint32, error) {
	if t, ok := inode.(TypeOps); ok {
		return t.FileType(), nil
	}
	attr, err := inode.Attr()
	return attr.Mode & unix.S_IFMT, err
}

// find returns the cached child, nil for none.
func (d *Dentry) find(name string) *Dentry {
	t := d.children.Load()
	if t == nil {
		return nil
	}
	child := t.find(d.fs.sys.hash(name), name)
	if child != nil && !child.used.Load() {
		child.used.Store(true)
	}
	return child
}

// add puts child in d's table, unless name has got one meanwhile, which it
// returns then. A known absence gives way to a name.
func (d *Dentry) add(name string, child *Dentry) *Dentry {
	t := d.children.Load()
	if t == nil {
		d.children.CompareAndSwap(nil, newChildTable())
		t = d.children.Load()
	}
	got, fresh := t.insert(d.fs.sys.hash(name), name, child)
	if fresh {
		d.fs.sys.ring.keep(child)
	}
	return got
}

// forget removes child from d's table if it is there under name.
func (d *Dentry) forget(name string, child *Dentry) {
	if t := d.children.Load(); t != nil {
		t.remove(d.fs.sys.hash(name), name, child)
	}
}

// isUnder tells whether d is top or below it. It is exact under the file
// system's renameMu.
func (d *Dentry) isUnder(top *Dentry) bool {
	for ; d != nil; d = d.place.Load().parent {
		if d == top {
			return true
		}
	}
	return false
}

// keepName holds d's name against removal until the function that it returns is called.
func (d *Dentry) keepName() func() {
	for {
		parent := d.place.Load().parent
		if parent == nil {
			return func() {}
		}
		parent.state.dir.RLock()
		if d.place.Load().parent == parent {
			return parent.state.dir.RUnlock
		}
		parent.state.dir.RUnlock()
	}
}
