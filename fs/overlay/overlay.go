package overlay

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Config says where an overlay keeps what is written.
type Config struct {
	// File is the memory file for content.
	File *mm.MemoryFile
	// MaxFiles bounds the files and directories made above, and the lower ones
	// that are changed; 0 is a million. More are ENOSPC.
	MaxFiles int64
	// MaxMeta bounds, in bytes, extended attributes and the texts of symbolic links
	// kept above; 0 is 256 MiB. More are ENOSPC.
	MaxMeta int64
	// Device opens device nodes; without it they are ENXIO.
	Device func(c vfs.Caller, kind, major, minor uint32, flags int) (vfs.FileOps, error)
}

const (
	defaultMaxFiles = 1 << 20
	defaultMaxMeta  = 256 << 20

	// upperIno is set in the inode numbers of what was made above. The lower file system, fs/host,
	// leaves it clear.
	upperIno = 1 << 61

	superMagic = 0x794c7630
	blockSize  = 4096
)

// filesystem is one overlay.
type filesystem struct {
	file    *mm.MemoryFile
	device  func(c vfs.Caller, kind, major, minor uint32, flags int) (vfs.FileOps, error)
	max     int64
	files   atomic.Int64
	maxMeta int64
	metas   atomic.Int64
	nextIno atomic.Uint64

	// mu guards the tree: nodes' parents, names, link counts, and directories.
	mu sync.RWMutex

	buffers sync.Pool // *[]byte of copyChunk
}

// New returns the root of an overlay over the directory lower, whose file system must
// not change names by itself. Errors are those of lower's Attr, and ENOTDIR.
func New(lower vfs.Inode, cfg Config) (vfs.Inode, error) {
	fs := &filesystem{file: cfg.File, device: cfg.Device, max: cfg.MaxFiles}
	if fs.max <= 0 {
		fs.max = defaultMaxFiles
	}
	if fs.maxMeta = cfg.MaxMeta; fs.maxMeta <= 0 {
		fs.maxMeta = defaultMaxMeta
	}
	fs.buffers.New = func() any { b := make([]byte, copyChunk); return &b }
	root, err := fs.lowerNode(nil, "", lower)
	if err != nil {
		return nil, err
	}
	if root.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	root.pinned = true
	return root, nil
}

// charge counts one more file, or one more name of a file, above; ENOSPC when there are too many.
func (fs *filesystem) charge() error {
	if fs.files.Add(1) > fs.max {
		fs.files.Add(-1)
		return unix.ENOSPC
	}
	return nil
}

func (fs *filesystem) uncharge() { fs.files.Add(-1) }

// reserve counts n bytes more, or fewer, of what is kept besides content; ENOSPC when there are too many.
func (fs *filesystem) reserve(n int) error {
	if fs.metas.Add(int64(n)) > fs.maxMeta && n > 0 {
		fs.metas.Add(int64(-n))
		return unix.ENOSPC
	}
	return nil
}

// statfs describes the memory behind the overlay.
func (fs *filesystem) statfs() unix.Statfs_t {
	limit, used := fs.file.Limit()/blockSize, fs.file.Usage()/blockSize
	free := limit - min(used, limit)
	return unix.Statfs_t{
		Type: superMagic, Bsize: blockSize, Frsize: blockSize, Namelen: vfs.NameMax,
		Blocks: limit, Bfree: free, Bavail: free,
		Files: uint64(fs.max), Ffree: uint64(max(fs.max-fs.files.Load(), 0)),
	}
}
