package kernel

import (
	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// ITimerKind is one of the three timers of setitimer(2).
type ITimerKind int32

// Interval timers: of real time, of user time, of user and system time.
const (
	ITimerReal ITimerKind = iota
	ITimerVirtual
	ITimerProf
	itimerKinds
)

var itimerSignals = [itimerKinds]signal.Signal{unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF}

// itimers are the interval timers of a process; nil where none was ever set.
type itimers [itimerKinds]*ktime.Timer

func (i *itimers) stop() {
	for _, t := range i {
		if t != nil {
			t.Stop()
		}
	}
}

// SetITimer sets a timer and returns its former setting; EINVAL for a kind that
// there is not.
func (tg *ThreadGroup) SetITimer(kind ITimerKind, s ktime.Setting) (ktime.Setting, error) {
	if kind < 0 || kind >= itimerKinds {
		return ktime.Setting{}, unix.EINVAL
	}
	return tg.itimer(kind).Set(s, false), nil
}

// ITimer returns a timer's setting; EINVAL for a kind that there is not.
func (tg *ThreadGroup) ITimer(kind ITimerKind) (ktime.Setting, error) {
	if kind < 0 || kind >= itimerKinds {
		return ktime.Setting{}, unix.EINVAL
	}
	return tg.itimer(kind).Get(), nil
}

func (tg *ThreadGroup) itimer(kind ITimerKind) *ktime.Timer {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if t := tg.timers[kind]; t != nil {
		return t
	}
	clock := ktime.Clock((*groupClock)(tg))
	switch kind {
	case ITimerReal:
		clock = tg.k.clocks.Monotonic()
	case ITimerVirtual:
		clock = (*groupUserClock)(tg)
	}
	var t *ktime.Timer
	t = ktime.NewTimer(clock, func() {
		info := signal.KernelInfo(itimerSignals[kind])
		tg.SendSignal(&info) //nolint:errcheck // standard signals cannot fail
		t.Collect()
	})
	tg.timers[kind] = t
	return t
}

// CPUClock returns the clock of the processor time of the process.
func (tg *ThreadGroup) CPUClock() ktime.Clock { return (*groupClock)(tg) }

// CPUClock returns the clock of the processor time of the thread.
func (t *Task) CPUClock() ktime.Clock { return (*taskClock)(t) }

// CPUClockOf returns the clock of another process, or of a thread of the
// caller's own; 0 means the caller's. EINVAL when there is none.
func (t *Task) CPUClockOf(id int32, thread bool) (ktime.Clock, error) {
	if id == 0 {
		if thread {
			return t.CPUClock(), nil
		}
		return t.tg.CPUClock(), nil
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[id]
	switch {
	case p == nil:
	case thread && p.task != nil && p.task.tg == t.tg:
		return p.task.CPUClock(), nil
	case !thread && p.tg != nil:
		return p.tg.CPUClock(), nil
	}
	return nil, unix.EINVAL
}
