package kernel

import (
	"time"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// The memory that a vfork lends comes back when the child execs or ends, however it ends: it
// closes vforkDone as it lets go. Meanwhile the caller waits; its signals wait with it, death
// aside. With HoldProcess the other threads wait too, and all of them can be stopped and continued
// while they do, until a signal is due.

// childFirstMost bounds how long a parent waits for its child to begin.
const childFirstMost = 100 * time.Millisecond

// borrowMM makes the channel that is closed when the child of a vfork gives the memory back.
func (t *Task) borrowMM(a *ForkArgs) <-chan struct{} {
	if !a.Vfork {
		return nil
	}
	t.vforkDone = make(chan struct{})
	return t.vforkDone
}

// waitVfork waits until the child has given the memory back. A killed parent does not see the result.
func (t *Task) waitVfork(a *ForkArgs, done <-chan struct{}) bool {
	if !a.Vfork {
		return false
	}
	for a.HoldProcess && t.Block(done) != nil {
		t.takeStops()
		if t.signalDue() {
			break
		}
		t.waitStopped()
		t.waitThawed()
	}
	t.stand(true)
	defer t.stand(false)
	return t.BlockKillable(done) == nil
}

// takeStops takes the signals that do nothing but stop or continue the process.
func (t *Task) takeStops() {
	for {
		t.tg.sigMu.Lock()
		var stops signal.Set // none of a traced task's: its tracer sees each signal
		for _, sig := range []signal.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT} {
			if t.tracee == nil && t.tg.handlers.Get(sig).Handler == signal.HandlerDefault {
				stops = stops.Add(sig)
			}
		}
		info, ok := t.dequeueLocked(t.mask.Union(^stops))
		t.stopTaken = t.stopTaken || ok
		terminal := ok && t.defaultActionLocked(info.Signo)
		t.tg.sigMu.Unlock()
		if !ok {
			return
		}
		if terminal {
			t.stopUnlessOrphaned(info.Signo)
		}
	}
}

// signalDue tells whether more than a stop has interrupted the task; for a traced one that is
// the tracer's to say.
func (t *Task) signalDue() bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.dying || t.tg.exiting || t.dueLocked() || t.tracee != nil
}

// hold keeps the threads of a process but one still.
type hold struct {
	by     *Task
	still  chan struct{} // has something when one more thread is still
	resume chan struct{} // closed when the hold ends
}

// holdProcess stops the other threads if the fork asks for it; EINTR if a signal, a stop or another
// hold comes first. The hold may be nil, and is to be released.
func (t *Task) holdProcess(a *ForkArgs) (*hold, error) {
	if !a.HoldProcess {
		return nil, nil
	}
	h := &hold{by: t, still: make(chan struct{}, 1), resume: make(chan struct{})}
	tg := t.tg
	tg.sigMu.Lock()
	if t.dying || tg.exiting || tg.hold != nil {
		tg.sigMu.Unlock()
		return nil, unix.EINTR
	}
	tg.hold = h
	for _, o := range tg.tasks {
		if o != t {
			o.interrupt()
		}
	}
	tg.sigMu.Unlock()
	for !h.complete() {
		if err := t.Block(h.still); err != nil {
			h.release()
			return nil, unix.EINTR
		}
	}
	return h, nil
}

// complete tells whether all other threads are still or about to end.
func (h *hold) complete() bool {
	tg := h.by.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	for _, o := range tg.tasks {
		if o != h.by && !o.held && !o.dying {
			return false
		}
	}
	return true
}

func (h *hold) release() {
	if h == nil {
		return
	}
	tg := h.by.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	tg.hold = nil
	close(h.resume)
}

// notifyLocked makes the holder look again; a nil hold has none.
func (h *hold) notifyLocked() {
	if h == nil {
		return
	}
	select {
	case h.still <- struct{}{}:
	default:
	}
}

// heldLocked returns the hold that the task has to wait for, or nil.
func (t *Task) heldLocked() *hold {
	if h := t.tg.hold; h != nil && h.by != t && !t.dying {
		return h
	}
	return nil
}

// waitHeld waits until nothing holds the task or it dies. Stops find it still.
func (t *Task) waitHeld() {
	defer t.resume()
	for {
		t.tg.sigMu.Lock()
		h := t.heldLocked()
		t.held = h != nil
		h.notifyLocked()
		stop := t.tg.stop.signal != 0 && t.tracee == nil
		if h != nil && t.dueLocked() {
			h.by.interrupt() // who holds takes the stops for all
		}
		t.tg.sigMu.Unlock()
		if h == nil {
			return
		}
		if stop {
			t.waitStopped()
			continue
		}
		t.waitThawed()
		t.setState(sleeping)
		t.ctx.Leave()
		t.switchMode(cpuOff)
		t.killedOr(h.resume)
	}
}

// startChild lets the child run. If children go first it waits for the child's first call, or its end.
func (t *Task) startChild(c *Task, a *ForkArgs) {
	if t.k.knobs.childFirst.Load() == 0 || a.shares(ShareThread) || a.Vfork {
		c.start()
		return
	}
	begun := make(chan struct{})
	c.begun = begun
	c.start()
	t.blockKillableFor(begun, childFirstMost)
}

// hasBegun tells a parent that waits for it that the task has run.
func (t *Task) hasBegun() {
	if t.begun != nil {
		close(t.begun)
		t.begun = nil
	}
}

// stopAtBirth makes a process that nobody sees yet stop before its first instruction.
func (tg *ThreadGroup) stopAtBirth() {
	tg.stop = groupStop{signal: unix.SIGSTOP, remaining: 1, resume: make(chan struct{})}
	tg.leader.stopping = true
	tg.leader.work.Store(true)
}
