package vfs

import (
	"sync"
	"sync/atomic"

	"gosentry/sentry/cred"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Async says whom a file tells by signal that something happened (fcntl(2), F_SETOWN and F_SETSIG).
type Async struct {
	Owner     any      // the kernel's idea of an id, nil: nobody
	Kind      int32    // F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP
	Signal    int32    // 0 stands for SIGIO
	UID, EUID cred.UID // of who set the owner
}

// AsyncEvent is something that a file tells its owner.
type AsyncEvent struct {
	Async
	FD   int32 // by which the owner was promised to be told
	What waiter.EventMask
}

// asyncWatch is what a file with O_ASYNC has in the queue of what it tells of.
type asyncWatch struct {
	entry waiter.Entry
	file  *File
	fd    int32
	due   waiter.EventMask // not yet told of; guarded by asyncSystem.mu
}

// asyncSystem holds what is still to be told. Events come with the locks of their objects held; signals are sent with none.
type asyncSystem struct {
	// telling is held while one event is told of, so that who finds nothing due knows that all was done.
	telling sync.Mutex
	waiting atomic.Int64 // events not yet told of

	mu   sync.Mutex
	tell func(AsyncEvent)
	due  []*asyncWatch // each once
}

// OnAsync names who sends the signals of files; it is called without locks.
func (s *System) OnAsync(tell func(AsyncEvent)) {
	s.async.mu.Lock()
	defer s.async.mu.Unlock()
	s.async.tell = tell
}

// mostTold is how many events one call tells of: those of others are among them.
const mostTold = 256

// TellAsync tells of what has happened so far, before it returns. After a burst it leaves the rest to the goroutine that tells, too.
func (s *System) TellAsync() {
	for range mostTold {
		if s.async.waiting.Load() == 0 || !s.async.tellOne() {
			return
		}
	}
}

// tellOne tells of the event that is due first; false: there is none.
func (a *asyncSystem) tellOne() bool {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.mu.Lock()
	if len(a.due) == 0 {
		a.mu.Unlock()
		return false
	}
	w, tell := a.due[0], a.tell
	what := w.due
	a.due[0] = nil
	a.due, w.due = a.due[1:], 0
	a.mu.Unlock()
	if async, ok := w.file.armedBy(w); ok && tell != nil {
		tell(AsyncEvent{async, w.fd, what})
	}
	a.waiting.Add(-1)
	return true
}

// add notes an event. Who caused it tells of it when its call is over, and a goroutine does if that takes long or
// there is no such call. The same event twice before that is one.
func (a *asyncSystem) add(w *asyncWatch, what waiter.EventMask) {
	a.mu.Lock()
	noted := w.due != 0
	w.due |= what
	if noted {
		a.mu.Unlock()
		return
	}
	a.due = append(a.due, w)
	a.waiting.Add(1)
	first := len(a.due) == 1
	a.mu.Unlock()
	if first {
		go a.tellAll()
	}
}

// tellAll tells until nothing is due.
func (a *asyncSystem) tellAll() {
	for a.tellOne() {
	}
}

// Async returns what SetAsync left.
func (f *File) Async() Async {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.async
}

// SetAsync lets change edit it.
func (f *File) SetAsync(change func(*Async)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.async)
}

// armedBy returns what SetAsync left, as long as w is how f or its lease is watched.
func (f *File) armedBy(w *asyncWatch) (Async, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.async, f.armed == w || f.leaseWatch == w
}

// CanAsync tells whether O_ASYNC means something to the file.
func (f *File) CanAsync() bool {
	_, ok := f.ops.(AsyncOps)
	return ok
}

// followAsyncFlag begins or ends telling, as descriptor fd, what happens to the file, as O_ASYNC says now: of two who change
// it at once, the later one here sees what came of it.
func (f *File) followAsyncFlag(fd int32) {
	q := f.ops.(AsyncOps).AsyncQueue()
	f.mu.Lock()
	on, old := f.flags.Load()&unix.O_ASYNC != 0, f.armed
	switch {
	case on && old == nil:
		f.armed = newAsyncWatch(f, fd)
		q.Register(&f.armed.entry)
	case !on && old != nil:
		f.armed = nil
		q.Unregister(&old.entry)
	}
	f.mu.Unlock()
}

func newAsyncWatch(f *File, fd int32) *asyncWatch {
	w := &asyncWatch{file: f, fd: fd}
	if f.readable {
		w.entry.Mask |= waiter.In
	}
	if f.writable {
		w.entry.Mask |= waiter.Out
	}
	sys := f.path.Dentry.fs.sys
	w.entry.Notify = func(what waiter.EventMask) { sys.async.add(w, what) }
	return w
}

// disarm ends telling, when the file is closed. What was due is not told any more.
func (f *File) disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.armed; w != nil {
		f.armed = nil
		f.ops.(AsyncOps).AsyncQueue().Unregister(&w.entry)
	}
}
