package kernel

import (
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// ExitStatus is how a process or thread ended.
type ExitStatus struct {
	Code   int32         // of exit(2), 0 to 255, when Signal is 0
	Signal signal.Signal // that ended it
	Core   bool
}

// Wait returns the status word of wait4(2).
func (s ExitStatus) Wait() int32 {
	w := s.Code<<8 | int32(s.Signal)
	if s.Core {
		w |= 0x80
	}
	return w
}

// Shell returns the status as a shell shows it: 128+signal for a killed process.
func (s ExitStatus) Shell() int {
	if s.Signal != 0 {
		return 128 + int(s.Signal)
	}
	return int(s.Code)
}

// Exit ends the calling thread once its call returns (exit(2)).
func (t *Task) Exit(code int32) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	t.dieLocked(ExitStatus{Code: code & 0xff})
}

// ExitGroup ends the process once the call returns (exit_group(2)).
func (t *Task) ExitGroup(code int32) {
	t.tg.killAll(ExitStatus{Code: code & 0xff})
}

func (t *Task) dieLocked(s ExitStatus) {
	if t.dying {
		t.releaseExitLocked()
		return
	}
	t.dying = true
	t.status = s
	t.interrupt()
	t.tg.hold.notifyLocked()
}

// killAll ends every thread of the group with one status; the first caller's counts.
func (tg *ThreadGroup) killAll(s ExitStatus) {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	tg.killLocked(s)
}

func (tg *ThreadGroup) killLocked(s ExitStatus) {
	if tg.exiting {
		for _, t := range tg.tasks {
			t.releaseExitLocked()
		}
		return
	}
	tg.exiting = true
	tg.exitStatus = s
	if tg.stop.signal != 0 {
		close(tg.stop.resume)
		tg.stop = groupStop{}
	}
	for _, t := range tg.tasks {
		t.dieLocked(s)
	}
}

// exit takes the task apart; it runs on the task's goroutine after its last guest
// instruction.
func (t *Task) exit() {
	t.hasBegun()
	t.ptraceExit()
	t.tg.sigMu.Lock()
	t.dying = true
	stopDone := t.leaveRunningLocked()
	t.passOnLocked(^t.mask)
	t.tg.sigMu.Unlock()
	if stopDone {
		t.tg.notifyStopped()
	}
	t.joinCoreDump()
	t.releaseRobustList()
	t.releaseMM()
	t.leaveListener()
	t.fds.Swap(nil).DecRef(t)
	t.fs.Load().decRef()
	t.leaveNamespaces()
	if exe := t.exe.Swap(nil); exe != nil {
		exe.DecRef()
	}
	t.releaseTracees()
	if t.lastOfInit() {
		t.emptyNamespace()
	}
	t.tg.unmeterTask(t)
	t.k.tree.Lock()
	t.exitLocked()
	t.k.tree.Unlock()
}

// releaseMM gives the address space up, or back to the parent of a vfork.
func (t *Task) releaseMM() {
	m := t.mm.Load()
	if m == nil {
		return
	}
	t.clearChildTID(m)
	if m.Users() == 1 {
		t.MeasureRSS()
	}
	t.mm.Store(nil)
	m.DecUsers()
	t.releaseVfork()
}

// releaseVfork lets the parent go on that waits in vfork.
func (t *Task) releaseVfork() {
	if t.vforkDone != nil {
		close(t.vforkDone)
		t.vforkDone = nil
	}
}

// exitLocked takes the task out of the tree; the last thread takes the process
// with it.
func (t *Task) exitLocked() {
	tg := t.tg
	t.setState(zombie)
	t.exited = true
	tg.deadUsage.Add(t.Usage())
	t.cgroup.Leave()
	if tg.live--; tg.live == 0 {
		tg.hangUpOrphanedGroupsLocked()
	}
	t.adoptOrphansLocked()
	if t != tg.leader {
		t.detachLocked()
	}
	select {
	case tg.execWait <- struct{}{}:
	default:
	}
	if tg.live == 0 {
		tg.exitLocked()
	}
	t.traceExitLocked()
	if t.main == nil {
		t.k.users.ended(t)
	}
	t.Creds().UserNS.Drop()
}

// detachLocked removes a thread that nobody waits for but its tracer, if it has one.
func (t *Task) detachLocked() {
	tg := t.tg
	tg.sigMu.Lock()
	for i, o := range tg.tasks {
		if o == t {
			tg.tasks = append(tg.tasks[:i:i], tg.tasks[i+1:]...)
			break
		}
	}
	t.gone = true
	t.pending.Discard(^signal.Set(0))
	tg.sigMu.Unlock()
	if t.tracee != nil {
		t.tellTracerOfEndLocked()
		return
	}
	t.leavePIDLocked()
}

func (t *Task) leavePIDLocked() {
	t.pid.leaveLocked(t)
	t.discharge()
	for n := t.pid.ns; n != nil; n = n.parent {
		n.tasks--
		if n.dying {
			n.notifyDyingLocked()
		}
	}
}

// discharge ends what limits count t for, which zombies are still counted for.
func (t *Task) discharge() {
	t.cgroup.Uncharge()
	if t.main == nil {
		t.k.users.leave(t)
	}
}

// exitLocked makes the process a zombie, or reaps it at once if its parent does
// not care.
func (tg *ThreadGroup) exitLocked() {
	tg.sigMu.Lock()
	if !tg.exiting {
		tg.exiting = true
		tg.exitStatus = tg.leader.status
	}
	tg.posix.deleteAllLocked()
	tg.pending.Discard(^signal.Set(0))
	tg.leader.pending.Discard(^signal.Set(0))
	tg.timers.stop()
	if tg.cpuLimit != nil {
		tg.cpuLimit.Stop()
	}
	tg.stopWatch()
	status := tg.exitStatus
	tg.sigMu.Unlock()
	tg.exited = true
	tg.leaveTerminalLocked()
	close(tg.dead)
	tg.exitQueue.Notify(waiter.In)
	tg.k.groupExited(tg, status)
	if tg.parent == nil {
		tg.reapLocked(nil)
		return
	}
	tg.zombie = tg.parent.zombies.PushBack(tg)
	tg.reportExitLocked(status)
}

// reportExitLocked tells the parent of a zombie, and reaps it if the parent wants
// no zombies (SIGCHLD ignored, or SA_NOCLDWAIT).
func (tg *ThreadGroup) reportExitLocked(status ExitStatus) {
	if tg.awaitsTracerLocked() {
		tg.leader.tellTracerOfEndLocked()
		return
	}
	p := tg.parent
	autoreap := p.initOf != nil && p.initOf.dying
	sig := tg.exitSignal
	if sig != 0 && tg.parentExecs != p.execs {
		// Whoever the parent has become did not choose the signal.
		sig = unix.SIGCHLD
	}
	if signal.Valid(sig) {
		code, value := status.childCode()
		info := tg.childInfoLocked(code, value)
		info.Signo = sig
		p.sigMu.Lock()
		act := p.handlers.Get(sig)
		if sig == unix.SIGCHLD {
			autoreap = autoreap || act.NoZombies() && tg.leader.tracee == nil
		}
		if sig != unix.SIGCHLD || act.Handler != signal.HandlerIgnore {
			p.sendLocked(&info, nil, true) //nolint:errcheck // a lost child signal is not the child's matter
		}
		p.sigMu.Unlock()
	}
	if autoreap {
		tg.reapLocked(nil)
	}
	p.childWait.Notify(waiter.In)
}

// childCode is si_code and si_status of SIGCHLD for an ended child.
func (s ExitStatus) childCode() (code, status int32) {
	switch {
	case s.Core:
		return signal.CldDumped, int32(s.Signal)
	case s.Signal != 0:
		return signal.CldKilled, int32(s.Signal)
	}
	return signal.CldExited, s.Code
}

// reapLocked removes a zombie; its usage goes to the parent that waited for it.
func (tg *ThreadGroup) reapLocked(by *ThreadGroup) {
	if by != nil {
		by.childUsage.Add(tg.deadUsage)
		by.childUsage.Add(tg.childUsage)
	}
	if tg.parent != nil {
		tg.parent.removeChildLocked(tg)
	}
	tg.reaped = true
	if tg.leader.tracee != nil {
		tg.sigMu.Lock()
		tg.leader.unlinkLocked()
		tg.sigMu.Unlock()
	}
	tg.group.leaveLocked(tg)
	tg.pid.reapedLocked(tg.k.Memory())
	tg.leader.leavePIDLocked()
	tg.k.counts.processes.Add(-1)
}
