package systrap

import (
	"time"

	"gosentry/platform/internal/pairs"
)

const (
	// spinCycles is how long a side spins that is apart from the other: some 20 µs, about what sleeping and being woken on another
	// processor costs.
	spinCycles = 40_000
	// window is how many calls are looked at at a time.
	window = 64
	// quickCall is how long a call may take on average, from one entry of guest code to the next, for moving apart to pay.
	quickCall = 40 * time.Microsecond
	// maxPoor is how many of a window may have slept, or be faults, for being apart to pay.
	maxPoor = window / 8
	// minGood is how many windows in a row must be such that it would have paid: a program that has just been executed, or is about to be, often
	// makes a hundred calls and no more, and to move a thread there and back takes as long as twenty.
	minGood = 4

	minWait = 2 * time.Millisecond
	maxWait = 512 * time.Millisecond

	// busyCall is how long a call may take side by side for waiting to move apart to pay.
	busyCall = 15 * time.Microsecond
	// quantum is how long a context may stay apart while others wait for that, yieldQuantum if it yields meanwhile. A change of
	// turns costs some 80 µs.
	quantum      = 3 * time.Millisecond
	yieldQuantum = quantum / 6
	// patience is how long a context waits for each turn before its own.
	patience = 2 * quantum
)

// pace decides how a context and its thread hand over. Side by side on one processor each sleeps while the other
// runs, which costs two switches a call, on a busy host too. Apart, on two processors, both stay awake and pass the call over shared
// memory; that is several times faster where nobody else wants the second processor, and wasteful otherwise. Faults gain nothing by it: what
// takes long there is the host's signal, and the leader, who maps something. So contexts that call often
// try it, one for each two processors, and give it up for a while, longer each time, when the other side does not answer soon. Contexts that
// do little but call take turns at it: one after the other they get more done than beside each other. Who waits for a turn does nothing
// meanwhile, since that would cost those that have theirs more than it were worth. So turns are short, shorter still for
// a context that yields, which may well wait for what another one does; and who sleeps for long while its guest computes has no place
// until that is over.
type pace struct {
	spin    uint64 // cycles; 0 when side by side
	calls   int    // in this window
	poor    int    // of those that slept, or were faults
	yielded bool   // in this window
	good    int    // windows in a row, the last one among them, in which being apart would have paid
	start   time.Time
	wait    time.Duration // how long to stay side by side after the next failure
	until   time.Time
	wish    wish
	since   time.Time // when it moved apart
}

// wish is what is to be tried before the next call.
type wish int

const (
	wishNone  wish = iota
	wishApart      // to move apart if there is room now
	wishTurn       // to wait for room
)

// note says that the guest came out, whether by a fault, and whether the sentry slept until then.
func (p *pace) note(c *context, slept, fault bool) {
	if fault || slept && p.spin > 0 {
		p.poor++
	}
	if p.spin > 0 && p.poor > maxPoor {
		p.fail(c)
		return
	}
	if p.calls++; p.calls < window {
		return
	}
	now := time.Now()
	took := now.Sub(p.start)
	turnOver := c.p.turns.Queued() > 0 && now.Sub(p.since) > p.turn()
	if p.good++; p.poor > maxPoor || took >= window*quickCall {
		p.good = 0
	}
	p.start, p.calls, p.poor, p.yielded = now, 0, 0, false
	switch {
	case p.spin > 0 && turnOver:
		p.leave(c)
		p.wish = wishTurn
	case p.spin > 0:
		p.wait = max(p.wait/2, minWait)
	case now.Before(p.until) || p.good < minGood:
	case took < window*busyCall:
		p.wish = wishTurn
	default:
		p.wish = wishApart
	}
}

// turn is how long the turn is of a context that others wait for.
func (p *pace) turn() time.Duration {
	if p.yielded {
		return yieldQuantum
	}
	return quantum
}

// try moves the sides apart if that is wished and there is room, or soon is. A thread whose turn is over stays where it is until
// the next one.
func (p *pace) try(c *context) {
	w := p.wish
	if w == wishNone {
		return
	}
	p.wish = wishNone
	at, ok := pairs.AnySplit(), false
	switch w {
	case wishApart:
		ok = c.p.turns.Take()
	case wishTurn:
		at, ok = c.queue()
		c.tr.Settle(c, c.guest()) // the monitor may have come by
	}
	if ok && !c.tr.Apart(at) {
		c.p.turns.Give(pairs.AnySplit())
		ok = false
	}
	if !ok {
		c.tr.Together()
		return
	}
	p.spin, p.since = spinCycles, time.Now()
	p.start = p.since
}

// queue waits for a turn apart, and tells whether and where there is one.
func (c *context) queue() (at pairs.Split, ok bool) {
	w := pairs.NewWaiter[pairs.Split]()
	c.waiting.Store(w)
	defer c.waiting.Store(nil)
	if c.interrupted.Load() || c.tr.Asked() {
		return at, false
	}
	return c.p.turns.Wait(w, patience)
}

// rest lets others have the place apart while the sentry sleeps for long.
func (p *pace) rest(c *context) { c.p.turns.Give(c.tr.Split()) }

// resume undoes rest. If the place is taken the sides come together.
func (p *pace) resume(c *context) {
	if !c.p.turns.Take() {
		p.spin, p.calls, p.poor = 0, 0, 0
		p.start = time.Now()
		c.tr.Together()
	}
}

// fail brings the sides together for a while.
func (p *pace) fail(c *context) {
	p.leave(c)
	c.tr.Together()
	p.wait = min(max(2*p.wait, minWait), maxWait)
	p.start = time.Now()
	p.until = p.start.Add(p.wait)
}

// leave says that the context gives its thread up, or its place apart.
func (p *pace) leave(c *context) {
	if p.spin > 0 {
		p.spin = 0
		c.p.turns.Give(c.tr.Split())
	}
	p.calls, p.poor = 0, 0
}
