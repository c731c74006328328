package vfs

import (
	"slices"
	"time"

	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// LeaseWaiter is a Caller that can wait for the holders of leases: until c is closed or the time d has passed
// (ETIMEDOUT), or with another error until a signal comes.
type LeaseWaiter interface {
	WaitLease(c <-chan struct{}, d time.Duration) error
}

// lease is what an open file holds of its inode (F_SETLEASE): to be told before the file is opened or truncated otherwise.
type lease struct {
	watch *asyncWatch
	kind  int16 // F_RDLCK or F_WRLCK
	// What somebody waits for it to become: kind itself when nobody does. It becomes that by itself at the time until.
	target int16
	until  time.Time
}

// noLeases is for inodes that somebody may open without the VFS knowing.
type noLeases interface{ NoLeases() }

// CanLease tells whether the file can have leases: a regular file that is opened here only.
func (f *File) CanLease() bool {
	_, no := f.Inode().(noLeases)
	return f.kind == unix.S_IFREG && !f.IsPath() && !no
}

// Lease is F_GETLEASE: F_RDLCK, F_WRLCK or F_UNLCK, and while a lease is broken what it has to become.
func (f *File) Lease() int16 {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	t := f.state.table()
	t.expireLeases(time.Now())
	if at := t.leaseOf(f); at >= 0 {
		return t.leases[at].target
	}
	return unix.F_UNLCK
}

// SetLease is F_SETLEASE for a file that can have leases; fd is how its owner will know it. EAGAIN when others have the
// file open in the way of kind or hold leases, and when there is none to give up; EINVAL for another kind.
func (f *File) SetLease(kind int16, fd int32) error {
	st := f.state
	// From here on, who opens the file looks for leases; who has it open already is seen below.
	st.leased.Add(1)
	defer st.leased.Add(-1)
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.table()
	t.expireLeases(time.Now())
	at := t.leaseOf(f)
	switch kind {
	case unix.F_UNLCK:
		if at < 0 {
			return unix.EAGAIN
		}
		t.endLease(at)
		return nil
	case unix.F_RDLCK, unix.F_WRLCK:
	default:
		return unix.EINVAL
	}
	if !st.mayLease(f, kind) {
		return unix.EAGAIN
	}
	for _, l := range t.leases {
		if l.watch.file != f && (kind == unix.F_WRLCK || l.target == unix.F_UNLCK) {
			return unix.EAGAIN
		}
	}
	if at >= 0 {
		t.leases[at].become(kind)
		t.wake()
		return nil
	}
	w := &asyncWatch{file: f, fd: fd}
	f.setLeaseWatch(w)
	t.leases = append(t.leases, lease{watch: w, kind: kind, target: kind})
	st.leased.Add(1)
	return nil
}

// mayLease tells whether those who have the file open allow f a lease. mu is held.
func (s *InodeState) mayLease(f *File, kind int16) bool {
	if kind == unix.F_RDLCK {
		return s.writers <= 0
	}
	own := int32(0)
	if f.counted {
		own = 1
	}
	readers := s.readers.Load()
	if f.reader {
		readers--
	}
	return max(s.writers, 0) == own && readers == 0
}

// become changes the kind of a lease by its holder; what was asked of it stays due as far as it is not done.
func (l *lease) become(kind int16) {
	l.kind = kind
	if l.target != unix.F_UNLCK {
		l.target = kind
	}
}

// expireLeases makes leases whose holders took too long what they had to become. InodeState.mu is held.
func (t *lockTable) expireLeases(now time.Time) {
	for i := len(t.leases) - 1; i >= 0; i-- {
		l := &t.leases[i]
		switch {
		case l.target == l.kind || now.Before(l.until):
		case l.target == unix.F_UNLCK:
			t.endLease(i)
		default:
			l.kind = l.target
			t.wake()
		}
	}
}

func (t *lockTable) leaseOf(f *File) int {
	return slices.IndexFunc(t.leases, func(l lease) bool { return l.watch.file == f })
}

// endLease takes a lease away; who waits looks again.
func (t *lockTable) endLease(at int) {
	f := t.leases[at].watch.file
	f.setLeaseWatch(nil)
	t.leases = slices.Delete(t.leases, at, at+1)
	f.state.leased.Add(-1)
	t.wake()
}

// setLeaseWatch names what may tell f's owner of a lease that is broken. With the lease the owner goes.
func (f *File) setLeaseWatch(w *asyncWatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaseWatch = w
	if w == nil {
		f.async = Async{}
	}
	f.hasLocks = f.hasLocks || w != nil
}

// breakLeases has the holders of leases told that c wants the file, to write with write set, and waits until none is in the way
// or their time is over. EAGAIN with nonblock, and for callers that cannot wait.
func (d *Dentry) breakLeases(c Caller, write, nonblock bool) error {
	st := d.state
	if d.kind != unix.S_IFREG || st.leased.Load() == 0 {
		return nil
	}
	for {
		w, left := st.askHolders(write, d.fs.sys)
		if w == nil {
			return nil
		}
		d.fs.sys.TellAsync()
		waits, ok := c.(LeaseWaiter)
		if nonblock || !ok {
			w.Cancel()
			return unix.EAGAIN
		}
		err := waits.WaitLease(w.C, left)
		w.Cancel()
		if err != nil && err != unix.ETIMEDOUT {
			return err
		}
	}
}

// askHolders tells the holders of leases in the way that were not told, and returns a wait for the first of them and how long
// it has; nil when there is none.
func (s *InodeState) askHolders(write bool, sys *System) (*LockWait, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table()
	now := time.Now()
	t.expireLeases(now)
	target := int16(unix.F_RDLCK)
	if write {
		target = unix.F_UNLCK
	}
	var first *lease
	for i := range t.leases {
		l := &t.leases[i]
		if !write && l.kind == unix.F_RDLCK {
			continue
		}
		if l.target == l.kind || write && l.target != unix.F_UNLCK {
			l.target, l.until = target, now.Add(time.Duration(sys.LeaseBreak.Load())*time.Second)
			sys.async.add(l.watch, waiter.Msg)
		}
		if first == nil {
			first = l
		}
	}
	if first == nil {
		return nil, 0
	}
	w, _ := s.waitFor(nil, nil) // it waits for nobody in particular
	return w, first.until.Sub(now)
}
