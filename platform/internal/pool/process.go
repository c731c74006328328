package pool

import (
	"errors"
	"slices"
	"sync"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/changes"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// Seat is a guest thread of a blank process as the platform knows it. It belongs to the context that holds it, or is idle.
type Seat interface {
	comparable
	// Kick brings the thread out of guest code. It may do so once too often.
	Kick()
	// Place is the thread's place.
	Place() *pairs.Guest
}

// Process is a blank process with its seats.
type Process[S Seat] struct {
	*blank.Process
	pool *Pool[S]

	// Guarded by the lock of the space that has the process.
	leaderCPU int // where the leader is pinned
	inside    []S // seats in guest code

	// Guarded by Pool.mu.
	leftLately bool // it was left since tidy came by

	mu     sync.Mutex
	idle   []S // not held by a context
	held   int // seats that are, and those being made
	out    []S // held by a context
	doomed bool
	killed bool
	unused bool
	mapped uint64          // bytes that the space had mapped there that has left it
	layout *changes.Layout // the same, exactly; nil: not known, as in all that no space has left
	more   bool            // something else is mapped there, too
	ended  chan struct{}   // closed when nothing of it is left
	after  []func()        // to be called when nothing is mapped that only the last space had
}

// pin has the leader run on processor cpu, or with pairs.AnyCPU on any. The lock of the space is held, or there is none.
func (p *Process[S]) pin(cpu int) {
	if p.leaderCPU != cpu {
		p.Pin(p.pool.Pairs.Mask(cpu))
		p.leaderCPU = cpu
	}
}

// LeaderCPU is where the leader is pinned, and what it makes from now on. The lock of the space is held, or there is none.
func (p *Process[S]) LeaderCPU() int { return p.leaderCPU }

// take returns the idle seat that r ranks highest, or a new one.
func (p *Process[S]) take(r Runner[S]) (S, error) {
	p.mu.Lock()
	if p.killed {
		p.mu.Unlock()
		var none S
		return none, blank.ErrDead
	}
	best, rank := p.bestLocked(r.Rank)
	p.held++
	if rank > 0 {
		s := p.idle[best]
		p.idle = slices.Delete(p.idle, best, best+1)
		p.out = append(p.out, s)
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	s, err := p.pool.Spawn(p)
	if err != nil {
		p.Lose(s)
		return s, err
	}
	p.mu.Lock()
	p.out = append(p.out, s)
	p.mu.Unlock()
	return s, nil
}

// halt has no seat run guest code any more. No context is inside.
func (p *Process[S]) halt() {
	if p.pool.Halt == nil {
		return
	}
	p.mu.Lock()
	killed := p.killed
	if !killed {
		p.pool.Halt(append(slices.Clip(p.idle), p.out...))
	}
	p.mu.Unlock()
	if killed {
		<-p.ended
	}
}

// bestLocked is the index of the idle seat that ranks highest, and its rank; 0 if none will do.
func (p *Process[S]) bestLocked(rank func(S) int) (best, highest int) {
	for i, s := range p.idle {
		if n := rank(s); n > 0 && n >= highest {
			best, highest = i, n
		}
	}
	return best, highest
}

// highest is the rank of the best idle seat.
func (p *Process[S]) highest(rank func(S) int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, highest := p.bestLocked(rank)
	return highest
}

// Idle takes all idle seats away from p, whose seats are not in use.
func (p *Process[S]) Idle() []S {
	p.mu.Lock()
	defer p.mu.Unlock()
	seats := p.idle
	p.idle = nil
	return seats
}

// Keep adds idle seats.
func (p *Process[S]) Keep(seats ...S) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, seats...)
}

// idleNow tells whether no context holds a seat.
func (p *Process[S]) idleNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held == 0
}

// Leave takes a seat back from a context.
func (p *Process[S]) Leave(s S) {
	p.mu.Lock()
	p.giveBack(s)
	p.idle = append(p.idle, s)
	if p.finish() {
		go p.end()
	}
}

// Lose says that a held seat has ended, or that there is none after all.
func (p *Process[S]) Lose(s S) {
	p.mu.Lock()
	p.giveBack(s)
	if p.finish() {
		go p.end()
	}
}

// giveBack says that no context holds s. mu is held.
func (p *Process[S]) giveBack(s S) {
	p.held--
	p.out = slices.DeleteFunc(p.out, func(o S) bool { return o == s })
}

// doom kills p as soon as no context holds a seat of it.
func (p *Process[S]) doom() {
	p.mu.Lock()
	p.doomed = true
	if p.finish() {
		p.end()
	}
}

// disuse has p, where so many bytes are mapped, as l says if that is known, retired as soon as no context holds a seat of it.
func (p *Process[S]) disuse(mapped uint64, l *changes.Layout) {
	p.mu.Lock()
	p.unused, p.mapped, p.layout = true, mapped, l
	if p.finish() {
		p.end()
	}
}

// finish retires p if it is time to, tells whether it is time to end it, and unlocks mu.
func (p *Process[S]) finish() (end bool) {
	end = p.doomed && p.held == 0 && !p.killed
	p.killed = p.killed || end
	retire := p.unused && p.held == 0 && !p.doomed
	leave := leaves(p.mapped, p.layoutLocked())
	if retire {
		p.unused = false
	}
	p.mu.Unlock()
	if retire {
		p.pool.retire(p, leave)
	}
	return end
}

// end kills p.
func (p *Process[S]) end() {
	if p.pool.End != nil {
		for _, s := range p.Idle() {
			p.pool.End(s)
		}
	}
	p.Kill()
	close(p.ended)
	p.emptied()
}

// clean makes p as good as new.
func (p *Process[S]) clean() error {
	p.takeLayout()
	c, err := p.pool.Clean(p)
	if err != nil {
		return err
	}
	return p.cleaned(c.All, p.Do(c.All), c.Done)
}

// fill makes p as good as new and has the leader carry out what is pending in q by the same order; what is mapped already as q wants it stays.
// refused tells whether the host refuses a part of that, as forget is told, too. An error when p is not to be used any more.
func (p *Process[S]) fill(q *changes.Queue, forget func()) (refused bool, err error) {
	had := p.takeLayout()
	c, err := p.pool.Clean(p)
	if err != nil {
		return false, err
	}
	unmap, list := c.All, q.Pending()
	since, kept := q.Since(had, p.pool.High)
	if kept = kept && len(c.Rest)+len(since) < len(unmap)+len(list); kept {
		unmap, list = c.Rest, since
	}
	forgot := false
	if err = p.CarryOutAfter(unmap, list, q, func() { forgot = true; forget() }); len(unmap)+len(list) == 0 && p.Dead() {
		err = blank.ErrDead
	}
	if _, refused = err.(unix.Errno); refused {
		err = nil
	}
	if kept && forgot {
		err = errRemains
	}
	if err = p.cleaned(unmap, err, c.Done); err != nil {
		forget() // part of it may have been carried out
	}
	return refused, err
}

// errRemains is the error of fill when the host may not have unmapped all that is beyond High.
var errRemains = errors.New("something may still be mapped")

// cost tells how dear it is to have p mapped as q wants it, in calls of the host's, as long as it is less than most.
func (p *Process[S]) cost(q *changes.Queue, most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := q.Distance(p.layoutLocked(), unmappedByCall, most); ok {
		return n
	}
	return q.Len() + int(p.mapped/unmappedByCall)
}

// layoutLocked is what is mapped in p, nil if that is not known. mu is held.
func (p *Process[S]) layoutLocked() *changes.Layout {
	if p.more {
		return nil
	}
	return p.layout
}

// takeLayout returns what is mapped in p, all of it, nil if that is not known, since p is about to be used again.
func (p *Process[S]) takeLayout() *changes.Layout {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.layoutLocked()
	p.mapped, p.layout, p.more = 0, nil, false
	return l
}

// doubt says that more may be mapped in p than its space knows.
func (p *Process[S]) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = true
}

// cleaned ends what Clean began; err is how its calls ended.
func (p *Process[S]) cleaned(unmap []blank.Call, err error, done func() error) error {
	p.mu.Lock()
	more := p.more
	p.mu.Unlock()
	after := done()
	for _, c := range unmap {
		if err == nil && c.Errno != 0 {
			err = c.Errno
		}
	}
	if err == nil {
		err = after
	}
	if err == nil {
		p.mu.Lock()
		p.more = more // what done has said is unmapped, too
		p.mu.Unlock()
		p.emptied()
	}
	return err
}

// Afterwards has f called when everything is unmapped, or nothing runs there any more.
func (p *Process[S]) Afterwards(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after, p.more = append(p.after, f), true
}

// afterSpace is Afterwards for what the changes of its space have mapped.
func (p *Process[S]) afterSpace(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = append(p.after, f)
}

// emptied says that nothing is mapped that only the last space had.
func (p *Process[S]) emptied() {
	p.mu.Lock()
	after := p.after
	p.after = nil
	p.mu.Unlock()
	for _, f := range after {
		f()
	}
}
