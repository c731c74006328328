package tmpfs

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// inode is what all types of file have.
type inode struct {
	vfs.NoInode
	fs   *fileSystem
	ino  uint64
	kind uint32

	mu                         sync.Mutex
	mode                       uint32
	uid                        cred.UID
	gid                        cred.GID
	nlink                      uint32
	atime, mtime, ctime, btime unix.Timespec
	xattrs                     map[string][]byte
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
	i.mode, i.uid, i.gid, i.nlink = a.Mode&^unix.S_IFMT, a.UID, a.GID, nlink
	i.atime, i.mtime, i.ctime, i.btime = now, now, now, now
}

func (i *inode) base() *inode { return i }
func (i *inode) unlinked()    { i.dropXattrs() }

// FileType implements vfs.TypeOps.
func (i *inode) FileType() uint32 { return i.kind }

// Attr implements vfs.Inode.
func (i *inode) Attr() (vfs.Attr, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return vfs.Attr{
		Ino: i.ino, Mode: i.kind | i.mode, Nlink: i.nlink, UID: i.uid, GID: i.gid,
		BlockSize: pageSize, Atime: i.atime, Mtime: i.mtime, Ctime: i.ctime, Btime: i.btime,
	}, nil
}

// SetAttr implements vfs.Inode for all but sizes.
func (i *inode) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	now := vfs.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if s.Set&vfs.SetMode != 0 {
		i.mode = s.Mode & 0o7777
	}
	if s.Set&vfs.SetUID != 0 {
		i.uid = s.UID
	}
	if s.Set&vfs.SetGID != 0 {
		i.gid = s.GID
	}
	if s.Set&vfs.SetAtime != 0 {
		i.atime = s.Atime
	}
	if s.Set&vfs.SetMtime != 0 {
		i.mtime = s.Mtime
	}
	i.ctime = now
	return nil
}

// Statfs implements vfs.Inode.
func (i *inode) Statfs() (unix.Statfs_t, error) { return i.fs.statfs(), nil }

// addLink changes the number of names and returns the new one.
func (i *inode) addLink(n int, now unix.Timespec) uint32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.nlink = uint32(int(i.nlink) + n)
	i.ctime = now
	return i.nlink
}

func (i *inode) link(now unix.Timespec) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch i.nlink {
	case 0:
		return unix.ENOENT
	case maxLinks:
		return unix.EMLINK
	}
	i.nlink++
	i.ctime = now
	return nil
}
func (i *inode) touch(now unix.Timespec) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mtime, i.ctime = now, now
}

// accessed notes an access: only the first after a change counts, as with relatime.
func (i *inode) accessed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !after(i.atime, i.mtime) || !after(i.atime, i.ctime) {
		i.atime = vfs.Now()
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

func (s *symlink) unlinked() {
	s.dropXattrs()
	s.fs.quota.uncharge(s.pages())
}

// Readlink implements vfs.Inode.
func (s *symlink) Readlink(vfs.Caller) (string, error) { return s.target, nil }

// Attr implements vfs.Inode.
func (s *symlink) Attr() (vfs.Attr, error) {
	a, err := s.inode.Attr()
	a.Size = int64(len(s.target))
	return a, err
}
