package kernel

import (
	"time"

	"gosentry/sentry/trace"

	"golang.org/x/sys/unix"
)

// Tracing says that a task's events go to a stream.
type Tracing struct {
	Stream *trace.Stream
	// Inherit says that children are traced too.
	Inherit bool
}

// setTracing says where the first program's events go, nil for nowhere.
func (k *Kernel) setTracing(t *Tracing) {
	if k.tracing = t; t != nil {
		k.forkHooks.Register(&ForkHook{Name: "event stream", Call: traceFork})
	}
}

// event returns an event that happened to t; only for its own goroutine, or with the tree locked.
func (t *Task) event(kind string) *trace.Event {
	return &trace.Event{
		Kind: kind, Time: int64(time.Since(t.k.boot)),
		PID: t.tg.pid.numbers, TID: t.pid.numbers, Comm: t.Name(),
	}
}

// forked tells whoever listens of a child that is visible and has not run.
func (k *Kernel) forked(parent, child *Task, a *ForkArgs) {
	k.counts.forks.Add(1)
	k.forkCounts.add(child, a)
	k.forkHooks.run(&ForkEvent{Parent: parent, Child: child, Args: a})
}

// ForkHooks are the hooks of this kernel's forks.
func (k *Kernel) ForkHooks() *ForkHooks { return k.forkHooks }

// traceFork is the fork hook of the event stream.
func traceFork(f *ForkEvent) {
	p, c, a := f.Parent, f.Child, f.Args
	if p.tracing == nil {
		return
	}
	e := p.event(trace.Fork)
	describeFork(e, a)
	e.ChildPID, e.ChildTID = c.tg.pid.numbers, c.pid.numbers
	var shared, copied uint64
	if m := c.MM(); m != nil {
		shared, copied = m.Pages()
	}
	if a.shares(ShareMM) {
		shared, copied = shared+copied, 0
	}
	e.Shared, e.Copied, e.Took = &shared, &copied, int64(time.Since(a.began))
	p.tracing.Stream.Record(e)
	if p.tracing.Inherit {
		c.tracing = p.tracing
		c.traceStart(p)
	}
}

// traceStart begins the stream's part about a task that returns 0 from the fork by parent.
func (t *Task) traceStart(parent *Task) {
	if t.tracing == nil {
		return
	}
	e := t.event(trace.Start)
	e.ParentPID, e.ParentTID, e.Returns = parent.tg.pid.numbers, parent.pid.numbers, new(int32)
	t.tracing.Stream.Record(e)
}

// describeFork says what was asked for.
func describeFork(e *trace.Event, a *ForkArgs) {
	e.How, e.Call, e.ExitSignal = a.kind().String(), a.Kind, int32(a.ExitSignal)
	e.Flags = []string{}
	for i, name := range shareNames {
		if a.Share&(1<<i) != 0 {
			e.Flags = append(e.Flags, name)
		}
	}
	for i, name := range freshNames {
		if a.Fresh&(1<<i) != 0 {
			e.Flags = append(e.Flags, name)
		}
	}
	for _, o := range []struct {
		set  bool
		name string
	}{
		{a.Vfork, "vfork"}, {a.ClearActions, "clear_actions"}, {a.CleanFiles, "clean_files"},
		{a.WantPIDFD, "pidfd"}, {len(a.SetTID) > 0, "set_tid"},
		{a.IntoCgroup, "into_cgroup"},
	} {
		if o.set {
			e.Flags = append(e.Flags, o.name)
		}
	}
}

// shareNames and freshNames are by bit.
var (
	shareNames = [...]string{"vm", "fs", "files", "actions", "thread", "parent", "sysvsem", "io"}
	freshNames = [...]string{"newmnt", "newcgroup", "newuts", "newipc", "newuser", "newpid", "newnet", "newtime"}
)

// forkRefused counts and tells that t's fork failed. One that is only put off until a signal
// has been handled has not.
func (t *Task) forkRefused(a *ForkArgs, err error) {
	why := t.refusal
	if err == ERESTARTNOINTR {
		if !t.ending() {
			return
		}
		why, err = refusedKilled, unix.EAGAIN
	}
	t.k.forkCounts.refused[why].Add(1)
	if t.tracing == nil {
		return
	}
	e := t.event(trace.Refused)
	describeFork(e, a)
	e.Reason = why.String()
	if errno, ok := err.(unix.Errno); ok {
		e.Errno = unix.ErrnoName(errno)
	}
	t.tracing.Stream.Record(e)
}

// ending tells whether the thread will not run guest code again.
func (t *Task) ending() bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.dying || t.tg.exiting
}

// execed tells that t has begun a program; was is its id before.
func (k *Kernel) execed(t *Task, name string, was *PID) {
	k.log.Debugf("process %d runs %s", t.pid.numbers[0], name)
	if t.tracing == nil {
		return
	}
	e := t.event(trace.Exec)
	e.Path = name
	if was != t.pid {
		e.OldTID = was.numbers
	}
	t.tracing.Stream.Record(e)
}

// traceExitLocked tells that t has ended, and with the last thread its process.
func (t *Task) traceExitLocked() {
	if t.tracing == nil {
		return
	}
	e, status := t.event(trace.Exit), t.status
	if t.returned {
		e.Reason = "returned"
	}
	if e.Last = t.tg.live == 0; e.Last {
		status = t.tg.exitStatus
	}
	switch {
	case status.Signal == 0:
		e.Code = &status.Code
	case e.Last:
		e.Kind = trace.Killed
		fallthrough
	default:
		e.Signal, e.Core = int32(status.Signal), status.Core
	}
	t.tracing.Stream.Record(e)
}
