package tmpfs

import (
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// OpenDevice opens the device that a node stands for; kind is S_IFCHR or S_IFBLK.
type OpenDevice func(c vfs.Caller, kind, major, minor uint32, flags int) (vfs.FileOps, error)

// Config says how a file system is made.
type Config struct {
	File *mm.MemoryFile // where the contents of files are

	Size   uint64 // of all contents, in bytes; 0 for what File has
	Inodes uint64 // how many names there may be; 0 for a share of Size

	Mode uint32 // permissions of the root; 0 for 01777
	UID  cred.UID
	IDs  *cred.UserNamespace // whose ids the options have; nil: the initial one
	GID  cred.GID

	OpenDevice OpenDevice // nil: devices are ENXIO
}

// bytesPerInode is how much content is given for each inode where nothing is
// said: what inodes and names cost comes from the sentry's own memory.
const (
	bytesPerInode = 8192
	maxInodes     = 1 << 20
	maxXattrBytes = 16 << 20
)

// fileSystem is what the inodes of one tmpfs share.
type fileSystem struct {
	file       *mm.MemoryFile
	quota      *Quota
	openDevice OpenDevice
	maxInodes  int64

	ino        atomic.Uint64
	inodes     atomic.Int64 // names and unnamed files
	xattrBytes atomic.Int64
	aside      *mm.Aside // what names, texts of links and attributes cost the sentry
	fifos      *vfs.Budget
}

// New makes an empty file system and returns its root.
func New(cfg Config) vfs.Inode {
	size := cfg.Size
	if size == 0 {
		size = cfg.File.Limit()
	}
	inodes := cfg.Inodes
	if inodes == 0 {
		inodes = min(max(size/bytesPerInode, 1024), maxInodes)
	}
	fs := &fileSystem{
		file: cfg.File, quota: NewQuota(size), openDevice: cfg.OpenDevice,
		maxInodes: int64(min(inodes, 1<<40)), fifos: vfs.NewBudget(vfs.PipeBytes),
	}
	fs.aside = mm.NewAside(cfg.File, fs)
	mode := cfg.Mode
	if mode == 0 {
		mode = 0o1777
	}
	root := fs.newDir(vfs.NewAttr{Mode: mode&^unix.S_IFMT | unix.S_IFDIR, UID: cfg.UID, GID: cfg.GID})
	root.parent.Store(root)
	fs.inodes.Add(1)
	return root
}

// nameCost is about what a name and its inode cost the sentry, in bytes.
const nameCost = 1 << 10

// take counts one more name: ENOSPC when there are too many.
func (fs *fileSystem) take() error {
	if fs.inodes.Add(1) > fs.maxInodes {
		fs.inodes.Add(-1)
		return unix.ENOSPC
	}
	if !fs.aside.Take(nameCost) {
		fs.inodes.Add(-1)
		return unix.ENOSPC
	}
	return nil
}

func (fs *fileSystem) give() {
	fs.inodes.Add(-1)
	fs.aside.Take(-nameCost)
}

// takeXattr counts more bytes of extended attributes: ENOSPC when there are too many, in the file system or in all.
func (fs *fileSystem) takeXattr(more int64) error {
	if fs.xattrBytes.Add(more) > maxXattrBytes && more > 0 || !fs.aside.Take(more) {
		fs.xattrBytes.Add(-more)
		return unix.ENOSPC
	}
	return nil
}

const magic = 0x01021994 // TMPFS_MAGIC

func (fs *fileSystem) statfs() unix.Statfs_t {
	limit, used := fs.quota.limit, fs.quota.used.Load()
	inodes := fs.inodes.Load()
	return unix.Statfs_t{
		Type: magic, Bsize: pageSize, Frsize: pageSize, Namelen: vfs.NameMax,
		Blocks: uint64(limit), Bfree: uint64(limit - used), Bavail: uint64(limit - used),
		Files: uint64(fs.maxInodes), Ffree: uint64(max(fs.maxInodes-inodes, 0)),
	}
}
