package ktime

import (
	"sync"
	"sync/atomic"
)

// CPUClock is the processor time of a task or a thread group. The kernel adds
// what was used, with Add, at each switch; it must do so at the time that Due
// tells at the latest, so that alarms are on time. The zero value stands at 0.
type CPUClock struct {
	now atomic.Int64
	// next is when the first alarm is due, plus one; 0 when none is set. It is
	// written under mu.
	next atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	alarms map[*cpuAlarm]int64
}

// Now returns the processor time used, in ns, as far as it was added.
func (c *CPUClock) Now() int64 { return c.now.Load() }

// Add counts ns more, and calls the alarms that are due, each on a goroutine of
// its own.
func (c *CPUClock) Add(ns int64) {
	if ns <= 0 {
		return
	}
	now := c.now.Add(ns)
	if next := c.next.Load(); next != 0 && next-1 <= now {
		c.ring()
	}
}

func (c *CPUClock) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now.Load()
	for a, at := range c.alarms {
		if at <= now {
			delete(c.alarms, a)
			go a.f()
		}
	}
	c.sort()
}

// sort finds the first alarm. mu is held.
func (c *CPUClock) sort() {
	if len(c.alarms) == 0 {
		c.next.Store(0)
		return
	}
	first := int64(Forever - 1)
	for _, at := range c.alarms {
		first = min(first, at)
	}
	c.next.Store(first + 1)
}

// Armed tells whether an alarm is set.
func (c *CPUClock) Armed() bool { return c.next.Load() != 0 }

// Due returns how many ns of processor time are left until the next alarm,
// Forever when none is set.
func (c *CPUClock) Due() int64 {
	next := c.next.Load()
	if next == 0 {
		return Forever
	}
	return max(next-1-c.now.Load(), 0)
}

// NewAlarm returns an alarm that is not set.
func (c *CPUClock) NewAlarm(f func()) Alarm { return &cpuAlarm{clock: c, f: f} }

type cpuAlarm struct {
	clock *CPUClock
	f     func()
}

// Set puts the alarm on the clock's list.
func (a *cpuAlarm) Set(at int64) {
	c := a.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alarms == nil {
		c.alarms = make(map[*cpuAlarm]int64)
	}
	at = min(max(at, 0), Forever-1)
	old, set := c.alarms[a]
	c.alarms[a] = at
	switch next := c.next.Load(); {
	case set && old+1 == next:
		c.sort()
	case next == 0 || at+1 < next:
		c.next.Store(at + 1)
	}
	// The clock may have passed the time before the alarm was on the list.
	if at <= c.now.Load() {
		delete(c.alarms, a)
		c.sort()
		go a.f()
	}
}

// Stop takes the alarm off the list.
func (a *cpuAlarm) Stop() {
	c := a.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, set := c.alarms[a]; set {
		delete(c.alarms, a)
		if at+1 == c.next.Load() {
			c.sort()
		}
	}
}
