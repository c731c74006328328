package vfs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

func orphanName(ino uint64) string { return fmt.Sprintf("#%d", ino) }

// AnonInode is the inode of a file that is in no tree: an eventfd, a pipe, a socket. Types
// may embed it and add Open, for what /proc/self/fd can open again.
type AnonInode struct {
	NoInode
	attr Attr
}

// Attr implements Inode.
func (a *AnonInode) Attr() (Attr, error) { return a.attr, nil }

// SetAttr implements Inode; the change is accepted and forgotten.
func (a *AnonInode) SetAttr(Caller, SetAttr) error { return nil }

// InitAnon fills in the attributes. mode has the type.
func (s *System) InitAnon(a *AnonInode, c Caller, mode uint32) {
	now := Now()
	a.attr = Attr{
		Ino: s.NextIno(), Mode: mode, Nlink: 1, BlockSize: 4096,
		Atime: now, Mtime: now, Ctime: now,
	}
	if c != nil {
		a.attr.UID, a.attr.GID = c.Creds().FSUID, c.Creds().FSGID
	}
}

// NewAnonFile makes an open file named "anon_inode:name".
func (s *System) NewAnonFile(ops FileOps, name string, flags int) *File {
	inode := &AnonInode{}
	s.InitAnon(inode, nil, 0o600)
	inode.attr.Ino = 1
	return NewFile(ops, s.anonPath(s.anon, inode, "anon_inode:"+name), flags)
}

// PipePath returns the path of a pipe's inode: "pipe:[7]".
func (s *System) PipePath(inode Inode) Path { return s.numbered(s.pipes, inode, "pipe") }

// SocketPath returns the path of a socket's inode: "socket:[7]".
func (s *System) SocketPath(inode Inode) Path { return s.numbered(s.sockets, inode, "socket") }

// NamespacePath returns the path of the inode of a namespace: "net:[4026531833]".
func (s *System) NamespacePath(inode Inode, name string) Path { return s.anonPath(s.nsfs, inode, name) }

// AnonPath returns a path for an inode with a name of its own, such as
// "/memfd:x (deleted)".
func (s *System) AnonPath(inode Inode, name string) Path { return s.anonPath(s.anon, inode, name) }

func (s *System) numbered(m *Mount, inode Inode, kind string) Path {
	attr, _ := inode.Attr()
	return s.anonPath(m, inode, fmt.Sprintf("%s:[%d]", kind, attr.Ino))
}

func (s *System) anonPath(m *Mount, inode Inode, name string) Path {
	d := &Dentry{inode: inode, state: inode.State(), fs: m.fs}
	if attr, err := inode.Attr(); err == nil {
		d.kind = attr.Mode & unix.S_IFMT
	}
	d.perm, _ = inode.(PermissionOps)
	d.place.Store(&place{name: name})
	return Path{m, d}
}

// Now is the time for file times.
func Now() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }
