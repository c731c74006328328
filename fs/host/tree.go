package host

import (
	"cmp"
	"math"
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// Config says how a host directory is shown.
type Config struct {
	// ReadOnly refuses every change with EROFS, whatever the mount says.
	ReadOnly bool
	// Cache believes attributes and names until a file is opened again. It goes with
	// ReadOnly only.
	Cache bool
	// Devices is the device number of the file system where the host keeps its devices, as Device has it; it is hidden as those of the
	// host's kernel are. 0: there is none.
	Devices uint64
	// NoDev says that the host itself opens no device through the tree.
	NoDev bool
	// MaxDirs bounds the open descriptors of directories; 0 takes an eighth of RLIMIT_NOFILE, between 16 and 512.
	MaxDirs int
	// Opened counts what all trees of a sandbox have opened to be mapped: that tells mappings of one open file from those of the next that has its
	// descriptor (mm.Backing). nil: nothing does. It starts at platform.PermanentID.
	Opened *atomic.Uint32
}

// tree is one host directory tree.
type tree struct {
	cfg     Config
	root    *inode
	rootDev uint64
	mostFD  int // descriptors from this one on are not for files

	// naming is held for writing while the host renames, and for reading from the look at a name until what has it is open.
	naming sync.RWMutex

	// mu guards the names and parents of all inodes, their descriptors, and what follows.
	mu       sync.Mutex
	lru      handle // head of the ring of directory handles, most recently used first
	dirs     int
	devices  map[uint64]uint16 // of files: those seen so far, but for the root's
	parked   [parkSlots]parkedFile
	nextPark int

	listings sync.Pool // *[]byte of listSize
}

const (
	// parkSlots bounds the files created and not yet opened whose modes would not let them be opened.
	parkSlots = 16
	listSize  = 32 << 10

	minDirs, maxDirs = 16, 512
)

// parkedFile is the descriptor of a file just created whose modes refuse to open it
// the way its creator asked for.
type parkedFile struct {
	n  *inode
	fd int
}

// New returns the root inode of the directory tree below rootFD, which it takes over; a
// regular file is a tree of its own, opened only as rootFD is. ENOTDIR for anything
// else; EACCES where the host's kernel shows itself or keeps its devices; EINVAL for a cached tree that is writable.
func New(rootFD int, cfg Config) (vfs.Inode, error) {
	if cfg.Cache && !cfg.ReadOnly {
		return nil, unix.EINVAL
	}
	if cfg.MaxDirs <= 0 {
		cfg.MaxDirs = defaultDirs()
	}
	var st unix.Statx_t
	if err := statAt(rootFD, "", &st); err != nil {
		return nil, err
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return nil, unix.ENOTDIR
	}
	if kernel, err := cfg.hides(rootFD, &st); kernel || err != nil {
		return nil, cmp.Or(err, error(unix.EACCES))
	}
	flags, err := unix.FcntlInt(uintptr(rootFD), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	t := &tree{cfg: cfg, rootDev: deviceOf(&st), mostFD: guestFiles(), devices: make(map[uint64]uint16)}
	t.lru.next, t.lru.prev = &t.lru, &t.lru
	t.listings.New = func() any { b := make([]byte, listSize); return &b }
	for i := range t.parked {
		t.parked[i].fd = -1
	}
	root, n := t.newInode(nil, "", &st)
	t.root = n
	h := &handle{t: t, owner: n, fd: rootFD, id: t.nextID(), dev: deviceOf(&st), refs: 1, access: flags & unix.O_ACCMODE, pathOnly: flags&unix.O_PATH != 0}
	if h.pathOnly && kind == unix.S_IFDIR {
		// A descriptor that can list is wanted; "." stays below by its nature.
		if fd, err := openAt(rootFD, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			closeFD(rootFD)
			h.fd, h.pathOnly = fd, false
		}
	}
	n.open = h
	h.closeWithTree()
	return root, nil
}

// nextID is the id of the next handle.
func (t *tree) nextID() uint32 {
	if t.cfg.Opened == nil {
		return 0
	}
	return t.cfg.Opened.Add(1)
}

func defaultDirs() int { return min(max(openFiles()/8, minDirs), maxDirs) }

// openFiles is RLIMIT_NOFILE, asked for once, as a sandbox that is locked cannot ask; 0 where the host does not tell.
var openFiles = sync.OnceValue(func() int {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return 0
	}
	return int(min(lim.Cur, math.MaxInt32))
})

// reserved is how many of the descriptors that the process may have guests do not get: without one nobody could ask how a sandbox does,
// or end it.
const reserved = 64

// guestFiles is the first descriptor that a guest's file cannot have.
func guestFiles() int {
	limit := openFiles()
	if limit == 0 {
		return math.MaxInt
	}
	return limit - min(reserved, limit/4)
}

// device returns a small number for a host device, 0 for the root's, and whether it is known to be one of files; those that are not have all
// the same number.
func (t *tree) device(dev uint64) (index uint16, known bool) {
	if dev == t.rootDev {
		return 0, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.devices[dev]; ok {
		return i, true
	}
	return maxDevices - 1, false
}

// learn makes known that a host device is one of files.
func (t *tree) learn(dev uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next := len(t.devices) + 1; t.devices[dev] == 0 && dev != t.rootDev && next < maxDevices-1 {
		t.devices[dev] = uint16(next)
	}
}
