package ktime

import "golang.org/x/sys/unix"

// sample is one look at counter and host clocks at (nearly) one moment.
type sample struct {
	cycles           uint64
	mono, real, boot int64  // ns
	width            uint64 // cycles that the look took
}

// source is where samples come from.
type source interface {
	cycles() uint64
	// rough is cycles without waiting for what comes before.
	rough() uint64
	// monotonic, realtime and boottime read the host's clock, in ns.
	monotonic() int64
	realtime() int64
	boottime() int64
}

// host is the source of every real sandbox.
type host struct{}

func (host) cycles() uint64   { return readTSC() }
func (host) rough() uint64    { return roughTSC() }
func (host) monotonic() int64 { return hostClock(unix.CLOCK_MONOTONIC) }
func (host) realtime() int64  { return hostClock(unix.CLOCK_REALTIME) }
func (host) boottime() int64  { return hostClock(unix.CLOCK_BOOTTIME) }

func hostClock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// looks is how many looks a sample is the best of.
const looks = 5

// take returns the narrowest of a few looks.
func take(s source) sample {
	best := look(s)
	for range looks - 1 {
		if next := look(s); next.width < best.width {
			best = next
		}
	}
	best.real = best.mono + offset(s, s.realtime)
	best.boot = best.mono + offset(s, s.boottime)
	return best
}

func look(s source) sample {
	before := s.cycles()
	mono := s.monotonic()
	after := s.cycles()
	return sample{cycles: before + (after-before)/2, mono: mono, width: after - before}
}

// offset returns how far another clock is ahead of the monotonic one, from the narrowest
// of a few looks.
func offset(s source, other func() int64) int64 {
	var best, width int64
	for i := range looks {
		before := s.monotonic()
		v := other()
		after := s.monotonic()
		if w := after - before; i == 0 || w < width {
			best, width = v-(before+w/2), w
		}
	}
	return best
}
