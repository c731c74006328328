package ktime

import "sync"

// CPUClock is the processor time of a task or a thread group. The kernel adds
// what was used, with Add, at each switch; it must do so at the time that Due
// tells at the latest, so that alarms are on time. The zero value stands at 0.
type CPUClock struct {
	mu sync.Mutex
	// Guarded by mu.
	now    int64
	alarms map[*cpuAlarm]int64
}

// Now returns the processor time used, in ns, as far as it was added.
func (c *CPUClock) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add counts ns more, and calls the alarms that are due, each on a goroutine of
// its own.
func (c *CPUClock) Add(ns int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = saturatingAdd(c.now, max(ns, 0))
	for a, at := range c.alarms {
		if at <= c.now {
			delete(c.alarms, a)
			go a.f()
		}
	}
}

// Due returns how many ns of processor time are left until the next alarm,
// Forever when none is set.
func (c *CPUClock) Due() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := int64(Forever)
	for _, at := range c.alarms {
		left = min(left, at-c.now)
	}
	return max(left, 0)
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
	if at <= c.now {
		delete(c.alarms, a)
		go a.f()
		return
	}
	if c.alarms == nil {
		c.alarms = make(map[*cpuAlarm]int64)
	}
	c.alarms[a] = at
}

// Stop takes the alarm off the list.
func (a *cpuAlarm) Stop() {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	delete(a.clock.alarms, a)
}
