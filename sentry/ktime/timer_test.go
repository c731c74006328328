package ktime

import (
	"sync"
	"testing"
	"time"
)

// manualClock is a clock that the test moves; alarms ring in advance.
type manualClock struct {
	mu     sync.Mutex
	now    int64
	alarms map[*manualAlarm]int64
}

type manualAlarm struct {
	clock *manualClock
	f     func()
}

func newManualClock() *manualClock {
	return &manualClock{now: 1000, alarms: make(map[*manualAlarm]int64)}
}

func (c *manualClock) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) NewAlarm(f func()) Alarm { return &manualAlarm{c, f} }

func (a *manualAlarm) Set(at int64) {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.clock.alarms[a] = at
}

func (a *manualAlarm) Stop() {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	delete(a.clock.alarms, a)
}

func (c *manualClock) advance(ns int64) {
	c.mu.Lock()
	c.now += ns
	var due []*manualAlarm
	for a, at := range c.alarms {
		if at <= c.now {
			delete(c.alarms, a)
			due = append(due, a)
		}
	}
	c.mu.Unlock()
	for _, a := range due {
		a.f()
	}
}

func TestOneShotTimer(t *testing.T) {
	c := newManualClock()
	calls := 0
	tm := NewTimer(c, func() { calls++ })
	if old := tm.Set(Setting{Value: 500}, false); old != (Setting{}) {
		t.Errorf("a new timer had %v", old)
	}
	c.advance(499)
	if got := tm.Get(); got.Value != 1 || calls != 0 || tm.Collect() != 0 {
		t.Errorf("before the time: %v, %d calls", got, calls)
	}
	c.advance(1)
	if got := tm.Get(); got.Value != 0 || calls != 1 {
		t.Errorf("at the time: %v, %d calls", got, calls)
	}
	if n := tm.Collect(); n != 1 {
		t.Errorf("%d expirations", n)
	}
	c.advance(1e9)
	if n := tm.Collect(); n != 0 || calls != 1 {
		t.Errorf("after it: %d expirations, %d calls", n, calls)
	}
}

func TestIntervalTimerCountsOverruns(t *testing.T) {
	c := newManualClock()
	calls := 0
	tm := NewTimer(c, func() { calls++ })
	tm.Set(Setting{Value: 1e6, Interval: 3e6}, false)
	c.advance(1e6 + 10*3e6 + 1e6)
	if calls != 1 {
		t.Fatalf("%d calls without Collect, want 1", calls)
	}
	if got := tm.Get(); got != (Setting{Value: 2e6, Interval: 3e6}) {
		t.Errorf("left %v", got)
	}
	if n := tm.Collect(); n != 11 {
		t.Errorf("%d expirations, want 11", n)
	}
	c.advance(2e6 - 1)
	if calls != 1 {
		t.Error("called before the next expiration")
	}
	c.advance(1)
	if n := tm.Collect(); calls != 2 || n != 1 {
		t.Errorf("%d calls, %d expirations", calls, n)
	}
}

func TestAbsoluteTimer(t *testing.T) {
	c := newManualClock()
	calls := 0
	tm := NewTimer(c, func() { calls++ })
	tm.Set(Setting{Value: 1600}, true)
	if got := tm.Get().Value; got != 600 {
		t.Errorf("left %d", got)
	}
	tm.Set(Setting{Value: 10, Interval: 100}, true)
	c.advance(0)
	if n := tm.Collect(); calls != 1 || n != 10 {
		t.Errorf("a time that has passed: %d calls, %d expirations", calls, n)
	}
	if got := tm.Get().Value; got != 10 {
		t.Errorf("left %d, want 10", got)
	}
}

func TestTimerSetReturnsOldAndDisarms(t *testing.T) {
	c := newManualClock()
	calls := 0
	tm := NewTimer(c, func() { calls++ })
	tm.Set(Setting{Value: 50, Interval: 7}, false)
	c.advance(20)
	if old := tm.Set(Setting{}, false); old != (Setting{Value: 30, Interval: 7}) {
		t.Errorf("old setting %v", old)
	}
	c.advance(1000)
	if calls != 0 || tm.Get() != (Setting{}) || tm.Collect() != 0 {
		t.Error("a timer that was disarmed expired")
	}
	tm.Set(Setting{Value: Forever, Interval: Forever}, false)
	c.advance(1000)
	if calls != 0 || tm.Get().Value <= 0 {
		t.Errorf("a timer for ever: %d calls, %v", calls, tm.Get())
	}
	tm.Set(Setting{Value: 1, Interval: 1}, false)
	c.advance(5)
	tm.Set(Setting{Value: 100}, false)
	if n := tm.Collect(); n != 0 {
		t.Errorf("%d expirations of a former setting", n)
	}
}

func TestTinyIntervalIsBounded(t *testing.T) {
	k := New(Config{})
	var mu sync.Mutex
	calls, total := 0, uint64(0)
	var tm *Timer
	tm = NewTimer(k.Monotonic(), func() {
		n := tm.Collect()
		mu.Lock()
		defer mu.Unlock()
		calls++
		total += n
	})
	begin := k.Monotonic().Now()
	tm.Set(Setting{Value: 1, Interval: 1}, false)
	time.Sleep(50 * time.Millisecond)
	tm.Stop()
	took := k.Monotonic().Now() - begin
	mu.Lock()
	defer mu.Unlock()
	if calls == 0 || int64(calls) > took/shortest+2 {
		t.Errorf("%d calls in %d ns", calls, took)
	}
	if total < 1e6 || int64(total) > took+1 {
		t.Errorf("%d expirations of 1 ns in %d ns", total, took)
	}
}

func TestSleeper(t *testing.T) {
	k := New(Config{})
	s := NewSleeper()
	for _, c := range []Clock{k.Monotonic(), k.Realtime(), k.Boottime()} {
		at := c.Now() + 3e6
		s.Set(c, at)
		<-s.C
		if now := c.Now(); now < at {
			t.Errorf("woke %d ns early", at-now)
		}
	}
	c := k.Monotonic()
	s.Set(c, 0)
	<-s.C
	s.Set(c, -5)
	<-s.C
	s.Set(c, c.Now()+1e6)
	s.Stop()
	s.Set(c, Forever)
	select {
	case <-s.C:
		t.Error("woken by a setting that was forgotten")
	case <-time.After(10 * time.Millisecond):
	}
	// A token that nobody took must not end the next sleep.
	s.Set(c, 0)
	time.Sleep(time.Millisecond)
	at := c.Now() + 5e6
	s.Set(c, at)
	<-s.C
	if now := c.Now(); now < at {
		t.Errorf("an old token woke %d ns early", at-now)
	}
}

func TestManySleepers(t *testing.T) {
	k := New(Config{})
	c := k.Monotonic()
	var wg sync.WaitGroup
	for i := range 5000 {
		s := NewSleeper()
		at := c.Now() + int64(i%10)*1e6
		s.Set(c, at)
		wg.Go(func() {
			<-s.C
			if c.Now() < at {
				t.Error("woke early")
			}
		})
	}
	wg.Wait()
}

func TestCPUClock(t *testing.T) {
	var c CPUClock
	rung := make(chan uint64, 10)
	var tm *Timer
	tm = NewTimer(&c, func() { rung <- tm.Collect() })
	if c.Due() != Forever {
		t.Errorf("an alarm is due in %d without one", c.Due())
	}
	tm.Set(Setting{Value: 100, Interval: 1e6}, false)
	c.Add(60)
	if c.Due() != 40 || c.Now() != 60 {
		t.Errorf("at %d, due in %d", c.Now(), c.Due())
	}
	c.Add(-5)
	c.Add(40)
	if n := <-rung; n != 1 {
		t.Errorf("%d expirations", n)
	}
	c.Add(3e6)
	if n := <-rung; n != 3 {
		t.Errorf("%d expirations, want 3", n)
	}
	tm.Stop()
	if c.Due() != Forever {
		t.Error("a stopped timer's alarm is still there")
	}
}
