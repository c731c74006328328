package kernel

import (
	"math"

	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// maxPosixTimers bounds the timers of a process, whatever RLIMIT_SIGPENDING says.
const maxPosixTimers = 1 << 15

// TimerArgs say what timer_create(2) makes.
type TimerArgs struct {
	Clock  ktime.Clock
	Silent bool          // SIGEV_NONE
	Signal signal.Signal // sent at each expiration
	Value  uint64        // its sigval
	// ValueIsID makes the timer's id the sigval.
	ValueIsID bool
	// Thread is the id of the caller's thread that gets the signal; 0: the process.
	Thread int32
}

// posixTimers are the timers of a process; guarded by sigMu.
type posixTimers struct {
	byID map[int32]*posixTimer
	last int32 // id given out last, plus one
}

// posixTimer is a timer of timer_create(2). Its signal is pending at most once;
// what expires meanwhile is the overrun that comes with it.
type posixTimer struct {
	tg     *ThreadGroup
	task   *Task // that gets the signal; nil: the process
	id     int32
	silent bool
	signo  signal.Signal
	value  uint64
	ledger signal.Ledger
	timer  *ktime.Timer

	// Guarded by sigMu.
	deleted bool
	parked  bool   // expired while its signal was ignored; it rests until that changes
	missed  uint64 // expirations whose signal was dropped
	overrun int32  // of the signal delivered last
}

// CreateTimer makes a timer that is not armed and returns its id. EAGAIN at
// RLIMIT_SIGPENDING, EINVAL for a bad signal or thread.
func (t *Task) CreateTimer(a TimerArgs) (int32, error) {
	tg := t.tg
	p := &posixTimer{tg: tg, silent: a.Silent, signo: a.Signal, value: a.Value}
	if a.Thread != 0 {
		target, err := t.ownThread(a.Thread)
		if err != nil {
			return 0, unix.EINVAL
		}
		p.task = target
	}
	if !a.Silent && !signal.Valid(a.Signal) {
		return 0, unix.EINVAL
	}
	p.ledger = t.k.ledger(tg, t)
	if !p.ledger.Charge(false) {
		return 0, unix.EAGAIN
	}
	p.timer = ktime.NewTimer(a.Clock, p.fire)
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if !tg.posix.addLocked(p) || tg.exiting {
		delete(tg.posix.byID, p.id)
		p.ledger.Uncharge()
		return 0, unix.EAGAIN
	}
	if a.ValueIsID {
		p.value = uint64(uint32(p.id))
	}
	return p.id, nil
}

// ownThread finds a thread of the caller's process; ESRCH.
func (t *Task) ownThread(id int32) (*Task, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o, err := t.threadLocked(id)
	if err != nil || o.tg != t.tg || o.exited {
		return nil, unix.ESRCH
	}
	return o, nil
}

// addLocked gives p a free id; false when there are too many timers.
func (l *posixTimers) addLocked(p *posixTimer) bool {
	if len(l.byID) >= maxPosixTimers {
		return false
	}
	if l.byID == nil {
		l.byID = make(map[int32]*posixTimer)
	}
	for {
		p.id = l.last
		l.last = (l.last + 1) & math.MaxInt32
		if _, used := l.byID[p.id]; !used {
			l.byID[p.id] = p
			return true
		}
	}
}

// posixTimer finds a timer of the process; EINVAL.
func (t *Task) posixTimer(id int32) (*posixTimer, error) {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if p := t.tg.posix.byID[id]; p != nil {
		return p, nil
	}
	return nil, unix.EINVAL
}

// SetTimer sets a timer and returns its former setting; a signal of the former
// one is not delivered any more. EINVAL for an unknown id.
func (t *Task) SetTimer(id int32, s ktime.Setting, absolute bool) (ktime.Setting, error) {
	p, err := t.posixTimer(id)
	if err != nil {
		return ktime.Setting{}, err
	}
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if p.deleted {
		return ktime.Setting{}, unix.EINVAL
	}
	tg.queueLocked(p.task).RemoveSource(p)
	p.parked, p.missed, p.overrun = false, 0, 0
	return p.timer.Set(s, absolute), nil
}

// GetTimer returns a timer's setting; EINVAL for an unknown id.
func (t *Task) GetTimer(id int32) (ktime.Setting, error) {
	p, err := t.posixTimer(id)
	if err != nil {
		return ktime.Setting{}, err
	}
	return p.timer.Get(), nil
}

// TimerOverrun returns how many expirations the signal delivered last stood for
// beyond its own; EINVAL for an unknown id.
func (t *Task) TimerOverrun(id int32) (int32, error) {
	p, err := t.posixTimer(id)
	if err != nil {
		return 0, err
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return p.overrun, nil
}

// DeleteTimer deletes a timer, with its signal if that is pending; EINVAL for an
// unknown id.
func (t *Task) DeleteTimer(id int32) error {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	p := t.tg.posix.byID[id]
	if p == nil {
		return unix.EINVAL
	}
	p.deleteLocked()
	return nil
}

func (p *posixTimer) deleteLocked() {
	p.deleted = true
	delete(p.tg.posix.byID, p.id)
	p.tg.queueLocked(p.task).RemoveSource(p)
	p.timer.Stop()
	p.ledger.Uncharge()
}

// deleteAllLocked deletes the timers of a process that execs or ends.
func (l *posixTimers) deleteAllLocked() {
	for _, p := range l.byID {
		p.deleteLocked()
	}
	*l = posixTimers{}
}

// fire is called when the timer expires.
func (p *posixTimer) fire() {
	p.tg.sigMu.Lock()
	defer p.tg.sigMu.Unlock()
	if !p.deleted && !p.silent {
		p.sendLocked()
	}
}

// sendLocked makes the signal pending. If it is ignored, a periodic timer rests, and
// one whose thread has ended does so for good.
func (p *posixTimer) sendLocked() {
	tg := p.tg
	if p.task != nil && p.task.gone {
		return
	}
	tg.prepareLocked(p.signo)
	if tg.dropsLocked(p.signo, p.task, false) {
		p.parked = p.timer.Get().Interval > 0
		return
	}
	info := signal.Info{Signo: p.signo, Code: signal.CodeTimer, TimerID: p.id, Value: p.value}
	if tg.queueLocked(p.task).EnqueueFrom(info, p) {
		tg.announceLocked(p.signo, p.task)
	}
}

// unparkLocked lets the timers go on whose signal was ignored until now.
func (l *posixTimers) unparkLocked(sig signal.Signal) {
	for _, p := range l.byID {
		if p.parked && p.signo == sig {
			p.parked = false
			p.sendLocked()
		}
	}
}

// Collected implements signal.Source.
func (p *posixTimer) Collected(info *signal.Info) {
	over := p.missed + max(p.timer.Collect(), 1) - 1
	p.missed = 0
	p.overrun = int32(min(over, math.MaxInt32))
	info.Overrun = p.overrun
}

// Dropped implements signal.Source: the signal is ignored from now on, or a stop
// or continue signal took it away.
func (p *posixTimer) Dropped() {
	switch {
	case p.tg.handlers.Get(p.signo).Ignores(p.signo):
		p.parked = p.timer.Get().Interval > 0
	default:
		p.missed += p.timer.Collect()
	}
}
