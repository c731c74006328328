package ktime

import "time"

// Clock is a clock that can be read and waited on.
type Clock interface {
	// Now returns the time in ns.
	Now() int64
	// NewAlarm returns an alarm that is not set. f is called on a goroutine of its
	// own, with no locks held, when the clock may have reached the time set: it
	// must look at the clock itself.
	NewAlarm(f func()) Alarm
}

// Alarm calls a function when its clock reaches a time, once.
type Alarm interface {
	// Set makes at, in ns of the clock, the time; an earlier setting is
	// forgotten. A time that has passed calls at once.
	Set(at int64)
	// Stop forgets the setting. A call may still be under way.
	Stop()
}

// wallClock is one of the three clocks of Clocks.
type wallClock struct {
	clocks *Clocks
	which  which
}

// Monotonic returns CLOCK_MONOTONIC, also for CLOCK_MONOTONIC_RAW and
// CLOCK_MONOTONIC_COARSE.
func (k *Clocks) Monotonic() Clock { return wallClock{k, monotonic} }

// Realtime returns CLOCK_REALTIME, also for CLOCK_REALTIME_COARSE and CLOCK_TAI.
// A sleep on it that the host's clock is set forward past ends late.
func (k *Clocks) Realtime() Clock { return wallClock{k, realtime} }

// Boottime returns CLOCK_BOOTTIME.
func (k *Clocks) Boottime() Clock { return wallClock{k, boottime} }

// Now returns the time in ns.
func (c wallClock) Now() int64 { return c.clocks.read(c.which) }

// NewAlarm returns an alarm on the runtime's timers.
func (c wallClock) NewAlarm(f func()) Alarm { return &wallAlarm{clock: c, f: f} }

// wallAlarm is an alarm of a wallClock. Its owner does not call it from two
// goroutines at once.
type wallAlarm struct {
	clock wallClock
	f     func()
	timer *time.Timer
}

// Set starts the runtime's timer.
func (a *wallAlarm) Set(at int64) {
	d := time.Duration(max(max(at, 0)-a.clock.Now(), 0))
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.f)
		return
	}
	a.timer.Reset(d)
}

// Stop stops it.
func (a *wallAlarm) Stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
