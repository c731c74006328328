package tmpfs

import (
	"sync"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// inode is what all types of file have.
type inode struct {
	vfs.NoInode
	fs   *fileSystem
	ino  uint64
	kind uint32

	mu     sync.Mutex
	attr   vfs.Attr // without size and blocks
	xattrs map[string][]byte
}

// node is any inode of this package.
type node interface {
	vfs.Inode
	base() *inode
	// link counts one more name; ENOENT when the last one is gone.
	link(now unix.Timespec) error
	// unlinked is called when the last name is gone.
	unlinked()
}

func (i *inode) init(fs *fileSystem, a vfs.NewAttr, nlink uint32) {
	now := vfs.Now()
	i.fs, i.ino, i.kind = fs, fs.ino.Add(1), a.Mode&unix.S_IFMT
	i.attr = vfs.Attr{
		Ino: i.ino, Mode: a.Mode, Nlink: nlink, UID: a.UID, GID: a.GID,
		BlockSize: pageSize, Atime: now, Mtime: now, Ctime: now, Btime: now, Flags: a.Flags,
	}
}

func (i *inode) base() *inode { return i }
func (i *inode) unlinked()    { i.dropXattrs() }

// InodeFlags implements vfs.FlagKeeper.
func (i *inode) InodeFlags() uint32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.attr.Flags
}

// FileType implements vfs.TypeOps.
func (i *inode) FileType() uint32 { return i.kind }

// Attr implements vfs.Inode.
func (i *inode) Attr() (vfs.Attr, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.attr, nil
}

// SetAttr implements vfs.Inode for all but sizes.
func (i *inode) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attr.Change(s)
	return nil
}

// Statfs implements vfs.Inode.
func (i *inode) Statfs() (unix.Statfs_t, error) { return i.fs.statfs(), nil }

// addLink changes the number of names and returns the new one.
func (i *inode) addLink(n int, now unix.Timespec) uint32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attr.Nlink = uint32(int(i.attr.Nlink) + n)
	i.attr.Ctime = now
	return i.attr.Nlink
}

func (i *inode) link(now unix.Timespec) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch i.attr.Nlink {
	case 0:
		return unix.ENOENT
	case maxLinks:
		return unix.EMLINK
	}
	i.attr.Nlink++
	i.attr.Ctime = now
	return nil
}
func (i *inode) touch(now unix.Timespec) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attr.Mtime, i.attr.Ctime = now, now
}

// accessed notes an access: only the first after a change counts, as with relatime.
func (i *inode) accessed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !after(i.attr.Atime, i.attr.Mtime) || !after(i.attr.Atime, i.attr.Ctime) {
		i.attr.Atime = vfs.Now()
	}
}

func after(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

// symlink is a symbolic link.
type symlink struct {
	inode
	target string
}

// pages is what the text is charged as.
func (s *symlink) pages() int64 { return int64(min(len(s.target)/shortTarget, 1)) }

// shortTarget is up to where a text goes with the inode.
const shortTarget = 128

// charge takes what the text costs: ENOSPC.
func (s *symlink) charge() error {
	if err := s.fs.quota.charge(s.pages()); err != nil {
		return err
	}
	if !s.fs.aside.Take(int64(len(s.target))) {
		s.fs.quota.uncharge(s.pages())
		return unix.ENOSPC
	}
	return nil
}

func (s *symlink) uncharge() {
	s.fs.quota.uncharge(s.pages())
	s.fs.aside.Take(-int64(len(s.target)))
}

func (s *symlink) unlinked() {
	s.dropXattrs()
	s.uncharge()
}

// Readlink implements vfs.Inode.
func (s *symlink) Readlink(vfs.Caller) (string, error) { return s.target, nil }

// Attr implements vfs.Inode.
func (s *symlink) Attr() (vfs.Attr, error) {
	a, err := s.inode.Attr()
	a.Size = int64(len(s.target))
	return a, err
}
