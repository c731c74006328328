package vfs

import (
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxRecords bounds the record locks on one inode.
const maxRecords = 1 << 16

// LockOwner is who holds POSIX record locks: the descriptor table of a process. It
// knows whom it waits for, so that a circle is found (EDEADLK).
type LockOwner struct {
	mu    sync.Mutex
	waits []*LockOwner // one for each waiting thread
}

// RecordLock is a lock on the bytes [Start, End) of a file. End is math.MaxInt64 for all
// there will ever be.
type RecordLock struct {
	Type       int16 // F_RDLCK, F_WRLCK, F_UNLCK
	Start, End int64
	PID        int32 // of the holder, as F_GETLK shows it; -1 for a lock of an open file
}

// record is a lock held. owner is a *LockOwner, or the *File for an open file description lock.
type record struct {
	owner any
	RecordLock
}

type flock struct {
	file      *File
	exclusive bool
}

// lockTable are the advisory locks of one inode, guarded by InodeState.mu.
type lockTable struct {
	records []record
	flocks  []flock
	waiters []*LockWait
	leases  []lease
}

// LockWait waits for a lock. When C is closed the lock may be asked for again; who gives
// up calls Cancel.
type LockWait struct {
	C <-chan struct{}

	ch             chan struct{}
	state          *InodeState
	owner, blocker *LockOwner // nil for locks of open files
}

// Cancel ends the wait. It is harmless after C was closed.
func (w *LockWait) Cancel() {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	t := w.state.locks
	for i, o := range t.waiters {
		if o == w {
			t.waiters = append(t.waiters[:i], t.waiters[i+1:]...)
			w.unlink()
			return
		}
	}
}

func (w *LockWait) unlink() {
	if w.owner == nil || w.blocker == nil {
		return
	}
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	for i, b := range w.owner.waits {
		if b == w.blocker {
			w.owner.waits = append(w.owner.waits[:i], w.owner.waits[i+1:]...)
			return
		}
	}
}

// reaches tells whether o waits, through others, for target.
func (o *LockOwner) reaches(target *LockOwner) bool {
	seen := map[*LockOwner]bool{}
	todo := []*LockOwner{o}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at == target {
			return true
		}
		if seen[at] {
			continue
		}
		seen[at] = true
		at.mu.Lock()
		todo = append(todo, at.waits...)
		at.mu.Unlock()
	}
	return false
}

// table returns the locks of the inode. s.mu is held.
func (s *InodeState) table() *lockTable {
	if s.locks == nil {
		s.locks = &lockTable{}
	}
	return s.locks
}

// wake lets every waiter try again.
func (t *lockTable) wake() {
	for _, w := range t.waiters {
		w.unlink()
		close(w.ch)
	}
	t.waiters = nil
}

// conflict returns the first lock that keeps owner from l.
func (t *lockTable) conflict(owner any, l RecordLock) *record {
	for i := range t.records {
		r := &t.records[i]
		if r.owner != owner && r.Start < l.End && l.Start < r.End &&
			(r.Type == unix.F_WRLCK || l.Type == unix.F_WRLCK) {
			return r
		}
	}
	return nil
}

// set gives l to owner, over what it held of these bytes. Owners stay in the order of their first locks, and the locks of one in that of
// their bytes: F_GETLK shows the first in the way.
func (t *lockTable) set(owner any, l RecordLock) error {
	kept := make([]record, 0, len(t.records)+2)
	at := -1
	for _, r := range t.records {
		if r.owner == owner && at < 0 {
			at = len(kept)
		}
		if r.owner != owner || r.End < l.Start || l.End < r.Start ||
			r.Type != l.Type && (r.End == l.Start || l.End == r.Start) {
			kept = append(kept, r)
			continue
		}
		if r.Type == l.Type {
			l.Start, l.End = min(l.Start, r.Start), max(l.End, r.End)
			continue
		}
		if r.Start < l.Start {
			left := r
			left.End = l.Start
			kept = append(kept, left)
		}
		if l.End < r.End {
			r.Start = l.End
			kept = append(kept, r)
		}
	}
	if l.Type != unix.F_UNLCK {
		if at < 0 {
			at = len(kept)
		}
		for at < len(kept) && kept[at].owner == owner && kept[at].Start < l.Start {
			at++
		}
		kept = slices.Insert(kept, at, record{owner, l})
	}
	if len(kept) > maxRecords && len(kept) > len(t.records) {
		return unix.ENOLCK
	}
	t.records = kept
	return nil
}

// lockOwner is the identity under which f's record locks are held: owner's for POSIX locks,
// the open file's own where owner is nil.
func (f *File) lockOwner(owner *LockOwner) any {
	if owner != nil {
		return owner
	}
	return f
}

// TestLock is F_GETLK: the first lock in l's way, or one of type F_UNLCK. owner is nil for F_OFD_GETLK.
func (f *File) TestLock(owner *LockOwner, l RecordLock) RecordLock {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	if r := f.state.table().conflict(f.lockOwner(owner), l); r != nil {
		return r.RecordLock
	}
	l.Type = unix.F_UNLCK
	return l
}

// SetLock is F_SETLK, or with wait F_SETLKW; owner is nil for the F_OFD_ ones. EBADF when the file
// is not open for that. In the way of another lock it is EAGAIN, or with wait
// something to wait for (then SetLock is called again) or EDEADLK.
func (f *File) SetLock(owner *LockOwner, l RecordLock, wait bool) (*LockWait, error) {
	switch {
	case f.IsPath(), l.Type == unix.F_RDLCK && !f.readable, l.Type == unix.F_WRLCK && !f.writable:
		return nil, unix.EBADF
	case l.Type != unix.F_RDLCK && l.Type != unix.F_WRLCK && l.Type != unix.F_UNLCK, l.Start < 0, l.End <= l.Start:
		return nil, unix.EINVAL
	}
	if owner == nil {
		l.PID = -1
		f.noteLock()
	}
	id := f.lockOwner(owner)
	st := f.state
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.table()
	if l.Type != unix.F_UNLCK {
		if r := t.conflict(id, l); r != nil {
			if !wait {
				return nil, unix.EAGAIN
			}
			blocker, _ := r.owner.(*LockOwner)
			return st.waitFor(owner, blocker)
		}
	}
	if err := t.set(id, l); err != nil {
		return nil, err
	}
	t.wake()
	return nil, nil
}

// waitFor makes a wait for the inode's locks to change. s.mu is held.
func (s *InodeState) waitFor(owner, blocker *LockOwner) (*LockWait, error) {
	w := &LockWait{ch: make(chan struct{}), state: s, owner: owner, blocker: blocker}
	w.C = w.ch
	if owner != nil && blocker != nil {
		owner.mu.Lock()
		owner.waits = append(owner.waits, blocker)
		owner.mu.Unlock()
		if blocker.reaches(owner) {
			w.unlink()
			return nil, unix.EDEADLK
		}
	}
	t := s.table()
	t.waiters = append(t.waiters, w)
	return w, nil
}

// DropRecordLocks releases what owner holds on the file's inode, at each close of one of its descriptors.
func (f *File) DropRecordLocks(owner *LockOwner) {
	st := f.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.locks != nil {
		st.locks.dropRecords(owner)
	}
}

func (t *lockTable) dropRecords(owner any) {
	kept := t.records[:0]
	for _, r := range t.records {
		if r.owner != owner {
			kept = append(kept, r)
		}
	}
	if len(kept) == len(t.records) {
		return
	}
	clear(t.records[len(kept):])
	t.records = kept
	t.wake()
}

// noteLock remembers that closing f has locks to drop.
func (f *File) noteLock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hasLocks = true
}

// Flock is flock(2): op is LOCK_SH, LOCK_EX or LOCK_UN, with LOCK_NB for EAGAIN
// where it would have to wait. Otherwise what it returns is waited for, and Flock called again.
func (f *File) Flock(op int) (*LockWait, error) {
	if f.IsPath() {
		return nil, unix.EBADF
	}
	kind := op &^ unix.LOCK_NB
	if kind != unix.LOCK_SH && kind != unix.LOCK_EX && kind != unix.LOCK_UN {
		return nil, unix.EINVAL
	}
	f.noteLock()
	st := f.state
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.table()
	exclusive := kind == unix.LOCK_EX
	if at := t.flockOf(f); at >= 0 {
		if kind != unix.LOCK_UN && t.flocks[at].exclusive == exclusive {
			return nil, nil
		}
		// A change of kind gives the old lock up first, as on Linux.
		t.flocks = append(t.flocks[:at], t.flocks[at+1:]...)
		t.wake()
	}
	if kind == unix.LOCK_UN {
		return nil, nil
	}
	for _, l := range t.flocks {
		if l.exclusive || exclusive {
			if op&unix.LOCK_NB != 0 {
				return nil, unix.EAGAIN
			}
			return st.waitFor(nil, nil)
		}
	}
	t.flocks = append(t.flocks, flock{f, exclusive})
	return nil, nil
}

func (t *lockTable) flockOf(f *File) int {
	for i, l := range t.flocks {
		if l.file == f {
			return i
		}
	}
	return -1
}

// dropLocks releases the locks of an open file that is closed.
func (s *InodeState) dropLocks(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table()
	t.dropRecords(f)
	if at := t.leaseOf(f); at >= 0 {
		t.endLease(at)
	}
	if at := t.flockOf(f); at >= 0 {
		t.flocks = append(t.flocks[:at], t.flocks[at+1:]...)
		t.wake()
	}
}

// LockRange turns the fields of struct flock into the bytes that are meant.
// EINVAL and EOVERFLOW as fcntl(2).
func (f *File) LockRange(whence int16, start, length int64) (from, to int64, err error) {
	base := int64(0)
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		f.posMu.Lock()
		base = f.pos
		f.posMu.Unlock()
	case unix.SEEK_END:
		attr, err := f.Attr()
		if err != nil {
			return 0, 0, err
		}
		base = attr.Size
	default:
		return 0, 0, unix.EINVAL
	}
	if start > math.MaxInt64-base {
		return 0, 0, unix.EOVERFLOW
	}
	from = base + start
	switch {
	case from < 0:
		return 0, 0, unix.EINVAL
	case length == 0:
		return from, math.MaxInt64, nil
	case length > 0:
		if length-1 > math.MaxInt64-from {
			return 0, 0, unix.EOVERFLOW
		}
		if length > math.MaxInt64-from {
			return from, math.MaxInt64, nil
		}
		return from, from + length, nil
	case from+length < 0:
		return 0, 0, unix.EINVAL
	}
	return from + length, from, nil
}
