package kernel

import (
	"sync"
	"sync/atomic"
	"time"

	"gosentry/sentry/ktime"
)

// cpuMode is what a task's time counts as.
type cpuMode int64

const (
	cpuOff    cpuMode = iota // blocked, stopped, not started or ended
	cpuUser                  // guest code
	cpuSystem                // the kernel's work for the task
	cpuModes  = 4

	// meterEntries is how many exits from guest code in a row can be told apart.
	meterEntries = 4
	meterUnit    = cpuModes * meterEntries
	// chargeEvery is how much time, in ns, is charged at once at the least, while the task runs: to charge it takes as long as a short call.
	chargeEvery = 20_000
)

// cpuMeter is how far a task's processor time is charged. The task and those who look at it charge what was used since the stamp,
// each a part of its own.
type cpuMeter struct {
	// stamp is a time in ns since the kernel was made, times meterUnit, plus cpuModes times how often guest code was left,
	// plus the mode since then.
	stamp atomic.Int64

	// What the task has taken over from the stamp and not yet charged, in ns, and how often it left guest code. Only the task itself
	// touches these.
	user, system int64
	exits        int64
}

func (k *Kernel) nanotime() int64 { return k.clocks.Rough() - k.bootClock }

// meterMode is the mode in a stamp.
func meterMode(stamp int64) cpuMode { return cpuMode(stamp % cpuModes) }

// switchMode takes what the task has used in its mode and goes on in another.
// Only the task itself calls it.
func (t *Task) switchMode(m cpuMode) {
	c := &t.meter
	now := t.k.nanotime()
	since := c.stamp.Swap(now*meterUnit + c.exits%meterEntries*cpuModes + int64(m))
	was, ns := meterMode(since), max(now-since/meterUnit, 0)
	switch was {
	case cpuOff:
		if m != cpuOff {
			t.k.awake.Add(1)
		}
		return
	case cpuUser:
		c.user += ns
	case cpuSystem:
		c.system += ns
	}
	if m == cpuOff {
		t.k.awake.Add(-1)
	}
	if m == cpuOff || c.user+c.system >= chargeEvery {
		t.charge(c.user, c.system)
		c.user, c.system = 0, 0
	}
}

// leftGuest is switchMode for a task that comes out of guest code.
func (t *Task) leftGuest() {
	t.meter.exits++
	t.switchMode(cpuSystem)
}

// settle charges what the task has used up to now, but for chargeEvery at the most that it charges itself.
func (t *Task) settle() {
	old := t.meter.stamp.Load()
	mode := meterMode(old)
	if mode == cpuOff {
		return
	}
	now := t.k.nanotime()
	ns := max(now-old/meterUnit, 0)
	if !t.meter.stamp.CompareAndSwap(old, now*meterUnit+old%meterUnit) {
		return
	}
	if mode == cpuUser {
		t.charge(ns, 0)
	} else {
		t.charge(0, ns)
	}
}

// charge counts so many ns in guest code and in the kernel.
func (t *Task) charge(user, system int64) {
	if user > 0 {
		t.acct.user.Add(user)
		t.tg.userCPU.Add(user)
	}
	if system > 0 {
		t.acct.system.Add(system)
	}
	t.cpu.Add(user + system)
	t.tg.cpu.Add(user + system)
}

// shortestWatch is the least time between two looks of a cpuWatch.
const shortestWatch = 100 * time.Microsecond

// cpuWatch looks at the clocks of a process when an alarm on them may be due. It
// rests while none is set and while no thread of the process runs: a thread that
// runs again with an alarm set wakes it. Its lock is innermost but for those of
// ktime.
type cpuWatch struct {
	active atomic.Bool

	mu sync.Mutex
	// Guarded by mu.
	timer *time.Timer
	tasks map[*Task]struct{} // whose time counts
}

// meterTask counts the time of t, which has not run yet, for the process.
func (tg *ThreadGroup) meterTask(t *Task) {
	w := &tg.watch
	w.mu.Lock()
	if w.tasks == nil {
		w.tasks = make(map[*Task]struct{})
	}
	w.tasks[t] = struct{}{}
	w.mu.Unlock()
	if w.active.Load() {
		tg.watchCPU()
	}
}

// unmeterTask charges t for the last time.
func (tg *ThreadGroup) unmeterTask(t *Task) {
	t.switchMode(cpuOff)
	tg.watch.mu.Lock()
	defer tg.watch.mu.Unlock()
	delete(tg.watch.tasks, t)
}

// watchIfArmed wakes the watch if a clock that t drives has an alarm.
func (t *Task) watchIfArmed() {
	tg := t.tg
	if (tg.cpu.Armed() || tg.userCPU.Armed() || t.cpu.Armed()) && !tg.watch.active.Load() {
		tg.watchCPU()
	}
}

// watchCPU makes the watch look at once.
func (tg *ThreadGroup) watchCPU() {
	w := &tg.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active.Store(true)
	if w.timer == nil {
		w.timer = time.AfterFunc(0, tg.lookAtCPU)
		return
	}
	w.timer.Reset(0)
}

// stopWatch ends the watch of a process that has ended.
func (tg *ThreadGroup) stopWatch() {
	w := &tg.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// lookAtCPU charges the threads, which rings the alarms that are due, and looks
// again when the next one can be. active is false meanwhile, so that a thread
// that starts to run unseen wakes the watch.
func (tg *ThreadGroup) lookAtCPU() {
	w := &tg.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active.Store(false)
	if left := tg.cpuLeftLocked(); left != ktime.Forever {
		w.active.Store(true)
		w.timer.Reset(max(time.Duration(left), shortestWatch))
	}
}

// cpuLeftLocked charges the threads and returns the least time in ns after which
// an alarm can be due, if all of them run; ktime.Forever when none runs that
// has one.
func (tg *ThreadGroup) cpuLeftLocked() int64 {
	left := int64(ktime.Forever)
	runs := false
	for t := range tg.watch.tasks {
		t.settle()
		if meterMode(t.meter.stamp.Load()) != cpuOff {
			runs = true
			left = min(left, t.cpu.Due())
		}
	}
	if !runs {
		return ktime.Forever
	}
	for _, c := range []*ktime.CPUClock{&tg.cpu, &tg.userCPU} {
		if due := c.Due(); due != ktime.Forever {
			left = min(left, due/int64(len(tg.watch.tasks)))
		}
	}
	return left
}

// settleCPU charges all threads of the process.
func (tg *ThreadGroup) settleCPU() {
	tg.watch.mu.Lock()
	defer tg.watch.mu.Unlock()
	for t := range tg.watch.tasks {
		t.settle()
	}
}

// watchedAlarm is an alarm on a clock of a process; setting it wakes the watch.
type watchedAlarm struct {
	ktime.Alarm
	tg *ThreadGroup
}

// Set implements ktime.Alarm.
func (a watchedAlarm) Set(at int64) {
	a.Alarm.Set(at)
	a.tg.watchCPU()
}

// groupClock, groupUserClock and taskClock are clocks that are up to date whenever
// they are read.
type (
	groupClock     ThreadGroup
	groupUserClock ThreadGroup
	taskClock      Task
)

// Now implements ktime.Clock.
func (c *groupClock) Now() int64 {
	(*ThreadGroup)(c).settleCPU()
	return c.cpu.Now()
}

// NewAlarm implements ktime.Clock.
func (c *groupClock) NewAlarm(f func()) ktime.Alarm {
	return watchedAlarm{c.cpu.NewAlarm(f), (*ThreadGroup)(c)}
}

// Now implements ktime.Clock.
func (c *groupUserClock) Now() int64 {
	(*ThreadGroup)(c).settleCPU()
	return c.userCPU.Now()
}

// NewAlarm implements ktime.Clock.
func (c *groupUserClock) NewAlarm(f func()) ktime.Alarm {
	return watchedAlarm{c.userCPU.NewAlarm(f), (*ThreadGroup)(c)}
}

// Now implements ktime.Clock.
func (c *taskClock) Now() int64 {
	(*Task)(c).settle()
	return c.cpu.Now()
}

// NewAlarm implements ktime.Clock.
func (c *taskClock) NewAlarm(f func()) ktime.Alarm {
	return watchedAlarm{c.cpu.NewAlarm(f), c.tg}
}
