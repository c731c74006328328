package overlay

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/pipe"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// node is an inode of the overlay.
type node struct {
	state vfs.InodeState
	fs    *filesystem
	lower vfs.Inode // nil for what was made above
	ino   uint64
	kind  uint32 // S_IFMT

	// guarded by fs.mu
	pinned  bool // entered in its parent's above, or without a name
	charged bool // among the filesystem's files
	parent  *node
	name    string
	dir     *directory // of a directory, once something in it was changed

	content atomic.Pointer[tmpfs.Regular] // of a regular file; written under mu

	mu    sync.Mutex
	meta  *meta // attributes above, nil while they are lower's
	copy  *copying
	names int32 // it has here; a lower file with more names than one has a node for each
	users int32 // open files and O_PATH descriptors
	gone  bool  // no name, no users: the content has been given back
}

// meta is what differs from the lower file, or has nothing below.
type meta struct {
	attr   vfs.Attr // Size and Blocks only where there is no content above
	target string   // of a symbolic link made above
	xattrs map[string][]byte
	// ownXattrs tells that xattrs replaces what the lower file has.
	ownXattrs bool
	fifo      *pipe.FIFO // of a FIFO that was opened
}

var (
	_ vfs.Inode      = (*node)(nil)
	_ vfs.TypeOps    = (*node)(nil)
	_ vfs.HoldOps    = (*node)(nil)
	_ vfs.TmpfileOps = (*node)(nil)
)

// lowerNode makes the node of a lower file found under name.
func (fs *filesystem) lowerNode(parent *node, name string, lower vfs.Inode) (*node, error) {
	a, err := lower.Attr()
	if err != nil {
		return nil, err
	}
	return &node{
		fs: fs, lower: lower, ino: a.Ino, kind: a.Mode & unix.S_IFMT, parent: parent, name: name, names: 1,
	}, nil
}

// newNode makes a node that has nothing below.
func (fs *filesystem) newNode(a vfs.NewAttr) (*node, error) {
	if err := fs.charge(); err != nil {
		return nil, err
	}
	now := vfs.Now()
	n := &node{
		fs: fs, ino: upperIno | fs.nextIno.Add(1), kind: a.Mode & unix.S_IFMT,
		pinned: true, charged: true, names: 1,
	}
	n.meta = &meta{attr: vfs.Attr{
		Mode: a.Mode, Nlink: 1, UID: a.UID, GID: a.GID, BlockSize: blockSize,
		Atime: now, Mtime: now, Ctime: now, Btime: now, Flags: a.Flags,
	}}
	if n.kind == unix.S_IFDIR {
		n.meta.attr.Nlink, n.meta.attr.Size, n.meta.attr.Blocks = 2, blockSize, blockSize/512
	}
	return n, nil
}

// State implements vfs.Inode.
func (n *node) State() *vfs.InodeState { return &n.state }

// InodeFlags implements vfs.FlagKeeper.
func (n *node) InodeFlags() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.meta == nil {
		return 0
	}
	return n.meta.attr.Flags
}

// FileType implements vfs.TypeOps.
func (n *node) FileType() uint32 { return n.kind }

// Attr implements vfs.Inode.
func (n *node) Attr() (vfs.Attr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr()
}

// attr is Attr with n.mu held.
func (n *node) attr() (a vfs.Attr, err error) {
	if n.meta != nil {
		a = n.meta.attr
	} else {
		a, err = n.lower.Attr()
	}
	if c := n.content.Load(); c != nil {
		a.Size, a.Blocks = c.Size(), c.Blocks()
	}
	a.Ino = n.ino
	if n.kind == unix.S_IFDIR && a.Nlink > 1 {
		a.Nlink = n.links(a.Nlink)
	}
	return a, err
}

// links corrects a directory's link count, as the lower file system has it, by what happened above.
func (n *node) links(nlink uint32) uint32 {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if n.dir == nil {
		return nlink
	}
	return uint32(max(int64(nlink)+n.dir.subdirs, 0))
}

// own makes n have attributes of its own. n.mu is held.
func (n *node) own() (*meta, error) {
	if n.meta != nil {
		return n.meta, nil
	}
	a, err := n.lower.Attr()
	if err != nil {
		return nil, err
	}
	n.meta = &meta{attr: a}
	return n.meta, nil
}

// pin enters n, and the directories above it, in their parents, so that what is
// changed is found again. ENOSPC when too much is changed already.
func (n *node) pin() error {
	n.fs.mu.RLock()
	pinned := n.pinned
	n.fs.mu.RUnlock()
	if pinned {
		return nil
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	for p := n; !p.pinned; p = p.parent {
		if !p.charged {
			if err := n.fs.charge(); err != nil {
				return err
			}
		}
		p.pinned, p.charged = true, true
		p.parent.entries().above[p.name] = &entry{node: p, name: p.name, shadows: true}
	}
	return nil
}

// SetAttr implements vfs.Inode.
func (n *node) SetAttr(c vfs.Caller, s vfs.SetAttr) error {
	if err := n.pin(); err != nil {
		return err
	}
	if s.Set&vfs.SetSize != 0 {
		if n.kind != unix.S_IFREG {
			return unix.EINVAL
		}
		if err := n.truncate(c, s.Size); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m, err := n.own()
	if err != nil {
		return err
	}
	m.attr.Change(s)
	return nil
}

// touched notes a change of what a directory or a file contains.
func (n *node) touched() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m, err := n.own(); err == nil {
		now := vfs.Now()
		m.attr.Mtime, m.attr.Ctime = now, now
	}
}

// Readlink implements vfs.Inode.
func (n *node) Readlink(c vfs.Caller) (string, error) {
	if n.kind != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	if n.lower != nil {
		return n.lower.Readlink(c)
	}
	return n.meta.target, nil
}

// Statfs implements vfs.Inode.
func (n *node) Statfs() (unix.Statfs_t, error) { return n.fs.statfs(), nil }
