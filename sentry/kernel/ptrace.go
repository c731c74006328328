package kernel

import (
	"container/list"

	"gosentry/sentry/cred"
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// tracee is what a traced thread has for its tracer (ptrace(2)). The thread's
// Task.tracee is set while it is traced. The tracer's requests change it and the
// thread's registers with the thread's sigMu held, while the thread waits in a
// ptrace-stop and does not touch them itself.
type tracee struct {
	// Guarded by Kernel.tree; to write, sigMu of the thread's process is held too.
	tracer *Task
	place  *list.Element     // among the tracer's tracees
	seized bool              // by PTRACE_SEIZE
	creds  *cred.Credentials // the tracer's when it attached

	// Guarded by sigMu of the thread's process.
	options TraceOptions
	stop    traceStop
	trap    bool // a PTRACE_EVENT_STOP is due: the tracer asked for it, or the thread was born traced
	notify  bool // one is due since job control did something (seized only)
}

// traceStop is a ptrace-stop.
type traceStop struct {
	active    bool
	listening bool // PTRACE_LISTEN: stopped, and the tracer has nothing to do with it
	group     bool // a group-stop, or PTRACE_EVENT_STOP
	exit      bool // PTRACE_EVENT_EXIT: the thread is dying already
	signal    bool // a signal-delivery-stop
	// code is what wait has to report: a signal and, from bit 8 on, an event; 0 once reported.
	// When the thread goes on it is the signal that the tracer wants delivered.
	code    int32
	given   bool         // code is the tracer's
	info    *signal.Info // nil in a group-stop of a thread that was not seized
	message uint64       // PTRACE_GETEVENTMSG
}

// TraceOptions are those of PTRACE_SETOPTIONS, with Linux's values.
type TraceOptions uint64

// event tells whether the event, numbered as PTRACE_EVENT_*, was asked for.
func (o TraceOptions) event(e int32) bool { return o>>uint(e)&1 != 0 }

// Bits of Task.hooks: what a call, or a step of guest code, is to be watched for.
const (
	hookCalls   uint32 = 1 << iota // PTRACE_SYSCALL
	hookEmulate                    // PTRACE_SYSEMU
	hookStep                       // PTRACE_SINGLESTEP
	hookFilter                     // seccomp(2)

	hooksOfTracer = hookCalls | hookEmulate | hookStep
)

// checkTraceOptions is what PTRACE_SETOPTIONS and PTRACE_SEIZE refuse.
func (t *Task) checkTraceOptions(o TraceOptions) error {
	switch {
	case o&^unix.PTRACE_O_MASK != 0:
		return unix.EINVAL
	case o&unix.PTRACE_O_SUSPEND_SECCOMP != 0 && !t.Creds().Has(unix.CAP_SYS_ADMIN):
		return unix.EPERM
	}
	return nil
}

// TraceMe makes the parent of the calling thread's process its tracer
// (PTRACE_TRACEME). EPERM when it is traced, or the parent may not.
func (t *Task) TraceMe() error {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	by := t.tg.parentTask
	switch {
	case t.tracee != nil || by == nil:
		return unix.EPERM
	case by.tg == t.k.init:
		return nil // which looks at nothing
	}
	a, b := by.Creds(), t.Creds()
	if !(a.UserNS == b.UserNS && a.Permitted.Contains(b.Permitted)) && !a.HasIn(unix.CAP_SYS_PTRACE, b.UserNS) {
		return unix.EPERM
	}
	if by.tracesNoMore {
		return nil
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	t.linkLocked(&tracee{tracer: by, creds: a})
	return nil
}

// Attach makes the calling thread the tracer of thread id: PTRACE_ATTACH, which stops it, or
// PTRACE_SEIZE with options. ESRCH, EPERM, EINVAL.
func (t *Task) Attach(id int32, seize bool, o TraceOptions) error {
	if err := t.checkTraceOptions(o); err != nil {
		return err
	}
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	c, err := t.threadLocked(id)
	switch {
	case err != nil || id == 0:
		return unix.ESRCH
	case c.main != nil || c.tg == t.tg || !t.mayInspect(c) || c.exited || c.tracee != nil:
		return unix.EPERM
	}
	c.tg.sigMu.Lock()
	c.linkLocked(&tracee{tracer: t, seized: seize, options: o, creds: t.Creds()})
	if !seize {
		stop := signal.KernelInfo(unix.SIGSTOP)
		c.tg.sendLocked(&stop, c, true) //nolint:errcheck // standard signals cannot fail
	}
	parked := c.parked
	if parked {
		c.tracee.stop = c.groupStopLocked()
		c.interrupt()
	}
	c.tg.sigMu.Unlock()
	if parked {
		c.tellTracerLocked(signal.CldStopped)
	}
	return nil
}

// linkLocked makes the thread traced; tree and sigMu are held.
func (t *Task) linkLocked(tr *tracee) {
	tr.place = tr.tracer.tracees.PushFront(t)
	t.tracee = tr
	t.answers.traced.Store(true)
	t.dropAnswers()
}

// unlinkLocked ends the tracing of a thread: it goes on, or stops with its process
// where job control has stopped that. Tree and sigMu are held.
func (t *Task) unlinkLocked() {
	tr := t.tracee
	tr.tracer.tracees.Remove(tr.place)
	t.tracee = nil
	t.answers.traced.Store(false)
	t.hooks.And(^hooksOfTracer)
	tr.stop.active = false
	tr.tracer.tg.childWait.Notify(waiter.In) // who waits for it may have nobody left to wait for
	if !t.exited {
		t.interrupt()
	}
}

// releaseTracees lets go of what an ending thread traces; from here on it gets no tracee.
func (t *Task) releaseTracees() {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	t.tracesNoMore = true
	for e := t.tracees.Front(); e != nil; e = t.tracees.Front() {
		c := e.Value.(*Task)
		c.tg.sigMu.Lock()
		kill := c.tracee.options&unix.PTRACE_O_EXITKILL != 0
		c.unlinkLocked()
		if kill {
			info := signal.KernelInfo(unix.SIGKILL)
			c.tg.sendLocked(&info, c, true) //nolint:errcheck // standard signals cannot fail
		}
		c.tg.sigMu.Unlock()
		c.abandonedLocked(t)
	}
}

// abandonedLocked does for a thread that ended while it was traced what its end would have done
// otherwise.
func (t *Task) abandonedLocked(by *Task) {
	tg := t.tg
	switch {
	case !t.exited:
	case t != tg.leader:
		t.leavePIDLocked()
	case !tg.exited || tg.reaped:
	case tg.parent != by.tg:
		tg.reportExitLocked(tg.exitStatus)
	case by.tg.handlers.Get(unix.SIGCHLD).NoZombies():
		tg.reapLocked(nil)
	}
}

// awaitsTracerLocked tells whether the end of the process is another one's to see before its parent's: that of
// the tracer of its leader.
func (tg *ThreadGroup) awaitsTracerLocked() bool {
	tr := tg.leader.tracee
	return tr != nil && tr.tracer.tg != tg.parent
}

// tracer returns the thread's tracer as /proc shows it, nil for none.
func (t *Task) tracerLocked() *Task {
	if t.tracee == nil {
		return nil
	}
	return t.tracee.tracer
}

// tracedUnsafely tells whether the thread has a tracer that may not see it gain rights in an exec.
func (t *Task) tracedUnsafely() bool {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.tracee != nil && !t.tracee.creds.HasIn(unix.CAP_SYS_PTRACE, t.Creds().UserNS)
}
