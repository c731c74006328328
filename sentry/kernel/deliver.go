package kernel

import (
	"time"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// doWork does what others have asked of the task before it runs guest code
// again. It returns false when the task is to end.
func (t *Task) doWork() bool {
	t.work.Store(false)
	var given *signal.Info
	for {
		info, act, mask, next := t.nextSignal(given)
		given = nil
		switch next {
		case endTask:
			return false
		case traceTask:
			given = t.traceSignal(info)
		case stopTask:
			t.stopForJob()
			t.waitStopped()
			t.waitHeld()
			t.waitThawed()
		case terminalStop:
			t.stopUnlessOrphaned(info.Signo)
		case runHandler:
			t.settleCall(act)
			if err := t.personality.PushFrame(t, &info, act, mask); err != nil {
				t.frameFailed(info.Signo)
			}
			t.stopInHandler()
		case goOn:
			t.settleWithoutHandler()
			return true
		}
	}
}

// step of doWork.
type nextStep int

const (
	goOn nextStep = iota
	endTask
	stopTask
	traceTask // its tracer is to see the signal first
	terminalStop
	runHandler
)

// nextSignal takes one pending signal and says what it makes the task do. mask is
// what the handler's frame is to restore. given, unless nil, is a signal that the
// tracer has seen.
func (t *Task) nextSignal(given *signal.Info) (info signal.Info, act signal.Action, mask signal.Set, next nextStep) {
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	for {
		if t.dying || tg.exiting {
			return info, act, 0, endTask
		}
		if given != nil {
			info, given = *given, nil
		} else {
			if t.mustStopLocked() {
				return info, act, 0, stopTask
			}
			var ok bool
			if info, ok = t.dequeueLocked(t.mask); !ok {
				t.restoreMaskLocked()
				return info, act, 0, goOn
			}
			t.stopTaken = true
			if t.tracee != nil && info.Signo != unix.SIGKILL {
				return info, act, 0, traceTask
			}
		}
		act = tg.handlers.Deliver(info.Signo)
		if act.Catches() {
			return info, act, t.enterHandlerLocked(info.Signo, act), runHandler
		}
		if act.Handler == signal.HandlerIgnore {
			continue
		}
		if t.defaultActionLocked(info.Signo) {
			return info, act, 0, terminalStop
		}
	}
}

// dequeueLocked takes the next signal that is not blocked, the thread's own
// before the group's.
func (t *Task) dequeueLocked(blocked signal.Set) (signal.Info, bool) {
	if info, ok := t.pending.Dequeue(blocked); ok {
		return info, true
	}
	return t.tg.pending.Dequeue(blocked)
}

// restoreMaskLocked ends the mask that sigsuspend and the like had set.
func (t *Task) restoreMaskLocked() {
	if t.savedMask == nil {
		return
	}
	saved := *t.savedMask
	t.savedMask = nil
	t.setMaskLocked(saved)
}

// enterHandlerLocked sets the mask for a handler and returns the one to restore
// after it.
func (t *Task) enterHandlerLocked(sig signal.Signal, act signal.Action) signal.Set {
	old := t.mask
	if t.savedMask != nil {
		old, t.savedMask = *t.savedMask, nil
	}
	mask := t.mask.Union(act.Mask)
	if act.Flags&signal.FlagNoDefer == 0 {
		mask = mask.Add(sig)
	}
	t.setMaskLocked(mask)
	t.forced = false
	return old
}

// defaultActionLocked carries out the default action of a signal. It reports
// true for a stop by the terminal, which needs to know whether the process group
// is orphaned, and so a lock that comes before the one held here.
func (t *Task) defaultActionLocked(sig signal.Signal) bool {
	tg := t.tg
	if tg.initOf != nil && !t.forced && !signal.Unblockable.Has(sig) {
		return false
	}
	switch signal.Default(sig) {
	case signal.Ignore, signal.Continue:
	case signal.Stop:
		if sig != unix.SIGSTOP {
			return true
		}
		if t.stopTaken {
			tg.beginStopLocked(sig)
		}
	default:
		tg.beginCoreLocked(t, sig)
		tg.killLocked(ExitStatus{Signal: sig})
	}
	return false
}

// stopUnlessOrphaned stops the group for a signal of the terminal; an orphaned
// process group has nobody to continue it, so it is not stopped.
func (t *Task) stopUnlessOrphaned(sig signal.Signal) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if t.tg.group.orphanedLocked(nil) {
		return
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.stopTaken {
		t.tg.beginStopLocked(sig)
	}
}

// settleCall decides what an interrupted call returns when a handler runs.
func (t *Task) settleCall(act signal.Action) {
	err := t.call.err
	if err == nil {
		return
	}
	t.call.err = nil
	again := err == ERESTARTNOINTR || err == ERESTARTSYS && act.Flags&signal.FlagRestart != 0
	if again {
		t.personality.RewindToRestart(t, t.call.number, ERESTARTNOINTR)
		return
	}
	t.restart = Restart{}
	t.personality.FailInterrupted(t)
}

// settleWithoutHandler makes an interrupted call start again.
func (t *Task) settleWithoutHandler() {
	err := t.call.err
	if err == nil {
		return
	}
	t.call.err = nil
	t.personality.RewindToRestart(t, t.call.number, err)
}

// frameFailed ends a process whose handler's frame could not be written
// (sigaction(2): a second fault for SIGSEGV ends it).
func (t *Task) frameFailed(sig signal.Signal) {
	if sig == unix.SIGSEGV {
		t.tg.sigMu.Lock()
		t.tg.handlers.ForceDefault(unix.SIGSEGV)
		t.tg.sigMu.Unlock()
	}
	t.ForceSegv()
}

// SignalMask returns the set of blocked signals.
func (t *Task) SignalMask() signal.Set {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.mask
}

// SetSignalMask blocks exactly the signals of m, but for SIGKILL and SIGSTOP.
func (t *Task) SetSignalMask(m signal.Set) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	t.setMaskLocked(m)
}

// SetTemporaryMask sets a mask that lasts until the running call has ended and
// its signals are delivered (ppoll, sigsuspend).
func (t *Task) SetTemporaryMask(m signal.Set) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	old := t.mask
	if t.savedMask == nil {
		t.savedMask = &old
	}
	t.setMaskLocked(m)
	t.work.Store(true)
}

// setMaskLocked replaces the mask; a signal of the group that this thread blocks
// now goes to another one.
func (t *Task) setMaskLocked(m signal.Set) {
	m = m.Without(signal.Unblockable)
	newlyBlocked := m.Without(t.mask)
	t.mask = m
	if t.dueLocked() {
		t.work.Store(true)
	}
	t.passOnLocked(newlyBlocked)
}

// passOnLocked finds other threads for those of the group's pending signals in s,
// which the thread was perhaps chosen for and does not take any more.
func (t *Task) passOnLocked(s signal.Set) {
	for s = s.Intersect(t.tg.pending.Pending()); !s.Empty(); s = s.Remove(s.Lowest()) {
		for _, o := range t.tg.tasks {
			if o != t && o.wantsLocked(s.Lowest()) {
				o.interrupt()
				break
			}
		}
	}
}

// dueLocked tells whether a signal is pending that is not blocked.
func (t *Task) dueLocked() bool {
	return t.pending.Pending().Union(t.tg.pending.Pending()).Without(t.mask) != 0
}

// PendingSignals returns the signals pending on the thread and its group.
func (t *Task) PendingSignals() (thread, group signal.Set) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.pending.Pending(), t.tg.pending.Pending()
}

// SetAction replaces the action of a signal. A pending signal that is ignored
// from now on is dropped.
func (t *Task) SetAction(sig signal.Signal, a signal.Action) (signal.Action, error) {
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	old, err := tg.handlers.Set(sig, a)
	switch {
	case err != nil:
	case a.Ignores(sig):
		tg.discardLocked(signal.SetOf(sig))
	case old.Ignores(sig):
		tg.posix.unparkLocked(sig)
	}
	return old, err
}

// Action returns the action of a signal; EINVAL for what is no signal.
func (t *Task) Action(sig signal.Signal) (signal.Action, error) {
	if !signal.Valid(sig) {
		return signal.Action{}, unix.EINVAL
	}
	return t.tg.handlers.Get(sig), nil
}

// WaitSignal waits for one of the signals of set to be pending and takes it
// (sigtimedwait(2)). EAGAIN when timeout, unless negative, is over; EINTR when
// another signal has to be handled.
func (t *Task) WaitSignal(set signal.Set, timeout time.Duration) (signal.Info, error) {
	set = set.Without(signal.Unblockable)
	if timeout == 0 {
		info, ok := t.takeSignal(set, 0)
		if !ok {
			return info, unix.EAGAIN
		}
		return info, nil
	}
	if info, ok := t.takeSignal(set, set); ok {
		return info, nil
	}
	err := t.BlockFor(nil, timeout)
	if info, ok := t.takeSignal(set, 0); ok {
		return info, nil
	}
	if err == unix.ETIMEDOUT {
		return signal.Info{}, unix.EAGAIN
	}
	return signal.Info{}, unix.EINTR
}

// takeSignal dequeues a signal of set; waiting is what the thread waits for from
// then on if there is none.
func (t *Task) takeSignal(set, waiting signal.Set) (signal.Info, bool) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	info, ok := t.dequeueLocked(^set)
	t.waitSet = 0
	if !ok {
		t.waitSet = waiting
	}
	return info, ok
}
