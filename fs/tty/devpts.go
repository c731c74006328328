package tty

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

const (
	// magic is what statfs(2) tells (DEVPTS_SUPER_MAGIC).
	magic = 0x1cd1
	// Device numbers of slaves and of the multiplexer.
	majorSlave = 136
	majorPtmx  = 5
	minorPtmx  = 2
	// MaxTerminals bounds the pairs of a kernel (/proc/sys/kernel/pty/max).
	MaxTerminals = 4096
)

// Config is what a FileSystem stands on.
type Config struct {
	// NewJob returns a new terminal's side of job control.
	NewJob func(*Terminal) Job
	// Count is how many pairs there are in all file systems.
	Count *atomic.Int64
}

// FileSystem is one instance of devpts.
type FileSystem struct {
	pseudo.FS
	config  Config
	options options
	root    *pseudo.Dir

	// Guarded by mu.
	mu    sync.Mutex
	pairs map[int]*Terminal
}

// options are those of mount(2).
type options struct {
	uid      cred.UID
	gid      cred.GID
	hasUID   bool
	hasGID   bool
	mode     uint32
	ptmxMode uint32
	most     int64
}

// New makes an instance. Its options are uid, gid, mode, ptmxmode, max and newinstance, which every instance is; EINVAL for others.
func New(c Config, data string) (*FileSystem, error) {
	fs := &FileSystem{config: c, options: options{mode: 0o600, most: MaxTerminals}, pairs: make(map[int]*Terminal)}
	for option := range strings.SplitSeq(data, ",") {
		if err := fs.options.set(option); err != nil {
			return nil, err
		}
	}
	fs.Magic, fs.Mutable = magic, true
	fs.root = fs.NewDir(0o755)
	fs.root.Add("ptmx", fs.NewDevice(unix.S_IFCHR|fs.options.ptmxMode, majorPtmx, minorPtmx, fs.Open))
	return fs, nil
}

func (o *options) set(option string) error {
	name, value, _ := strings.Cut(option, "=")
	base := 10
	if strings.HasSuffix(name, "mode") {
		base = 8
	}
	n, err := strconv.ParseUint(value, base, 32)
	switch name {
	case "", "newinstance":
		return nil
	case "uid":
		o.uid, o.hasUID = cred.UID(n), true
	case "gid":
		o.gid, o.hasGID = cred.GID(n), true
	case "mode":
		o.mode = uint32(n) & 0o7777
	case "ptmxmode":
		o.ptmxMode = uint32(n) & 0o7777
	case "max":
		o.most = int64(n)
	default:
		return unix.EINVAL
	}
	if err != nil {
		return unix.EINVAL
	}
	return nil
}

// Root is the root directory.
func (fs *FileSystem) Root() vfs.Inode { return fs.root }

// Open makes a new pair and opens its master, as the device ptmx does. ENOSPC when there are too many.
func (fs *FileSystem) Open(c vfs.Caller, _ int) (vfs.FileOps, error) {
	if fs.config.Count.Add(1) > MaxTerminals {
		fs.config.Count.Add(-1)
		return nil, unix.ENOSPC
	}
	t := &Terminal{fs: fs, termios: newTermios(), locked: true}
	if err := fs.number(t); err != nil {
		fs.config.Count.Add(-1)
		return nil, err
	}
	t.job = fs.config.NewJob(t)
	n := &slaveNode{t: t}
	n.Init(&fs.FS, unix.S_IFCHR|fs.options.mode)
	n.SetOwner(fs.options.owner(c.Creds()))
	t.node = n
	fs.root.Add(strconv.Itoa(t.number), n)
	return &Master{t}, nil
}

func (o *options) owner(c *cred.Credentials) (cred.UID, cred.GID) {
	uid, gid := c.FSUID, c.FSGID
	if o.hasUID {
		uid = o.uid
	}
	if o.hasGID {
		gid = o.gid
	}
	return uid, gid
}

// number gives t the lowest number that is free.
func (fs *FileSystem) number(t *Terminal) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if int64(len(fs.pairs)) >= fs.options.most {
		return unix.ENOSPC
	}
	for fs.pairs[t.number] != nil {
		t.number++
	}
	fs.pairs[t.number] = t
	return nil
}

// forget gives a number back.
func (fs *FileSystem) forget(t *Terminal) {
	fs.root.Remove(strconv.Itoa(t.number))
	fs.mu.Lock()
	delete(fs.pairs, t.number)
	fs.mu.Unlock()
	fs.config.Count.Add(-1)
}

// slaveNode is the inode of a slave.
type slaveNode struct {
	pseudo.Node
	t *Terminal
}

// Attr implements vfs.Inode.
func (n *slaveNode) Attr() (vfs.Attr, error) {
	a, err := n.Node.Attr()
	a.RdevMajor, a.RdevMinor = majorSlave, uint32(n.t.number)
	a.BlockSize = 1024
	return a, err
}

// Open implements vfs.Inode.
func (n *slaveNode) Open(c vfs.Caller, flags int) (vfs.FileOps, error) { return n.t.Open(c, flags) }

// IsSlave tells whether an inode is that of the terminal's slave.
func (t *Terminal) IsSlave(in vfs.Inode) bool { return in == vfs.Inode(t.node) }
