package vfs

import "golang.org/x/sys/unix"

// NoInode is embedded by inodes for the methods they do not have. What is for
// directories is ENOTDIR, what changes anything EPERM. It carries the InodeState.
type NoInode struct{ state InodeState }

// State implements Inode.
func (n *NoInode) State() *InodeState { return &n.state }

// SetAttr refuses.
func (*NoInode) SetAttr(Caller, SetAttr) error { return unix.EPERM }

// Open refuses: there is nothing behind the name.
func (*NoInode) Open(Caller, int) (FileOps, error) { return nil, unix.ENXIO }

// Readlink is for symbolic links.
func (*NoInode) Readlink(Caller) (string, error) { return "", unix.EINVAL }

// Statfs describes a file system without blocks.
func (*NoInode) Statfs() (unix.Statfs_t, error) {
	return unix.Statfs_t{Bsize: 4096, Frsize: 4096, Namelen: NameMax}, nil
}

// Lookup is for directories.
func (*NoInode) Lookup(Caller, string) (Inode, error) { return nil, unix.ENOTDIR }

// Create is for directories.
func (*NoInode) Create(Caller, string, NewAttr) (Inode, error) { return nil, unix.EPERM }

// Mkdir is for directories.
func (*NoInode) Mkdir(Caller, string, NewAttr) (Inode, error) { return nil, unix.EPERM }

// Mknod is for directories.
func (*NoInode) Mknod(Caller, string, NewAttr, uint32, uint32) (Inode, error) {
	return nil, unix.EPERM
}

// Symlink is for directories.
func (*NoInode) Symlink(Caller, string, string, NewAttr) (Inode, error) { return nil, unix.EPERM }

// Link is for directories.
func (*NoInode) Link(Caller, string, Inode) error { return unix.EPERM }

// Unlink is for directories.
func (*NoInode) Unlink(Caller, string, Inode) error { return unix.EPERM }

// Rmdir is for directories.
func (*NoInode) Rmdir(Caller, string, Inode) error { return unix.EPERM }

// Rename is for directories.
func (*NoInode) Rename(Caller, string, Inode, Inode, string, Inode, bool) error {
	return unix.EPERM
}

// GetXattr finds none.
func (*NoInode) GetXattr(Caller, string) ([]byte, error) { return nil, unix.EOPNOTSUPP }

// SetXattr refuses.
func (*NoInode) SetXattr(Caller, string, []byte, int) error { return unix.EOPNOTSUPP }

// ListXattr finds none.
func (*NoInode) ListXattr(Caller) ([]string, error) { return nil, nil }

// RemoveXattr refuses.
func (*NoInode) RemoveXattr(Caller, string) error { return unix.EOPNOTSUPP }
