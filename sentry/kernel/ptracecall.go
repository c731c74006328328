package kernel

import (
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// noCall is the number of no call.
const noCall = ^uint64(0)

// doHookedCall answers a call that somebody watches. Before each stop the registers are as a tracer of
// Linux expects them: ENOSYS as the result until there is another one.
func (t *Task) doHookedCall() {
	t.Regs.EnterCall()
	t.Regs.SetResult(negative(unix.ENOSYS))
	if t.enterCall() && t.filterCall() {
		if number := t.call.number; int32(number) != -1 {
			t.call.err = nil
			t.Regs.Rax = number
			t.finishCall(t.personality.Syscall(t))
		}
	}
	t.leaveCall()
}

// enterCall tells the tracer of a call, and says whether to carry it out.
func (t *Task) enterCall() bool {
	hooks := t.hooks.Load()
	if hooks&(hookCalls|hookEmulate) == 0 {
		return true
	}
	t.stopAtCall(unix.PTRACE_EVENTMSG_SYSCALL_ENTRY)
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return hooks&hookEmulate == 0 && !t.killedLocked()
}

// leaveCall tells the tracer that a call has ended; after a single step it is a trap that does.
func (t *Task) leaveCall() {
	switch hooks := t.hooks.Load(); {
	case hooks&hookStep != 0 && hooks&hookEmulate == 0:
		t.forceSignal(&signal.Info{Signo: unix.SIGTRAP, Code: signal.TrapBrkpt, Addr: t.Regs.Rip})
	case hooks&hookCalls != 0:
		t.stopAtCall(unix.PTRACE_EVENTMSG_SYSCALL_EXIT)
	}
}

// stopAtCall is a syscall-stop. A signal that the tracer gives there is sent as one of the kernel's own.
func (t *Task) stopAtCall(message uint64) {
	t.tg.sigMu.Lock()
	code := int32(unix.SIGTRAP)
	if t.tracee != nil && t.tracee.options&unix.PTRACE_O_TRACESYSGOOD != 0 {
		code |= 0x80
	}
	t.tg.sigMu.Unlock()
	t.sendGiven(t.notifyTracer(code, message, false))
}

// sendGiven sends the thread what its tracer gave at a stop that is no signal's.
func (t *Task) sendGiven(sig signal.Signal) {
	if signal.Valid(sig) {
		info := signal.KernelInfo(sig)
		t.SendSignal(&info) //nolint:errcheck // a full queue loses it
	}
}

// runGuest is Run, one instruction at a time where the tracer wants that: with the trap flag, which the
// guest does not see.
func (t *Task) runGuest() (platform.Event, error) {
	space := t.MM().AddressSpace()
	if t.hooks.Load()&hookStep == 0 || t.Regs.Eflags&arch.FlagTF != 0 {
		return t.ctx.Run(space, &t.Regs)
	}
	t.Regs.Eflags |= arch.FlagTF
	ev, err := t.ctx.Run(space, &t.Regs)
	t.Regs.Eflags &^= arch.FlagTF
	return ev, err
}

// stopInHandler ends a single step that a signal's handler began: the tracer sees its first instruction
// before that runs.
func (t *Task) stopInHandler() {
	if t.hooks.Load()&hookStep != 0 {
		t.hooks.And(^hookStep)
		t.notifyTracer(int32(unix.SIGTRAP), 0, false)
	}
}

// ptraceEvent reports an event, numbered as PTRACE_EVENT_*, if the tracer asked for it. inside says that
// a call is under way whose result is not known yet.
func (t *Task) ptraceEvent(event int32, message uint64) (asked bool) {
	t.tg.sigMu.Lock()
	asked = t.tracee != nil && t.tracee.options.event(event)
	t.tg.sigMu.Unlock()
	if asked {
		inside := t.call.inside
		t.call.inside = event != unix.PTRACE_EVENT_SECCOMP
		t.notifyTracer(int32(unix.SIGTRAP)|event<<8, message, event == unix.PTRACE_EVENT_EXIT)
		t.call.inside = inside
	}
	return asked
}

// ptraceExit reports that the thread is about to end.
func (t *Task) ptraceExit() {
	t.tg.sigMu.Lock()
	t.dying = true
	status := t.status
	t.tg.sigMu.Unlock()
	t.releaseDyingTracees()
	t.ptraceEvent(unix.PTRACE_EVENT_EXIT, uint64(uint32(status.Wait())))
}

// releaseDyingTracees lets those go that wait for the thread in PTRACE_EVENT_EXIT: threads that trace
// each other would otherwise wait for ever.
func (t *Task) releaseDyingTracees() {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	for e := t.tracees.Front(); e != nil; e = e.Next() {
		c := e.Value.(*Task)
		c.tg.sigMu.Lock()
		c.releaseExitLocked()
		c.tg.sigMu.Unlock()
	}
}

// releaseExitLocked lets a thread go that waits in PTRACE_EVENT_EXIT: it was killed once more.
func (t *Task) releaseExitLocked() {
	if t.tracee != nil && t.tracee.stop.active && t.tracee.stop.exit {
		t.wakeLocked()
	}
}

// ptraceExec reports a new program; was is the thread's id before. A tracer that did not ask gets
// SIGTRAP, unless it seized the thread.
func (t *Task) ptraceExec(was *PID) {
	t.k.tree.RLock()
	var message uint64
	plain := false
	if tr := t.tracee; tr != nil {
		message = uint64(was.In(tr.tracer.pidns))
		plain = !tr.seized
	}
	t.k.tree.RUnlock()
	if !t.ptraceEvent(unix.PTRACE_EVENT_EXEC, message) && plain {
		t.SendSelf(unix.SIGTRAP)
	}
}

// forkEventLocked is the event that a fork is to the tracer, 0 for none. The parent's sigMu is held.
func (t *Task) forkEventLocked(a *ForkArgs) int32 {
	event := int32(unix.PTRACE_EVENT_FORK)
	switch {
	case a.Untraced || t.tracee == nil:
		return 0
	case a.Vfork:
		event = unix.PTRACE_EVENT_VFORK
	case a.ExitSignal != unix.SIGCHLD:
		event = unix.PTRACE_EVENT_CLONE
	}
	if t.tracee.options.event(event) {
		return event
	}
	return 0
}

// ptraceChildLocked makes the child traced as its parent is, if the tracer is told of forks or the
// caller wants it; it then stops before its first instruction. Tree and the parent's sigMu are held.
func (t *Task) ptraceChildLocked(c *Task, a *ForkArgs) {
	a.event = t.forkEventLocked(a)
	tr := t.tracee
	if tr == nil || a.event == 0 && !a.Traced {
		return
	}
	c.linkLocked(&tracee{
		tracer: tr.tracer, seized: tr.seized, creds: tr.creds, options: tr.options, trap: tr.seized,
	})
	if !tr.seized {
		stop := signal.Info{Signo: unix.SIGSTOP, Code: signal.CodeUser}
		c.pending.Enqueue(stop, nil) //nolint:errcheck // without a ledger it cannot fail
	}
	if c.tg.stop.signal != 0 {
		c.stopping = true
		c.tg.stop.remaining++
	}
	c.work.Store(true)
}

// ptraceFork reports the fork of c.
func (t *Task) ptraceFork(event int32, c *PID) {
	if event == 0 {
		return
	}
	t.k.tree.RLock()
	var message uint64
	if tr := t.tracee; tr != nil {
		message = uint64(c.In(tr.tracer.pidns))
	}
	t.k.tree.RUnlock()
	t.ptraceEvent(event, message)
}
