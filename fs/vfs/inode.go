package vfs

import (
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Caller is who asks: a task, or the sentry itself while it builds a sandbox.
type Caller interface {
	Creds() *cred.Credentials
	// FileSizeLimit is RLIMIT_FSIZE in bytes.
	FileSizeLimit() uint64
	// Interrupted tells whether a signal is due, for long loops.
	Interrupted() bool
}

// Attr is what stat(2) and statx(2) tell of an inode.
type Attr struct {
	Ino       uint64
	Mode      uint32 // type and permissions, S_IF* | 07777
	Nlink     uint32
	UID       cred.UID
	GID       cred.GID
	Major     uint32 // of the file system's device
	Minor     uint32
	RdevMajor uint32
	RdevMinor uint32
	Size      int64
	Blocks    int64 // of 512 bytes
	BlockSize uint32
	Atime     unix.Timespec
	Mtime     unix.Timespec
	Ctime     unix.Timespec
	Btime     unix.Timespec // zero when unknown
	Flags     uint32        // Flag*

	// Of the mount that the file is seen through: filled in by the VFS.
	MountID   uint64
	MountRoot bool
}

// IsDir and IsSymlink and so on look at the type in Mode.
func (a *Attr) IsDir() bool { return a.Mode&unix.S_IFMT == unix.S_IFDIR }

// Fields of SetAttr.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetFlags
)

// SetAttr is a change of attributes; Set tells which fields count. Times are
// final values ("now" is filled in by the VFS).
type SetAttr struct {
	Set   uint32
	Mode  uint32 // permissions only, 07777
	UID   cred.UID
	GID   cred.GID
	Size  int64
	Atime unix.Timespec
	Mtime unix.Timespec
	Flags uint32
}

// Change makes the change s, but for the size, and sets the change time.
func (a *Attr) Change(s SetAttr) {
	if s.Set&SetMode != 0 {
		a.Mode = a.Mode&unix.S_IFMT | s.Mode&0o7777
	}
	if s.Set&SetUID != 0 {
		a.UID = s.UID
	}
	if s.Set&SetGID != 0 {
		a.GID = s.GID
	}
	if s.Set&SetAtime != 0 {
		a.Atime = s.Atime
	}
	if s.Set&SetMtime != 0 {
		a.Mtime = s.Mtime
	}
	if s.Set&SetFlags != 0 {
		a.Flags = s.Flags
	}
	a.Ctime = Now()
}

// Inode is a file of any type in a file system. The VFS checks permissions, read-only
// mounts, types, name lengths, loops and sticky directories before it calls;
// the inode does the work, and is safe for concurrent use. Errors are unix.Errno.
//
// NoInode gives every method but Attr a refusing default.
type Inode interface {
	// Attr returns the attributes; it does not block for long.
	Attr() (Attr, error)
	// SetAttr changes attributes and the change time.
	SetAttr(c Caller, s SetAttr) error
	// Open makes the operations of an open file. flags are O_ flags without
	// O_CREAT, O_EXCL and O_NOFOLLOW; O_TRUNC has been done. For a device it
	// opens the device.
	Open(c Caller, flags int) (FileOps, error)
	// Readlink returns a symbolic link's text; EINVAL for others.
	Readlink(c Caller) (string, error)
	// Statfs describes the file system.
	Statfs() (unix.Statfs_t, error)

	// For directories (ENOTDIR for others). Names are single components, valid,
	// and not "." or "..". The VFS holds the directory's lock (shared for
	// Lookup, exclusive for the others) during the call. New inodes get owner
	// and mode as given: umask and set-gid directories are handled before.
	Lookup(c Caller, name string) (Inode, error)
	Create(c Caller, name string, a NewAttr) (Inode, error) // regular
	Mkdir(c Caller, name string, a NewAttr) (Inode, error)
	Mknod(c Caller, name string, a NewAttr, major, minor uint32) (Inode, error) // FIFO, socket, devices
	Symlink(c Caller, name, target string, a NewAttr) (Inode, error)
	Link(c Caller, name string, target Inode) error
	Unlink(c Caller, name string, child Inode) error
	Rmdir(c Caller, name string, child Inode) error
	// Rename moves child from name to newDir/newName, replacing target if that is not nil.
	// With exchange set, target takes child's place. EXDEV where the file system cannot.
	Rename(c Caller, name string, child Inode, newDir Inode, newName string, target Inode, exchange bool) error

	// Extended attributes; EOPNOTSUPP where there are none.
	GetXattr(c Caller, name string) ([]byte, error)
	SetXattr(c Caller, name string, value []byte, flags int) error
	ListXattr(c Caller) ([]string, error)
	RemoveXattr(c Caller, name string) error

	// State is the VFS's own share of the inode: locks, watches, the directory lock.
	State() *InodeState
}

// NewAttr are the attributes of an inode to be made. Mode has the type too.
type NewAttr struct {
	Mode  uint32
	UID   cred.UID
	GID   cred.GID
	Flags uint32 // of the directory's
}

// Revalidator is a directory inode whose entries may change behind the VFS's
// back (a writable host directory, /proc). Revalidate tells whether the cached
// child (nil: cached absence) still stands under name. A directory that does not have it is cached for good.
type Revalidator interface {
	Revalidate(c Caller, name string, child Inode) bool
}

// MagicLink is a symbolic link that leads to an object and not to a name: /proc/self/fd/3, /proc/self/exe.
type MagicLink interface {
	Target(c Caller) (Path, error)
}

// Dirent is one directory entry. Next is the position behind it.
type Dirent struct {
	Name string
	Ino  uint64
	Type uint8 // DT_*
	Next int64
}

// FileOps are the operations of one open file. Methods never block for other
// guests' sake: where nothing can be done yet they return EAGAIN, and the caller
// waits through waiter.Waitable and tries again. off is the position for files that
// have one; others ignore it. Short counts are as in read(2) and write(2).
type FileOps interface {
	Read(c Caller, dst *mm.Buffer, off int64) (int, error)
	// Write returns the count; for O_APPEND the VFS passes the size as off, with the inode's write lock held.
	Write(c Caller, src *mm.Buffer, off int64) (int, error)
	// Release is called once, when the last descriptor and mapping are gone.
	Release()
}

// What a FileOps may have besides. A file without ReadinessOps is always ready.
type (
	// DirOps lists a directory. It starts behind position pos (0: at the start; the file system
	// emits "." and ".." too) and stops when emit returns false.
	DirOps interface {
		ReadDir(c Caller, pos int64, emit func(Dirent) bool) error
	}
	// MapOps gives the file's pages to mmap(2).
	MapOps interface {
		Mappable() (mm.Mappable, error)
	}
	// SeekOps is for files with their own idea of lseek(2) (SEEK_DATA, SEEK_HOLE, /proc). cur is the present position.
	SeekOps interface {
		Seek(c Caller, cur, off int64, whence int) (int64, error)
	}
	// StreamOps marks files without a position: pread is ESPIPE, and lseek without SeekOps.
	StreamOps interface{ IsStream() }
	// SyncOps is fsync(2).
	SyncOps interface {
		Sync(dataOnly bool) error
	}
	// AllocOps is fallocate(2).
	AllocOps interface {
		Allocate(c Caller, mode uint32, off, length int64) error
	}
	// IoctlOps is ioctl(2) but for FIOCLEX and the like. ENOTTY for what is unknown.
	IoctlOps interface {
		Ioctl(c Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error)
	}
	// AttrOps is for files whose attributes are not those of an inode in a tree (pipes, sockets, eventfds).
	AttrOps interface {
		Attr() (Attr, error)
	}
	// FlushOps is called at each close(2) of a descriptor.
	FlushOps interface{ Flush(c Caller) error }
)
