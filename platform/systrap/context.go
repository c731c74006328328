package systrap

import (
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/pool"
	"gosentry/platform/internal/spin"

	"golang.org/x/sys/unix"
)

// context is a guest thread. All but the atomics belong to the goroutine that runs it.
type context struct {
	p  *Platform
	id uint64

	tr *pairs.Thread // the OS thread the goroutine is locked to; nil after Leave
	s  *seat

	pace    pace // how it hands over
	calls   patch.Calls
	retries int
	cuts    uint64 // Text.Replaced's

	called arch.Registers // at the patched call that came last
	fresh  bool           // nothing else has happened since
	same   bool           // nothing but its result was written since
	spin   uint32         // what the thread was told

	fpu   []byte
	stale bool  // s has newer state than fpu
	dirty bool  // fpu was written to
	home  *seat // the last one that had the state

	answers patch.Answers

	interrupted atomic.Bool
	held        atomic.Pointer[seat]                      // s, for others
	waiting     atomic.Pointer[pairs.Waiter[pairs.Split]] // for its turn apart
}

// Run implements platform.Context.
func (c *context) Run(a platform.AddressSpace, regs *arch.Registers) (platform.Event, error) {
	as, ok := a.(*addressSpace)
	if !ok {
		return platform.Event{}, unix.EINVAL
	}
	var patience blank.Patience
	for {
		if c.interrupted.Load() && c.interrupted.Swap(false) {
			return platform.Event{Kind: platform.Interrupted}, nil
		}
		if c.tr != nil && c.tr.Asked() {
			c.Leave()
		}
		if c.tr == nil {
			c.tr = c.p.pairs.Enter(c)
		}
		if c.tr.Settle(c, c.guest()) {
			c.pace.leave(c)
		}
		c.pace.try(c)
		if err := as.Begin(c); blank.Refused(err) {
			c.Leave() // others are to get on meanwhile
			if !patience.Wait(err) {
				return platform.Event{}, as.GiveUp(err)
			}
			continue
		} else if err != nil {
			return platform.Event{}, err
		}
		s := c.s
		ev, done, err := c.run(as, regs)
		as.Finish(s.proc, s, err)
		if done || err != nil {
			return ev, err
		}
	}
}

// Thread implements pool.Runner.
func (c *context) Thread() *pairs.Thread { return c.tr }

// Seat implements pool.Runner.
func (c *context) Seat() (*process, *seat) {
	if c.s == nil {
		return nil, nil
	}
	return c.s.proc, c.s
}

// Rank implements pool.Runner: one seat is as good as another but for the extended state that it may still have.
func (c *context) Rank(s *seat) int {
	if s.last == c {
		return pool.Own
	}
	return pool.Usable
}

// Sit implements pool.Runner.
func (c *context) Sit(_ *process, s *seat) error {
	c.s = s
	c.held.Store(s)
	return nil
}

// guest is the seat's place, nil if there is none.
func (c *context) guest() *pairs.Guest {
	if c.s == nil {
		return nil
	}
	return &c.s.Guest
}

// run loads the seat, has it run once and tells why it stopped. done is false when
// the kernel need not know.
func (c *context) run(as *addressSpace, regs *arch.Registers) (ev platform.Event, done bool, err error) {
	s := c.s
	if !runnable(regs) {
		return platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: siKernel}, true, nil
	}
	if stepping(regs) && as.text.Patched() {
		as.stopPatching()
		return ev, false, nil
	}
	s.turn()
	if c.interrupted.Load() {
		return ev, false, nil
	}
	c.load(as, s, regs) // last, so that the thread does not fetch a line of the area that is written to again
	if s.give() {
		s.wake()
	}
	if s.sent.Load() != 0 || s.kicked.Load() || c.interrupted.Load() || c.tr.Asked() {
		s.sent.Store(0) // it may have reached the thread before its turn did
		s.interrupt()
	}
	slept, err := c.await(s)
	if err != nil {
		return ev, true, c.died(err)
	}
	ev, done, err = c.decode(s, regs)
	c.pace.note(c, slept, ev.Kind == platform.Fault)
	if err != nil || !done {
		as.rewind(regs)
		return ev, done, err
	}
	return ev, c.consider(as, ev, regs), nil
}

// await waits until the thread has stopped, and tells whether the sentry slept.
func (c *context) await(s *seat) (slept bool, err error) {
	if spin.WhileClear(&s.state, stateSentry, c.pace.spin) {
		return false, nil
	}
	c.tr.Begin()
	defer c.tr.End()
	if c.pace.spin > 0 {
		if s.sleep(quantum) {
			return true, nil
		}
		c.pace.rest(c)
		defer c.pace.resume(c)
	}
	return s.await(0, &s.kicked)
}

// maxRetries bounds the faults in a row that are taken for those of patched calls.
const maxRetries = 8

// consider patches the site of a call that is made often. It returns false for a fault that patching brought about.
func (c *context) consider(as *addressSpace, ev platform.Event, regs *arch.Registers) bool {
	if ev.Kind == platform.Syscall {
		c.retries = 0
		if !c.s.live && c.calls.Count(as.text, regs.Rip) {
			as.patch(regs.Rip, regs.Rax)
		}
		return true
	}
	if as.answerCPUID(&c.cuts, ev, regs) {
		return false
	}
	as.rewind(regs)
	if c.retries < maxRetries && as.missed(ev) {
		c.retries++
		return false
	}
	return true
}

// plain tells whether all that became of the patched call is its result. Less is written then that the other
// processor has to fetch.
func (c *context) plain(as *addressSpace, s *seat, regs *arch.Registers) bool {
	if !c.fresh || !s.live || c.dirty || s.last != c || c.home != s || !as.text.Active() {
		return false
	}
	was := &c.called
	was.Rax, was.Rcx, was.R11, was.Orig_rax = regs.Rax, regs.Rip, regs.Eflags, regs.Orig_rax
	return *was == *regs && regs.Eflags&^flagsGuest&^flagsFixed == 0
}

// load writes what the thread is to run with.
func (c *context) load(as *addressSpace, s *seat, regs *arch.Registers) {
	c.answers.Show(&s.answers)
	s.tellTraps(as)
	c.same = c.plain(as, s, regs)
	c.fresh = false
	if c.same {
		s.message, s.rax = plainReturn|uint32(regs.Eflags)<<messageFlags, regs.Rax
		if spin := uint32(c.pace.spin); spin != c.spin {
			s.spin, c.spin = spin, spin
		}
		c.stale = true
		return
	}
	if s.last != c || c.home != s || c.dirty {
		c.save()
		s.loadFPU(c.fpu)
		s.last, c.home, c.dirty = c, s, false
		s.message = loadSegments
	} else {
		s.message = 0
	}
	c.stale = true
	s.restore = s.base() + s.fpu
	if s.live {
		s.restore = 0
	}
	c.spin = uint32(c.pace.spin)
	s.spin = c.spin
	s.setRegisters(regs, as.text.Active())
}

// save brings the extended state home.
func (c *context) save() {
	if c.stale {
		c.stale = false
		c.s.saveFPU(c.fpu, uint64(c.spin))
	}
}

// died says that the seat has ended.
func (c *context) died(err error) error {
	c.held.Store(nil)
	c.answers.Unshow(&c.s.answers)
	c.s.end()
	c.s.proc.Lose(c.s)
	c.s, c.home = nil, nil
	c.stale = false
	return &platform.Died{Reason: err.Error()}
}

// FPU implements platform.Context.
func (c *context) FPU() []byte {
	c.save()
	return c.fpu
}

// FPUChanged implements platform.Context.
func (c *context) FPUChanged() { c.dirty = true }

// Interrupt implements platform.Context.
func (c *context) Interrupt() {
	c.interrupted.Store(true)
	c.Kick()
}

// Kick implements pairs.Runner. It may hit a later stop, which then is one too many.
func (c *context) Kick() {
	if s := c.held.Load(); s != nil {
		s.Kick()
	}
	if w := c.waiting.Load(); w != nil {
		w.End()
	}
}

// Yield implements platform.Yielder.
func (c *context) Yield() { c.pace.yielded = true }

// Inside implements pairs.Runner.
func (c *context) Inside() *pairs.Guest {
	if s := c.held.Load(); s != nil {
		return &s.Guest
	}
	return nil
}

// SetAnswers implements platform.Answerer.
func (c *context) SetAnswers(list []platform.Answer) { c.answers.Set(list) }

// Leave implements platform.Context.
func (c *context) Leave() {
	if c.tr == nil {
		return
	}
	c.pace.leave(c)
	c.tr.Exit(c.guest())
	c.Drop()
	c.tr = nil
	c.p.pairs.Leave()
}

// Drop implements pool.Runner.
func (c *context) Drop() {
	if c.s == nil {
		return
	}
	c.save()
	c.answers.Unshow(&c.s.answers)
	c.held.Store(nil)
	s := c.s
	c.s = nil
	s.proc.Leave(s)
}

// Release implements platform.Context.
func (c *context) Release() {
	c.stale = false
	c.Leave()
}
