package kernel

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Classes of I/O priorities, as ioprio_set(2) has them.
const (
	ioRealTime   = 1 << 13
	ioBestEffort = 2 << 13
	ioIdle       = 3 << 13
)

// forkIO returns the I/O context of a child: the caller's own, or a copy.
func (t *Task) forkIO(a *ForkArgs) *atomic.Int32 {
	if a.shares(ShareIO) {
		return t.ioPriority
	}
	p := new(atomic.Int32)
	p.Store(t.ioPriority.Load())
	return p
}

// ioPriorityLocked is what the task was given, or what follows from its scheduling.
func (t *Task) ioPriorityLocked() int32 {
	const idle, fifo, roundRobin = 5, 1, 2
	if p := t.ioPriority.Load(); p != 0 {
		return p
	}
	level := (t.nice.Load() + 20) / 5
	switch t.sched.Policy &^ schedReset {
	case idle:
		return ioIdle | level
	case fifo, roundRobin:
		return ioRealTime | level
	}
	return ioBestEffort | level
}

// IOPriority returns the highest I/O priority of those meant, and of a single thread what it was given, 0 for
// nothing; ESRCH.
func (t *Task) IOPriority(kind NiceKind, who int32) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	best, found := int32(0), false
	for _, o := range t.niceTargetsLocked(kind, who) {
		p := o.ioPriorityLocked()
		if kind == NiceThread {
			p = o.ioPriority.Load()
		}
		if !found || p < best {
			best = p
		}
		found = true
	}
	if !found {
		return 0, unix.ESRCH
	}
	return best, nil
}

// SetIOPriority sets it; it is remembered, the host decides. ESRCH, EPERM for others' tasks.
func (t *Task) SetIOPriority(kind NiceKind, who, priority int32) error {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	targets := t.niceTargetsLocked(kind, who)
	if len(targets) == 0 {
		return unix.ESRCH
	}
	for _, o := range targets {
		if !t.owns(o) {
			return unix.EPERM
		}
		o.ioPriority.Store(priority)
	}
	return nil
}
