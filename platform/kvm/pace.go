package kvm

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAt is how many calls are looked at at a time, firstLook how many before a context's thread first stays awake: a
	// process that is about to execute a program makes some hundred.
	lookAt    = 64
	firstLook = 16
	// quickCall is how long a patched call may take on average, from one to the next, for staying awake to pay. An exit is most of it.
	quickCall = 250 * time.Microsecond
	// busyCall is how much processor time it may take for waiting to stay awake to pay.
	busyCall = 80 * time.Microsecond
	// quickExits and busyExits are these two where ring 0 is real, as numbers of calls that leave the machine. The probe's is the cheapest such call.
	quickExits = 6
	busyExits  = 3
	// maxSlept is the share of events that may have come otherwise than as a call for staying awake to pay, or as one that was not seen in time;
	// maxLeft is the share that may be calls of sites that are not patched, which have to leave guest code anyway.
	maxSlept = lookAt / 8
	maxLeft  = lookAt * 5 / 8

	minWait = 2 * time.Millisecond
	maxWait = 512 * time.Millisecond

	// quantum is how long a context may stay awake while others wait for that, yieldQuantum if it yields meanwhile.
	quantum      = 3 * time.Millisecond
	yieldQuantum = quantum / 6
	// patience is how long a context waits for each turn before its own.
	patience = 2 * quantum
)

// pace decides whether a context's thread stays awake while a runner has its processor. Contexts that call often try it, one for
// each two of the host's processors, and give it up for a while, longer each time, when calls do not come soon. Contexts that do little but
// call take turns at it, and who waits for a turn does nothing meanwhile: exits beside one that is awake would cost that more than they get done.
type pace struct {
	quick   time.Duration // quickCall, or what is in its place
	busy    time.Duration // busyCall, likewise
	awake   bool
	next    step // before the next call
	calls   int  // looked at now
	slept   int
	left    int
	yielded bool
	start   time.Time
	used    time.Duration // of the thread's processor time at the start
	since   time.Time     // when it became awake
	wait    time.Duration // how long not to try again after the next failure
	until   time.Time
}

// step is what a pace wants done.
type step int

const (
	stepNone  step = iota
	stepAwake      // stay awake from now on, if there is room
	stepTurn       // wait for room, and stay awake
	stepSleep      // stay awake no more
	stepYield      // the same, but for the next turn
)

// note says that a call came, or something else, and how. others is how many contexts wait for their turn.
func (p *pace) note(kind exitKind, others int) {
	switch kind {
	case exitPassed:
	case exitSyscall:
		p.left++
	default:
		p.slept++
	}
	if p.awake && (p.slept > maxSlept || p.left > maxLeft) {
		p.fail()
		p.next = stepSleep
		return
	}
	if p.calls++; p.calls == 1 && !p.awake {
		p.start, p.used = time.Now(), threadTime()
	}
	switch {
	case p.awake && p.calls == lookAt:
		p.stay(others)
	case !p.awake && p.calls == firstLook:
		p.wish()
	default:
		return
	}
	p.calls, p.slept, p.left, p.yielded = 0, 0, 0, false
}

// stay decides whether a context that is awake remains so.
func (p *pace) stay(others int) {
	p.wait = max(p.wait/2, minWait)
	turn := quantum
	if p.yielded {
		turn = yieldQuantum
	}
	if others > 0 && time.Since(p.since) > turn {
		p.next = stepYield
	}
}

// wish decides whether a context tries to be awake.
func (p *pace) wish() {
	switch now := time.Now(); {
	case now.Before(p.until):
	case threadTime()-p.used < firstLook*p.busy:
		p.next = stepTurn
	case now.Sub(p.start) < firstLook*p.quick:
		p.next = stepAwake
	}
}

// fail says that to be awake did not pay, or that there was no room.
func (p *pace) fail() {
	p.wait = min(max(2*p.wait, minWait), maxWait)
	p.until = time.Now().Add(p.wait)
}

// leave says that the context gives its processor up. It tells whether it was awake.
func (p *pace) leave() bool {
	was := p.awake
	*p = pace{quick: p.quick, busy: p.busy, wait: p.wait, until: p.until}
	return was
}

// threadTime is the processor time that the calling thread has used.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
