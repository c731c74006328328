package kernel

import (
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// beginStopLocked starts a job-control stop of the whole group.
// Where it is stopped already, those of its threads stop again that a tracer let go on.
func (tg *ThreadGroup) beginStopLocked(sig signal.Signal) {
	if tg.exiting {
		return
	}
	again := tg.stop.signal != 0
	if !again {
		tg.stop = groupStop{signal: sig, resume: make(chan struct{})}
	}
	for _, t := range tg.tasks {
		if t.dying || t.stopping || again && t.tracee == nil {
			continue
		}
		t.stopping = true
		tg.stop.remaining++
		t.jobChangedLocked()
		t.interrupt()
	}
}

// mustStopLocked tells whether the task has to wait for the end of a stop, a hold or a freeze.
func (t *Task) mustStopLocked() bool {
	return t.jobStopLocked() || t.tg.thaw != nil || t.heldLocked() != nil
}

// jobStopLocked tells whether a stop of job control or of a tracer is due.
func (t *Task) jobStopLocked() bool {
	if tr := t.tracee; tr != nil {
		return t.stopping || tr.trap || tr.notify
	}
	return t.tg.stop.signal != 0
}

// waitStopped counts the task as stopped and waits for SIGCONT, death, or a tracer,
// whose the stop is then.
func (t *Task) waitStopped() {
	tg := t.tg
	tg.sigMu.Lock()
	if tg.stop.signal == 0 || t.tracee != nil {
		tg.sigMu.Unlock()
		return
	}
	completed := t.leaveRunningLocked()
	resume := tg.stop.resume
	t.parked = true
	tg.sigMu.Unlock()
	if completed {
		tg.notifyStopped()
	}
	t.setState(stopped)
	defer t.resume()
	t.ctx.Leave()
	t.switchMode(cpuOff)
	t.stand(true)
	for !t.killedOr(resume) {
	}
	t.stand(false)
	tg.sigMu.Lock()
	t.parked = false
	tr := t.tracee
	tg.sigMu.Unlock()
	if tr != nil {
		t.waitForTracer(tr)
	}
}

// leaveRunningLocked takes the task out of those that have yet to stop, and tells
// whether it was the last.
func (t *Task) leaveRunningLocked() bool {
	tg := t.tg
	if !t.stopping || tg.stop.signal == 0 {
		return false
	}
	t.stopping = false
	tg.stop.remaining--
	if tg.stop.remaining > 0 || tg.stop.complete {
		return false
	}
	tg.stop.complete = true
	return true
}

// killedOr waits for a wake-up and tells whether the task is dying, traced, or resume is
// closed.
func (t *Task) killedOr(resume <-chan struct{}) bool {
	select {
	case <-resume:
		return true
	case <-t.wake:
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.killedLocked() || t.tracee != nil
}

// continueLocked ends a stop. The parent learns of it by notifyContinued, which the
// group's own threads cannot be relied on to do.
func (tg *ThreadGroup) continueLocked() {
	if tg.stop.signal == 0 {
		return
	}
	complete := tg.stop.complete
	close(tg.stop.resume)
	for _, t := range tg.tasks {
		t.stopping = false
		t.woken(stopped)
	}
	tg.stop = groupStop{}
	if complete {
		tg.stop.reportContinue = true
		tg.countReport()
		tg.k.later(tg.notifyContinued)
	}
}

// notifyStopped tells the parent of a completed stop.
func (tg *ThreadGroup) notifyStopped() {
	tg.k.tree.Lock()
	defer tg.k.tree.Unlock()
	tg.sigMu.Lock()
	sig := tg.stop.signal
	tg.stop.reportStop = tg.stop.complete
	tg.countReport()
	tg.sigMu.Unlock()
	if sig != 0 {
		tg.notifyJobControlLocked(signal.CldStopped, int32(sig))
	}
}

func (tg *ThreadGroup) notifyContinued() {
	tg.k.tree.Lock()
	defer tg.k.tree.Unlock()
	tg.notifyJobControlLocked(signal.CldContinued, int32(unix.SIGCONT))
}

func (tg *ThreadGroup) notifyJobControlLocked(code, status int32) {
	p := tg.parent
	if p == nil || tg.exited {
		return
	}
	info := tg.childInfoLocked(code, status)
	p.sigMu.Lock()
	if act := p.handlers.Get(unix.SIGCHLD); act.Handler != signal.HandlerIgnore && act.Flags&signal.FlagNoCldStop == 0 {
		p.sendLocked(&info, nil, false) //nolint:errcheck // SIGCHLD is no real-time signal
	}
	p.sigMu.Unlock()
	p.childWait.Notify(waiter.In)
}

// childInfoLocked is the siginfo of SIGCHLD for the parent of tg.
func (tg *ThreadGroup) childInfoLocked(code, status int32) signal.Info {
	u := tg.usageLocked()
	return signal.Info{
		Signo: unix.SIGCHLD, Code: code, Status: status,
		PID:   tg.pid.In(tg.parent.pid.ns),
		UID:   tg.parent.leader.Creds().UserNS.ShowUID(tg.leader.Creds().RUID),
		UTime: ticks(u.User), STime: ticks(u.System),
	}
}
