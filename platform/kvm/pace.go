package kvm

import "time"

const (
	// lookAt is how many calls are looked at at a time.
	lookAt = 64
	// quickCall is how long a patched call may take on average, from one to the next, for staying awake to pay. An exit is most of it.
	quickCall = 250 * time.Microsecond
	// maxSlept is how many events of these may have come otherwise than as a call for staying awake to pay, or as one that was not seen in time;
	// maxLeft is how many may be calls of sites that are not patched, which have to leave guest code anyway.
	maxSlept = lookAt / 8
	maxLeft  = lookAt * 5 / 8

	minWait = 2 * time.Millisecond
	maxWait = 512 * time.Millisecond
)

// pace decides whether a context's thread stays awake while a runner has its processor. Contexts that call often try it, one for
// each two of the host's processors, and give it up for a while, longer each time, when calls do not come soon.
type pace struct {
	awake bool
	fails bool // it is not to be awake any more
	wish  bool // to try it before the next call
	calls int  // looked at now
	slept int
	left  int
	start time.Time
	wait  time.Duration // how long not to try again after the next failure
	until time.Time
}

// note says that a call came, or something else, and how.
func (p *pace) note(kind exitKind) {
	switch kind {
	case exitPassed:
	case exitSyscall:
		p.left++
	default:
		p.slept++
	}
	if p.awake && (p.slept > maxSlept || p.left > maxLeft) {
		p.wait = min(max(2*p.wait, minWait), maxWait)
		p.start = time.Now()
		p.until = p.start.Add(p.wait)
		p.fails = true
		return
	}
	if p.calls++; p.calls < lookAt {
		return
	}
	now := time.Now()
	took := now.Sub(p.start)
	p.start, p.calls, p.slept, p.left = now, 0, 0, 0
	switch {
	case p.awake:
		p.wait = max(p.wait/2, minWait)
	default:
		p.wish = !now.Before(p.until) && took < lookAt*quickCall
	}
}

// leave says that the context gives its processor up. It tells whether it was awake.
func (p *pace) leave() bool {
	was := p.awake
	p.awake, p.fails, p.wish, p.calls, p.slept, p.left = false, false, false, 0, 0, 0
	return was
}
