package vfs

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Limits of inotify(7) that a System begins with, and the bytes that all queues may take together.
const (
	inotifyQueued    = 16384 // events of an instance
	inotifyInstances = 128   // of a user
	inotifyWatches   = 65536 // of a user
	inotifyBytes     = 64 << 20
	inotifyMost      = 4096 // instances in all
)

// InotifyLimits are the limits of inotify(7), as /proc/sys/fs/inotify has them.
type InotifyLimits struct {
	Queued    atomic.Int64 // events of an instance
	Instances atomic.Int64 // of a user
	Watches   atomic.Int64 // of a user
}

// InotifyLimits returns the limits, to be read or changed.
func (s *System) InotifyLimits() *InotifyLimits { return &s.inotify.limits }

func (in *inotifySystem) init() {
	in.users, in.bytes.limit = map[cred.UID]*inotifyUser{}, inotifyBytes
	in.limits.Queued.Store(inotifyQueued)
	in.limits.Instances.Store(inotifyInstances)
	in.limits.Watches.Store(inotifyWatches)
}

// inotifySystem is what the inotify instances of a System share.
type inotifySystem struct {
	active atomic.Int64 // watches in all
	cookie atomic.Uint32
	bytes  Budget
	limits InotifyLimits

	mu sync.Mutex
	// Guarded by mu.
	users     map[cred.UID]*inotifyUser
	instances int
}

// inotifyUser is what a user has. It is guarded by inotifySystem.mu.
type inotifyUser struct{ instances, watches int }

// Inotify is an inotify(7) instance.
//
// Lock order: mu, then InodeState.mu, then inotifySystem.mu. Notices come with
// directories locked, so nothing here looks at files while it holds a lock.
type Inotify struct {
	waiter.Queue
	async waiter.Queue // who is told by signal
	sys   *inotifySystem
	user  cred.UID

	mu sync.Mutex
	// Guarded by mu.
	closed   bool
	next     int32 // the watch descriptor to try
	watches  map[int32]*watch
	byInode  map[*InodeState]*watch
	events   []inotifyEvent
	overflow bool // the last event is IN_Q_OVERFLOW
}

// watch is one watch of one instance.
type watch struct {
	owner *Inotify
	wd    int32
	path  Path   // keeps the inode
	mask  uint32 // guarded by owner.mu
}

type inotifyEvent struct {
	wd     int32
	mask   uint32
	cookie uint32
	name   string
}

// inotifyHeader is the size of struct inotify_event, in bytes; names are padded to multiples of it.
const inotifyHeader = 16

func (e *inotifyEvent) size() int {
	if e.name == "" {
		return inotifyHeader
	}
	return inotifyHeader + (len(e.name)/inotifyHeader+1)*inotifyHeader
}

// NewInotify makes an instance for c. flags may have O_NONBLOCK. EMFILE when its user has too many.
func (s *System) NewInotify(c Caller, flags int) (*File, error) {
	in := &s.inotify
	in.mu.Lock()
	defer in.mu.Unlock()
	uid := c.Creds().EUID
	u := in.users[uid]
	if u == nil {
		u = new(inotifyUser)
	}
	if int64(u.instances) >= in.limits.Instances.Load() || in.instances >= inotifyMost {
		return nil, unix.EMFILE
	}
	u.instances++
	in.instances++
	in.users[uid] = u
	i := &Inotify{sys: in, user: uid, next: 1, watches: map[int32]*watch{}, byInode: map[*InodeState]*watch{}}
	return s.NewAnonFile(i, "inotify", flags|unix.O_RDONLY), nil
}

// Bits of a watch's mask that are not events.
const (
	inotifyMaskCreate = 0x10000000
	inotifyKept       = unix.IN_ALL_EVENTS | unix.IN_UNMOUNT | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
	inotifyKnown      = inotifyKept | unix.IN_Q_OVERFLOW | unix.IN_IGNORED | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW |
		unix.IN_MASK_ADD | unix.IN_ISDIR | inotifyMaskCreate
)

// CheckWatchMask is EINVAL for a mask that inotify_add_watch(2) refuses.
func CheckWatchMask(mask uint32) error {
	if mask&inotifyKnown == 0 || mask&unix.IN_MASK_ADD != 0 && mask&inotifyMaskCreate != 0 {
		return unix.EINVAL
	}
	return nil
}

// Watch is inotify_add_watch(2) for a file that was found: it returns the watch descriptor.
// EACCES for what c may not read, EEXIST as of IN_MASK_CREATE, ENOSPC when its user has too many.
func (i *Inotify) Watch(c Caller, p Path, mask uint32) (int32, error) {
	if err := permit(c, p.Dentry, MayRead); err != nil {
		return 0, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := i.byInode[p.Dentry.state]; w != nil {
		if mask&inotifyMaskCreate != 0 {
			return 0, unix.EEXIST
		}
		if mask&unix.IN_MASK_ADD != 0 {
			mask |= w.mask
		}
		w.mask = mask & inotifyKept
		return w.wd, nil
	}
	if !i.sys.charge(i.user) {
		return 0, unix.ENOSPC
	}
	for i.watches[i.next] != nil {
		i.advance()
	}
	w := &watch{owner: i, wd: i.next, path: p, mask: mask & inotifyKept}
	i.advance()
	i.watches[w.wd] = w
	i.byInode[p.Dentry.state] = w
	p.Dentry.state.addWatch(w)
	return w.wd, nil
}

// advance takes the next number, which begin anew only after all were used.
func (i *Inotify) advance() {
	if i.next == math.MaxInt32 {
		i.next = 0
	}
	i.next++
}

// charge counts a watch of a user, if it may have one more.
func (in *inotifySystem) charge(uid cred.UID) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	u := in.users[uid]
	if int64(u.watches) >= in.limits.Watches.Load() {
		return false
	}
	u.watches++
	in.active.Add(1)
	return true
}

func (in *inotifySystem) uncharge(uid cred.UID, watches, instances int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	u := in.users[uid]
	u.watches -= watches
	u.instances -= instances
	in.instances -= instances
	in.active.Add(int64(-watches))
	if u.instances == 0 {
		delete(in.users, uid)
	}
}

// Unwatch is inotify_rm_watch(2); EINVAL for what is no watch.
func (i *Inotify) Unwatch(wd int32) error {
	i.mu.Lock()
	w := i.watches[wd]
	i.mu.Unlock()
	if w == nil || !i.drop(w) {
		return unix.EINVAL
	}
	return nil
}

// drop ends a watch, unless that was done before, and says so in the queue.
func (i *Inotify) drop(w *watch) bool {
	i.mu.Lock()
	ok := i.dropLocked(w)
	i.mu.Unlock()
	if ok {
		i.tell()
	}
	return ok
}

// tell wakes who waits for events.
func (i *Inotify) tell() {
	i.Notify(waiter.In | waiter.RdNorm)
	i.async.Notify(waiter.In)
}

// AsyncQueue implements AsyncOps.
func (i *Inotify) AsyncQueue() *waiter.Queue { return &i.async }

func (i *Inotify) dropLocked(w *watch) bool {
	if i.watches[w.wd] != w {
		return false
	}
	i.forget(w)
	i.queue(inotifyEvent{wd: w.wd, mask: unix.IN_IGNORED})
	return true
}

func (i *Inotify) forget(w *watch) {
	delete(i.watches, w.wd)
	delete(i.byInode, w.path.Dentry.state)
	w.path.Dentry.state.removeWatch(w)
	i.sys.uncharge(i.user, 1, 0)
}

// post queues n if w asks for it.
func (i *Inotify) post(w *watch, n notice) {
	i.mu.Lock()
	if i.watches[w.wd] != w || w.mask&n.mask&unix.IN_ALL_EVENTS == 0 || n.gone && w.mask&unix.IN_EXCL_UNLINK != 0 {
		i.mu.Unlock()
		return
	}
	if n.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
		n.mask &^= unix.IN_ISDIR
	}
	i.queue(inotifyEvent{w.wd, n.mask, n.cookie, n.name})
	if w.mask&unix.IN_ONESHOT != 0 {
		i.dropLocked(w)
	}
	i.mu.Unlock()
	i.tell()
}

// queue appends an event unless it repeats the last one. mu is held.
func (i *Inotify) queue(e inotifyEvent) {
	if n := len(i.events); n > 0 && e.mask != unix.IN_IGNORED {
		if last := i.events[n-1]; last.wd == e.wd && last.mask == e.mask && last.name == e.name {
			return
		}
	}
	if i.overflow || i.closed {
		return
	}
	if int64(len(i.events)) >= i.sys.limits.Queued.Load() || !i.sys.bytes.Take(int64(e.size())) {
		i.overflow = true
		i.events = append(i.events, inotifyEvent{wd: -1, mask: unix.IN_Q_OVERFLOW})
		return
	}
	i.events = append(i.events, e)
}

// Read implements FileOps: as many events as have room; EINVAL when the first has not.
func (i *Inotify) Read(_ Caller, dst *mm.Buffer, _ int64) (int, error) {
	b, err := i.take(int(min(dst.Len(), 1<<20)))
	if err != nil {
		return 0, err
	}
	return dst.CopyOut(b)
}

// take takes events out of the queue, encoded, at most room bytes.
func (i *Inotify) take(room int) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.events) == 0 {
		return nil, unix.EAGAIN
	}
	var b []byte
	n := 0
	for ; n < len(i.events) && len(b)+i.events[n].size() <= room; n++ {
		b = i.events[n].encode(b)
		i.uncount(&i.events[n])
	}
	if n == 0 {
		return nil, unix.EINVAL
	}
	if i.events = i.events[n:]; len(i.events) == 0 {
		i.events, i.overflow = nil, false
	}
	return b, nil
}

// uncount gives back what a queued event took.
func (i *Inotify) uncount(e *inotifyEvent) {
	if e.mask != unix.IN_Q_OVERFLOW {
		i.sys.bytes.Take(int64(-e.size()))
	}
}

func (e *inotifyEvent) encode(b []byte) []byte {
	le := binary.LittleEndian
	end := len(b) + e.size()
	b = le.AppendUint32(b, uint32(e.wd))
	b = le.AppendUint32(b, e.mask)
	b = le.AppendUint32(b, e.cookie)
	b = le.AppendUint32(b, uint32(e.size()-inotifyHeader))
	b = append(b, e.name...)
	return append(b, make([]byte, end-len(b))...)
}

// Write implements FileOps.
func (*Inotify) Write(Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }

// IsStream implements StreamOps.
func (*Inotify) IsStream() {}

// Seek implements SeekOps: it goes nowhere.
func (*Inotify) Seek(Caller, int64, int64, int) (int64, error) { return 0, nil }

// Ioctl implements IoctlOps: FIONREAD.
func (i *Inotify) Ioctl(_ Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	if cmd != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	n := 0
	i.mu.Lock()
	for k := range i.events {
		n += i.events[k].size()
	}
	i.mu.Unlock()
	_, err := mem.CopyOut(mm.Addr(arg), binary.LittleEndian.AppendUint32(nil, uint32(n)))
	return 0, err
}

// Readiness implements waiter.Waitable.
func (i *Inotify) Readiness(wanted waiter.EventMask) waiter.EventMask {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.events) == 0 {
		return 0
	}
	return wanted & (waiter.In | waiter.RdNorm)
}

// Release implements FileOps.
func (i *Inotify) Release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	for _, w := range i.watches {
		i.forget(w)
	}
	for k := range i.events {
		i.uncount(&i.events[k])
	}
	i.events = nil
	i.sys.uncharge(i.user, 0, 1)
}
