// Package pseudo has what file systems need that make their content up: static and computed
// directories, files whose content is generated when they are read, knobs, symbolic
// links to names and to objects, devices.
//
// An FS numbers its inodes. Every type embeds Node, which holds the attributes,
// and may be embedded in turn to add or replace methods. Nothing here holds a
// lock while it calls a function that it was given.
package pseudo

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// FS is one file system. The zero FS is ready.
type FS struct {
	ino atomic.Uint64

	// Magic is what statfs(2) tells, such as PROC_SUPER_MAGIC.
	Magic int64
	// Mutable lets owners change modes, owners and times.
	Mutable bool
}

// NextIno returns an inode number. The first is 1.
func (fs *FS) NextIno() uint64 { return fs.ino.Add(1) }

// Owner tells who owns a node now.
type Owner func() (cred.UID, cred.GID)

// Node has what inodes here have in common. It is made by NewNode or within
// one of the types.
type Node struct {
	vfs.NoInode
	fs    *FS
	ino   uint64
	kind  uint32
	owner Owner

	mu   sync.Mutex
	attr vfs.Attr // but for the inode number
}

// NewNode makes a node; mode has type and permissions.
func (fs *FS) NewNode(mode uint32) *Node {
	n := &Node{}
	n.Init(fs, mode)
	return n
}

// Init prepares an embedded node.
func (n *Node) Init(fs *FS, mode uint32) {
	now := vfs.Now()
	n.fs, n.ino = fs, fs.NextIno()
	n.kind = mode & unix.S_IFMT
	n.attr = vfs.Attr{Mode: mode, Nlink: 1, BlockSize: 4096, Atime: now, Mtime: now, Ctime: now}
	if n.kind == unix.S_IFDIR {
		n.attr.Nlink = 2
	}
}

// SetOwner fixes the owner.
func (n *Node) SetOwner(uid cred.UID, gid cred.GID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attr.UID, n.attr.GID = uid, gid
}

// SetOwnerFunc makes the owner a matter of each moment. It is called before the node is used.
func (n *Node) SetOwnerFunc(o Owner) { n.owner = o }

// SetIno replaces the inode number, before the node is used.
func (n *Node) SetIno(ino uint64) { n.ino = ino }

// Ino returns the inode number.
func (n *Node) Ino() uint64 { return n.ino }

// FileType implements vfs.TypeOps.
func (n *Node) FileType() uint32 { return n.kind }

// Attr implements vfs.Inode.
func (n *Node) Attr() (vfs.Attr, error) {
	n.mu.Lock()
	a := n.attr
	n.mu.Unlock()
	a.Ino = n.ino
	if n.owner != nil {
		a.UID, a.GID = n.owner()
	}
	return a, nil
}

// SetAttr implements vfs.Inode: EPERM unless the file system is mutable. A size is accepted and ignored, for
// O_TRUNC on knobs.
func (n *Node) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	if s.Set&vfs.SetSize != 0 {
		return nil
	}
	if !n.fs.Mutable {
		return unix.EPERM
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attr.Change(s)
	return nil
}

// Statfs implements vfs.Inode.
func (n *Node) Statfs() (unix.Statfs_t, error) {
	return unix.Statfs_t{Type: n.fs.Magic, Bsize: 4096, Frsize: 4096, Namelen: vfs.NameMax}, nil
}
