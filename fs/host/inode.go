package host

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// inode is a file of any type of a host tree. A file with several names may have
// several inodes, equal in inode number.
type inode struct {
	tree  *tree
	state atomic.Pointer[vfs.InodeState]
	dev   uint16
	typ   uint16 // S_IFMT

	// guarded by tree.mu
	parent *inode // nil for the root, and for what was removed
	name   string
	open   *handle // a directory's descriptor, or the list of a file's

	mapping mapping // of a regular file

	mu     sync.Mutex
	xattrs uint8 // of a cached tree: whether there are any
	attr   vfs.Attr
	extra  *extra
}

// extra is what few inodes have.
type extra struct {
	target string     // of a symbolic link in a cached tree, once read
	fifo   *pipe.FIFO // of a FIFO in a writable tree, once opened
}

// liveInode is the inode of a tree that may change behind the VFS's back.
type liveInode struct{ inode }

// NoLeases tells that others open the file too.
func (*liveInode) NoLeases() {}

var (
	_ vfs.Inode       = (*inode)(nil)
	_ vfs.TypeOps     = (*inode)(nil)
	_ vfs.Revalidator = (*liveInode)(nil)
	_ vfs.DirOps      = (*dirFile)(nil)
	_ vfs.SyncOps     = (*dirFile)(nil)
	_ vfs.SeekOps     = (*file)(nil)
	_ vfs.SyncOps     = (*file)(nil)
	_ vfs.AllocOps    = (*file)(nil)
	_ vfs.MapOps      = (*file)(nil)
)

// newInode makes the inode that st tells of, which is one of files. It returns it as the VFS sees it, too.
func (t *tree) newInode(parent *inode, name string, st *unix.Statx_t) (vfs.Inode, *inode) {
	dev, _ := t.device(deviceOf(st))
	typ := st.Mode & unix.S_IFMT
	if t.cfg.Cache {
		n := &inode{tree: t, parent: parent, name: name, dev: dev, typ: typ, attr: attrFrom(st, dev)}
		return n, n
	}
	l := &liveInode{inode{tree: t, parent: parent, name: name, dev: dev, typ: typ, attr: attrFrom(st, dev)}}
	return l, &l.inode
}

// own returns the inode of this package behind i; EXDEV for a foreign one.
func (t *tree) own(i vfs.Inode) (*inode, error) {
	var n *inode
	switch v := i.(type) {
	case *inode:
		n = v
	case *liveInode:
		n = &v.inode
	}
	if n == nil || n.tree != t {
		return nil, unix.EXDEV
	}
	return n, nil
}

// FileType implements vfs.TypeOps.
func (n *inode) FileType() uint32 { return n.kind() }

// State implements vfs.Inode.
func (n *inode) State() *vfs.InodeState {
	if s := n.state.Load(); s != nil {
		return s
	}
	n.state.CompareAndSwap(nil, new(vfs.InodeState))
	return n.state.Load()
}

// is tells whether st is about this inode.
func (n *inode) is(st *unix.Statx_t) bool {
	dev, _ := n.tree.device(deviceOf(st))
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr.Ino == inoFor(dev, st.Ino) && n.typ == st.Mode&unix.S_IFMT
}

func (n *inode) setAttr(st *unix.Statx_t) vfs.Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attr = attrFrom(st, n.dev)
	return n.attr
}

func (n *inode) lastAttr() vfs.Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr
}

// kind is the type in the mode, which never changes.
func (n *inode) kind() uint32 { return uint32(n.typ) }

// at returns the held handle of n's directory, and n's name there.
func (n *inode) at() (*handle, string, error) {
	t := n.tree
	t.mu.Lock()
	parent, name := n.parent, n.name
	t.mu.Unlock()
	if parent == nil {
		if n == t.root {
			return nil, "", unix.EBUSY
		}
		return nil, "", unix.ENOENT
	}
	h, err := t.acquire(parent)
	return h, name, err
}

// Attr implements vfs.Inode.
func (n *inode) Attr() (vfs.Attr, error) {
	if n.tree.cfg.Cache {
		return n.lastAttr(), nil
	}
	var st unix.Statx_t
	err := n.stat(&st)
	if err == unix.ENOENT {
		a := n.lastAttr()
		a.Nlink = 0
		return a, nil
	}
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.setAttr(&st), nil
}

// stat asks the host, by an open descriptor if there is one and else by name.
func (n *inode) stat(st *unix.Statx_t) error {
	t := n.tree
	t.mu.Lock()
	h := n.open
	if h != nil {
		h.refs++
	}
	t.mu.Unlock()
	if h != nil {
		err := statAt(h.fd, "", st)
		n.drop(h)
		return err
	}
	dir, name, err := n.at()
	if err != nil {
		return err
	}
	err = statAt(dir.fd, name, st)
	t.release(dir)
	if err == nil && !n.is(st) {
		return unix.ENOENT
	}
	return err
}

// drop gives back a handle of n, whatever n is.
func (n *inode) drop(h *handle) {
	if n.kind() == unix.S_IFDIR {
		n.tree.release(h)
	} else {
		n.tree.releaseFile(h)
	}
}

// Lookup implements vfs.Inode.
func (n *inode) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if n.kind() != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	dir, err := n.tree.acquire(n)
	if err != nil {
		return nil, err
	}
	defer n.tree.release(dir)
	var st unix.Statx_t
	if err := statAt(dir.fd, name, &st); err != nil {
		return nil, err
	}
	if _, known := n.tree.device(deviceOf(&st)); !known {
		hidden, err := n.tree.meet(dir, name, &st)
		if err != nil {
			return nil, err
		}
		if hidden {
			return newHidden(&st), nil
		}
	}
	i, _ := n.tree.newInode(n, name, &st)
	return i, nil
}

// Revalidate implements vfs.Revalidator.
func (n *liveInode) Revalidate(_ vfs.Caller, name string, child vfs.Inode) bool {
	t := n.tree
	if checkName(name) != nil {
		return false
	}
	dir, err := t.acquire(&n.inode)
	if err != nil {
		return false
	}
	var st unix.Statx_t
	err = statAt(dir.fd, name, &st)
	t.release(dir)
	if child == nil {
		return err == unix.ENOENT
	}
	if h, ok := child.(*hidden); ok {
		return err == nil && h.is(&st)
	}
	c, foreign := t.own(child)
	if err != nil || foreign != nil || !c.is(&st) {
		return false
	}
	t.mu.Lock()
	c.parent, c.name = &n.inode, name
	t.mu.Unlock()
	return true
}

// Readlink implements vfs.Inode. ESTALE as of openPath.
func (n *inode) Readlink(vfs.Caller) (string, error) {
	if n.kind() != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	n.mu.Lock()
	known := n.extra
	n.mu.Unlock()
	if known != nil {
		return known.target, nil
	}
	dir, name, err := n.at()
	if err != nil {
		return "", lostName(err)
	}
	defer n.tree.release(dir)
	buf := make([]byte, unix.PathMax)
	k, err := unix.Readlinkat(dir.fd, name, buf)
	if err == unix.EINVAL {
		err = unix.ESTALE // what has the name now is no link
	}
	if err != nil {
		return "", lostName(err)
	}
	text := string(buf[:k])
	if n.tree.cfg.Cache {
		n.mu.Lock()
		n.extra = &extra{target: text}
		n.mu.Unlock()
	}
	return text, nil
}

// Statfs implements vfs.Inode.
func (n *inode) Statfs() (unix.Statfs_t, error) {
	var s unix.Statfs_t
	t := n.tree
	var dir *handle
	var err error
	if n.kind() == unix.S_IFDIR {
		dir, err = t.acquire(n)
	} else {
		dir, _, err = n.at()
	}
	if err != nil {
		return s, err
	}
	defer t.release(dir)
	for {
		if err = unix.Fstatfs(dir.fd, &s); err != unix.EINTR {
			return s, err
		}
	}
}

// Open implements vfs.Inode.
func (n *inode) Open(_ vfs.Caller, flags int) (vfs.FileOps, error) {
	access := flags & unix.O_ACCMODE
	if access != unix.O_RDONLY && n.tree.cfg.ReadOnly {
		return nil, unix.EROFS
	}
	switch n.kind() {
	case unix.S_IFDIR:
		return n.openDir(access)
	case unix.S_IFREG:
		h, err := n.tree.openFile(n, access, flags&(unix.O_SYNC|unix.O_DSYNC))
		if err != nil {
			return nil, err
		}
		return &file{n: n, h: h}, nil
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFCHR, unix.S_IFBLK:
		return nil, unix.EACCES
	case unix.S_IFIFO:
		return n.openFIFO(flags)
	}
	return nil, unix.ENXIO
}

// openFIFO opens a FIFO of a writable tree as the sandbox's own: only its name is shared with
// the host, as it is among clients of a network file system.
func (n *inode) openFIFO(flags int) (vfs.FileOps, error) {
	if n.tree.cfg.ReadOnly {
		return nil, unix.ENXIO
	}
	n.mu.Lock()
	if n.extra == nil {
		n.extra = &extra{fifo: pipe.NewFIFO()}
	}
	f := n.extra.fifo
	n.mu.Unlock()
	return f.Open(flags)
}

func (n *inode) openDir(access int) (vfs.FileOps, error) {
	if access != unix.O_RDONLY {
		return nil, unix.EISDIR
	}
	h, err := n.tree.acquire(n)
	if err != nil {
		return nil, err
	}
	unlistable := h.pathOnly
	n.tree.release(h)
	if unlistable {
		return nil, unix.EACCES
	}
	return &dirFile{n: n}, nil
}
