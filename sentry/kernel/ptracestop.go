package kernel

import (
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// stopForTracer makes a ptrace-stop of the calling thread and waits until its tracer lets it go on. It
// returns the signal to be delivered then: the tracer's choice or, where nobody ever knew of the stop,
// that of a signal-delivery-stop. A thread that is killed, or not traced any more, does not stop.
func (t *Task) stopForTracer(s traceStop) signal.Signal {
	t.ctx.Leave() // before the tracer may look at the extended state
	t.k.tree.RLock()
	tg := t.tg
	tg.sigMu.Lock()
	tr := t.tracee
	if tr == nil || t.killedLocked() && !s.exit {
		tg.sigMu.Unlock()
		t.k.tree.RUnlock()
		return s.unseen()
	}
	s.active = true
	tr.stop = s
	code := signal.CldTrapped
	completed := false
	if s.group {
		code = signal.CldStopped
		completed = t.leaveRunningLocked()
		tr.trap, tr.notify = false, false
		tg.stop.reportStop = tg.stop.reportStop || completed
		tg.countReport()
	}
	tg.sigMu.Unlock()
	t.tellTracerLocked(code)
	if s.exit && tr.tracer.ends() {
		tg.sigMu.Lock()
		t.releaseExitLocked()
		tg.sigMu.Unlock()
	}
	completed = completed && tr.tracer.tg != tg.parent
	t.k.tree.RUnlock()
	if completed {
		tg.notifyStopped()
	}
	t.waitForTracer(tr)
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tr.stop.unseen()
}

// unseen is the signal with which a thread goes on from the stop.
func (s *traceStop) unseen() signal.Signal {
	if s.given || s.signal {
		return signal.Signal(s.code)
	}
	return 0
}

// ends tells whether the thread will not make a call any more.
func (t *Task) ends() bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.killedLocked()
}

func (t *Task) killedLocked() bool { return t.dying || t.tg.exiting }

// waitForTracer waits until the stop is over. It holds nothing but the goroutine.
func (t *Task) waitForTracer(tr *tracee) {
	t.setState(traceStopped)
	defer t.resume()
	t.switchMode(cpuOff)
	t.stand(true)
	for !t.releasedByTracer(tr) {
		<-t.wake
	}
	t.stand(false)
	t.work.Store(true)
}

func (t *Task) releasedByTracer(tr *tracee) bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.killedLocked() && !tr.stop.exit {
		tr.stop.active = false
	}
	return !tr.stop.active
}

// wakeLocked ends the thread's ptrace-stop.
func (t *Task) wakeLocked() {
	t.tracee.stop.active = false
	t.woken(traceStopped)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// tellTracerLocked sends the tracer SIGCHLD for a stop and wakes it from wait. The tree is held.
func (t *Task) tellTracerLocked(code int32) {
	to := t.tracee.tracer
	u := t.Usage()
	t.tg.sigMu.Lock()
	status := t.tracee.stop.code & 0x7f
	t.tg.sigMu.Unlock()
	info := signal.Info{
		Signo: unix.SIGCHLD, Code: code, Status: status,
		PID: t.pid.In(to.pidns), UID: uint32(t.Creds().RUID),
		UTime: ticks(u.User), STime: ticks(u.System),
	}
	to.tg.sigMu.Lock()
	if act := to.tg.handlers.Get(unix.SIGCHLD); act.Handler != signal.HandlerIgnore && act.Flags&signal.FlagNoCldStop == 0 {
		to.tg.sendLocked(&info, nil, false) //nolint:errcheck // SIGCHLD is no real-time signal
	}
	to.tg.sigMu.Unlock()
	to.tg.childWait.Notify(waiter.In)
}

// trapInfo is the siginfo of a stop that the kernel makes.
func (t *Task) trapInfo(sig signal.Signal, code int32) *signal.Info {
	pid, uid := t.TID(), uint32(t.Creds().RUID)
	// The same bytes, for readers that take the code for that of a fault.
	return &signal.Info{Signo: sig, Code: code, PID: pid, UID: uid, Addr: uint64(uint32(pid)) | uint64(uid)<<32}
}

// notifyTracer makes a stop that is no signal's: of a call or an event.
func (t *Task) notifyTracer(code int32, message uint64, exit bool) signal.Signal {
	return t.stopForTracer(traceStop{
		code: code, message: message, info: t.trapInfo(unix.SIGTRAP, code), exit: exit,
	})
}

// traceSignal shows the tracer a signal that is about to be delivered, and returns what to deliver
// instead, nil for nothing.
func (t *Task) traceSignal(info signal.Info) *signal.Info {
	sig := t.stopForTracer(traceStop{code: int32(info.Signo), signal: true, info: &info})
	if !signal.Valid(sig) {
		return nil
	}
	if sig != info.Signo {
		info = t.fromTracer(sig)
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.mask.Has(sig) {
		t.tg.sendLocked(&info, t, false) //nolint:errcheck // a full queue loses it
		return nil
	}
	return &info
}

// fromTracer is the siginfo of a signal that the tracer gives for another one.
func (t *Task) fromTracer(sig signal.Signal) signal.Info {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	info := signal.Info{Signo: sig, Code: signal.CodeUser}
	if by := t.tracerLocked(); by != nil {
		info.PID, info.UID = by.pid.In(t.pidns), uint32(by.Creds().RUID)
	}
	return info
}

// stopForJob stops a traced thread for job control, or since PTRACE_INTERRUPT asked for it.
func (t *Task) stopForJob() {
	t.tg.sigMu.Lock()
	if t.tracee == nil || !t.jobStopLocked() {
		t.tg.sigMu.Unlock()
		return
	}
	s := t.groupStopLocked()
	t.tg.sigMu.Unlock()
	if s.code != 0 {
		t.stopForTracer(s)
	}
}

// groupStopLocked is the stop of a traced thread for job control.
func (t *Task) groupStopLocked() traceStop {
	s := traceStop{active: true, group: true, code: int32(t.tg.stop.signal)}
	if t.tracee.seized {
		if s.code == 0 {
			s.code = int32(unix.SIGTRAP)
		}
		code := s.code | unix.PTRACE_EVENT_STOP<<8
		s.info = &signal.Info{
			Signo: signal.Signal(s.code), Code: code,
			PID: t.pid.numbers[t.pidns.level], UID: uint32(t.Creds().RUID),
		}
		s.code = code
	}
	return s
}

// jobChangedLocked tells a seized thread that a stop or SIGCONT came.
func (t *Task) jobChangedLocked() {
	tr := t.tracee
	if tr == nil || !tr.seized {
		return
	}
	tr.notify = true
	t.retrapLocked()
}

// retrapLocked makes a thread look at the trap that is due: one that listens at once, one in
// another stop after that.
func (t *Task) retrapLocked() {
	switch s := &t.tracee.stop; {
	case !s.active:
		t.interrupt()
	case s.listening:
		t.wakeLocked()
	}
}
