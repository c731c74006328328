package ktime

import (
	"math"
	"sync"
)

// Forever is a time that never comes.
const Forever = math.MaxInt64

// latest is the latest time of an expiration.
const latest = Forever - 1

// shortest is the least time in ns between two calls of a timer's function: a
// shorter interval's expirations are counted, not called one by one.
const shortest = 50e3

// Setting is the time until a timer's next expiration and its interval, in ns.
// Value 0 is a timer that is not armed, Interval 0 one that expires once.
type Setting struct{ Value, Interval int64 }

// Timer expires at a time of its clock, and again after each interval. It is
// safe for concurrent use.
//
// When it expires it calls its function once and then waits for Collect, which
// tells how often it has expired since and lets an interval timer go on.
type Timer struct {
	clock  Clock
	expire func()

	mu sync.Mutex
	// Guarded by mu.
	alarm    Alarm
	next     int64 // time of the next expiration, Forever when not armed
	interval int64
	expired  bool  // expire was called, Collect is due
	called   int64 // time of that call
}

// NewTimer returns a timer that is not armed. expire is called on a goroutine
// of its own with no locks held.
func NewTimer(c Clock, expire func()) *Timer {
	t := &Timer{clock: c, expire: expire, next: Forever, called: math.MinInt64}
	t.alarm = c.NewAlarm(t.ring)
	return t
}

// Clock returns the timer's clock.
func (t *Timer) Clock() Clock { return t.clock }

// Set arms the timer, or disarms it when s.Value is 0, and returns the former
// setting. With absolute s.Value is a time of the clock. Expirations that were not
// collected are forgotten. Negative values count as 0.
func (t *Timer) Set(s Setting, absolute bool) (old Setting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	old = t.setting(now)
	t.expired = false
	t.alarm.Stop()
	t.interval = max(s.Interval, 0)
	switch {
	case s.Value <= 0:
		t.next = Forever
		return old
	case absolute:
		t.next = min(s.Value, latest)
	default:
		t.next = min(saturatingAdd(now, s.Value), latest)
	}
	t.alarm.Set(t.next)
	return old
}

// Stop disarms the timer for good. An expiration may still be under way.
func (t *Timer) Stop() { t.Set(Setting{}, false) }

// Get returns the time until the next expiration and the interval. A one-shot
// timer that has expired has value 0.
func (t *Timer) Get() Setting {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setting(t.clock.Now())
}

// setting computes Get's answer. A timer that is due but did not expire yet has 1 ns left.
func (t *Timer) setting(now int64) Setting {
	s := Setting{Interval: t.interval}
	switch {
	case t.next == Forever:
	case t.next > now:
		s.Value = t.next - now
	case t.interval > 0:
		s.Value = t.interval - (now-t.next)%t.interval
	case !t.expired:
		s.Value = 1
	}
	return s
}

// Collect returns how many times the timer has expired since the last Collect
// or Set, 0 when it has not, and lets an interval timer go on.
func (t *Timer) Collect() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.expirations()
	switch {
	case n == 0:
		return 0
	case t.interval == 0:
		t.next, t.expired = Forever, false
		return n
	}
	t.next = min(saturatingAdd(t.next, saturatingMul(int64(n), t.interval)), latest)
	t.expired = false
	t.rearm()
	return n
}

// Expirations returns what Collect would, and leaves the timer as it is.
func (t *Timer) Expirations() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.expirations()
}

func (t *Timer) expirations() uint64 {
	now := t.clock.Now()
	switch {
	case t.next > now || !t.expired && t.interval == 0:
		return 0
	case t.interval == 0:
		return 1
	}
	return 1 + uint64(now-t.next)/uint64(t.interval)
}

// rearm sets the alarm for the next expiration, but not sooner than shortest
// after the last call.
func (t *Timer) rearm() {
	t.alarm.Set(max(t.next, saturatingAdd(t.called, shortest)))
}

// ring is called by the alarm.
func (t *Timer) ring() {
	if t.due() {
		t.expire()
	}
}

// due tells whether the timer expires now; if it is too early the alarm is set again.
func (t *Timer) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expired || t.next == Forever {
		return false
	}
	now := t.clock.Now()
	if now < t.next {
		t.alarm.Set(t.next)
		return false
	}
	t.expired = true
	t.called = now
	return true
}

// saturatingAdd is a+b for b not negative, Forever on overflow.
func saturatingAdd(a, b int64) int64 {
	if a > Forever-b {
		return Forever
	}
	return a + b
}

// saturatingMul is a*b for positive values, Forever on overflow.
func saturatingMul(a, b int64) int64 {
	if a > Forever/b {
		return Forever
	}
	return a * b
}
