// Package mqueue has POSIX message queues and the file system that shows them, as of
// mq_overview(7).
//
// Each IPC namespace has one FileSystem. Its root directory holds the queues, which are opened by name, by mq_open(2) or
// through a mount; the sizes of a new queue come from the caller if it has a
// method QueueAttr, else from the limits. A queue lives until it has no name and is not open
// any more; what it holds is then given back.
//
// Nothing blocks: a call that has to wait leaves a Waiter, which is served by who sends or takes a message, in
// the order of coming, and the caller waits for its channel or cancels it.
//
// Locks, outermost first: Queue.mu guards one queue, FileSystem.mu the limits and the number of queues, Accounts.mu what
// users have. None is held while a notification is sent.
//
// Invariant: a queue has waiting receivers only while it is empty, and waiting senders only while it is full.
package mqueue

import (
	"strconv"
	"strings"
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// magic is what statfs(2) tells (MQUEUE_MAGIC).
const magic = 0x19800202

// Bounds of what anyone may ask for, and of limits.
const (
	hardMessages = 65536
	hardSize     = 16 << 20
	leastSize    = 128
	// MaxPriority is the first priority that there is not (MQ_PRIO_MAX).
	MaxPriority = 32768
)

// Config is what a FileSystem stands on.
type Config struct {
	System *vfs.System
	// Owner is the user namespace whose capabilities count.
	Owner *cred.UserNamespace
	// Take charges bytes of the sentry's own memory, ENOMEM; Give gives them back.
	Take func(n int) error
	Give func(n int)
	// Accounts counts RLIMIT_MSGQUEUE for all namespaces.
	Accounts *Accounts
}

// Accounts counts the bytes that each user's queues may hold. It is safe for concurrent use.
type Accounts struct {
	mu   sync.Mutex
	used map[account]uint64
}

// account is a user in a user namespace.
type account struct {
	ns  *cred.UserNamespace
	uid cred.UID
}

func (a *Accounts) charge(who account, n, limit uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n > limit || a.used[who] > limit-n {
		return unix.EMFILE
	}
	if a.used == nil {
		a.used = make(map[account]uint64)
	}
	a.used[who] += n
	return nil
}

func (a *Accounts) uncharge(who account, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used[who] -= n; a.used[who] == 0 {
		delete(a.used, who)
	}
}

// FileSystem is the queues of an IPC namespace.
type FileSystem struct {
	pseudo.FS
	config Config
	root   *directory
	place  vfs.WalkArgs // the root on a mount that nobody sees

	// Guarded by mu.
	mu     sync.Mutex
	limits limits
	count  int64
}

// limits are the files in /proc/sys/fs/mqueue.
type limits struct{ queues, messages, size, defaultMessages, defaultSize int64 }

// New returns a file system without queues.
func New(c Config) *FileSystem {
	fs := &FileSystem{config: c, limits: limits{256, 10, 8192, 10, 8192}}
	fs.Magic, fs.Mutable = magic, true
	fs.root = &directory{Dir: fs.NewDir(unix.S_ISVTX | 0o777), fs: fs}
	// It fails only where a root has no attributes.
	ns, _ := c.System.NewNamespace(fs.root, vfs.NoSuid|vfs.NoDev|vfs.NoExec, "mqueue", "mqueue")
	fs.place = vfs.WalkArgs{Root: ns.Root(), Start: ns.Root(), NoFollow: true}
	return fs
}

// Root is the root directory, for mounts.
func (fs *FileSystem) Root() vfs.Inode { return fs.root }

// Release drops every name: nobody is in the namespace any more.
func (fs *FileSystem) Release() {
	for _, q := range fs.root.queues() {
		fs.root.drop(q.name, q)
	}
}

// knob finds a limit with its range.
func (l *limits) knob(name string) (value *int64, least, most int64) {
	switch name {
	case "queues_max":
		return &l.queues, 0, 1<<31 - 1
	case "msg_max":
		return &l.messages, 1, hardMessages
	case "msg_default":
		return &l.defaultMessages, 1, hardMessages
	case "msgsize_max":
		return &l.size, leastSize, hardSize
	case "msgsize_default":
		return &l.defaultSize, leastSize, hardSize
	}
	return nil, 0, 0
}

// Knob returns a limit by the name of its file; ENOENT.
func (fs *FileSystem) Knob(name string) (string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	v, _, _ := fs.limits.knob(name)
	if v == nil {
		return "", unix.ENOENT
	}
	return strconv.FormatInt(*v, 10), nil
}

// SetKnob sets it; ENOENT, EINVAL.
func (fs *FileSystem) SetKnob(name, text string) error {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 0, 64)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	v, least, most := fs.limits.knob(name)
	switch {
	case v == nil:
		return unix.ENOENT
	case err != nil || n < least || n > most:
		return unix.EINVAL
	}
	*v = n
	return nil
}

// Attr are the sizes of a queue.
type Attr struct {
	Messages int64 // how many it may hold
	Size     int64 // of one, in bytes
}

// creator is a caller of mq_open(2).
type creator struct {
	vfs.Caller
	attr Attr
}

// QueueAttr are the sizes of a queue that the caller makes.
func (c creator) QueueAttr() Attr { return c.attr }

// QueueLimit is RLIMIT_MSGQUEUE of the caller.
func (c creator) QueueLimit() uint64 { return queueLimit(c.Caller) }

// checkName refuses what is no name of a file, as mq_open(2) does.
func checkName(name string) error {
	switch {
	case name == "":
		return unix.ENOENT
	case name == "." || name == ".." || strings.Contains(name, "/"):
		return unix.EACCES
	case len(name) > vfs.NameMax:
		return unix.ENAMETOOLONG
	}
	return nil
}

// Open is mq_open(2). attr may be nil.
func (fs *FileSystem) Open(c vfs.Caller, name string, o vfs.OpenArgs, attr *Attr) (*vfs.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if attr != nil {
		c = creator{c, *attr}
	}
	o.Flags &= unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NONBLOCK
	if o.Flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return nil, unix.EINVAL
	}
	return vfs.Open(c, fs.place, name, o)
}

// Unlink is mq_unlink(2).
func (fs *FileSystem) Unlink(c vfs.Caller, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return vfs.UnlinkAt(c, fs.place, name)
}
