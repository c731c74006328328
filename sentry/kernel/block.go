package kernel

import (
	"time"

	"gosentry/sentry/ktime"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// ticks is a duration in clock ticks of 10 ms (sysconf(_SC_CLK_TCK)).
func ticks(d time.Duration) int64 { return int64(d / (10 * time.Millisecond)) }

func (t *Task) setState(s runState) { t.state.Store(int32(s)) }

// woken says that a task which waits in the state from is about to go on: it counts as running from now, not only once it does.
func (t *Task) woken(from runState) { t.state.CompareAndSwap(int32(from), int32(running)) }

// NewWake returns what tells the task that something happened, and the event for it to block on.
func (t *Task) NewWake() (wake func(waiter.EventMask), event <-chan struct{}) {
	ch := make(chan struct{}, 1)
	return func(waiter.EventMask) {
		t.woken(sleeping)
		select {
		case ch <- struct{}{}:
		default:
		}
	}, ch
}

// NewEntry returns an entry whose notifications wake the task from blocking on the event.
func (t *Task) NewEntry(mask waiter.EventMask) (entry *waiter.Entry, event <-chan struct{}) {
	wake, event := t.NewWake()
	return &waiter.Entry{Mask: mask, Notify: wake}, event
}

// interrupted tells whether a blocked call has to end: a signal is due, the
// thread stops or dies. With onlyKill only death counts.
func (t *Task) interrupted(onlyKill bool) bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.dying || t.tg.exiting {
		return true
	}
	if onlyKill {
		return false
	}
	return t.mustStopLocked() || t.dueLocked() ||
		!t.pending.Pending().Union(t.tg.pending.Pending()).Intersect(t.waitSet).Empty()
}

// Block waits until event has something. ERESTARTSYS when a signal, a stop or
// death is due first.
func (t *Task) Block(event <-chan struct{}) error {
	return t.block(event, nil, false)
}

// BlockUntil is Block with an end: ETIMEDOUT when timeout has something.
func (t *Task) BlockUntil(event, timeout <-chan struct{}) error {
	return t.block(event, timeout, false)
}

// BlockFor is Block for at most d; a negative d means forever. ETIMEDOUT when
// the time is over.
func (t *Task) BlockFor(event <-chan struct{}, d time.Duration) error {
	if d < 0 {
		return t.block(event, nil, false)
	}
	clock := t.k.clocks.Monotonic()
	at := clock.Now() + int64(d)
	if at < 0 {
		at = ktime.Forever
	}
	return t.BlockUntilTime(event, clock, at)
}

// BlockUntilTime is Block until clock reads at, in ns; ktime.Forever means no end. ETIMEDOUT
// when the time has come.
func (t *Task) BlockUntilTime(event <-chan struct{}, clock ktime.Clock, at int64) error {
	return t.blockUntilTime(event, clock, at, false)
}

func (t *Task) blockUntilTime(event <-chan struct{}, clock ktime.Clock, at int64, onlyKill bool) error {
	if t.sleeper == nil {
		t.sleeper = ktime.NewSleeper()
	}
	t.sleeper.Set(clock, at)
	defer t.sleeper.Stop()
	return t.block(event, t.sleeper.C, onlyKill)
}

// BlockKillable waits until event has something or the task dies (ERESTARTSYS).
func (t *Task) BlockKillable(event <-chan struct{}) error {
	return t.block(event, nil, true)
}

// blockKillableFor waits until event has something, d is over or the task dies.
func (t *Task) blockKillableFor(event <-chan struct{}, d time.Duration) {
	clock := t.k.clocks.Monotonic()
	t.blockUntilTime(event, clock, clock.Now()+int64(d), true) //nolint:errcheck // all the same
}

// resume says that the task goes on after it was blocked or stopped.
func (t *Task) resume() {
	t.switchMode(cpuSystem)
	t.setState(running)
}

func (t *Task) block(event, timeout <-chan struct{}, onlyKill bool) error {
	select {
	case <-event:
		return nil
	default:
	}
	t.acct.voluntary.Add(1)
	t.setState(sleeping)
	defer t.resume()
	t.ctx.Leave()
	t.switchMode(cpuOff)
	for {
		if t.interrupted(onlyKill) {
			t.work.Store(true)
			return ERESTARTSYS
		}
		select {
		case <-event:
			return nil
		case <-timeout:
			return unix.ETIMEDOUT
		case <-t.wake:
		}
		if !t.interrupted(onlyKill) {
			t.setState(sleeping) // who wakes it from here on is seen at the top
		}
	}
}
