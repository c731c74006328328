package systrap

import (
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// context is a guest thread. All but the atomics belong to the goroutine that runs it.
type context struct {
	p  *Platform
	id uint64

	tr *pairs.Thread // the OS thread the goroutine is locked to; nil after Leave
	s  *seat

	pace pace // how it hands over

	fpu   []byte
	stale bool  // s has newer state than fpu
	dirty bool  // fpu was written to
	home  *seat // the last one that had the state

	interrupted atomic.Bool
	running     atomic.Pointer[seat] // in guest code, or about to be
}

// Run implements platform.Context.
func (c *context) Run(a platform.AddressSpace, regs *arch.Registers) (platform.Event, error) {
	as, ok := a.(*addressSpace)
	if !ok {
		return platform.Event{}, unix.EINVAL
	}
	for {
		if c.interrupted.Swap(false) {
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
		if err := as.begin(c); err != nil {
			return platform.Event{}, err
		}
		s := c.s
		ev, done, err := c.run(regs)
		as.finish(s, err)
		if done || err != nil {
			return ev, err
		}
	}
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
func (c *context) run(regs *arch.Registers) (ev platform.Event, done bool, err error) {
	s := c.s
	if !runnable(regs) {
		return platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: siKernel}, true, nil
	}
	c.load(s, regs)
	c.running.Store(s)
	if c.interrupted.Load() {
		c.running.Store(nil)
		return ev, false, nil
	}
	c.tr.Begin()
	if s.give() {
		s.wake()
	}
	// A kick may have come before the thread's turn did.
	if c.interrupted.Load() || c.tr.Asked() {
		s.kick()
	}
	slept, err := s.await(c.pace.spin, &c.interrupted)
	c.tr.End()
	c.running.Store(nil)
	if err != nil {
		return ev, true, c.died(err)
	}
	c.pace.note(c, slept)
	return c.decode(s, regs)
}

// load writes what the thread is to run with.
func (c *context) load(s *seat, regs *arch.Registers) {
	if s.last != c || c.home != s || c.dirty {
		c.save()
		s.loadFPU(c.fpu)
		s.last, c.home, c.dirty = c, s, false
		s.flags = loadSegments
	} else {
		s.flags = 0
	}
	c.stale = true
	s.restore = s.base() + s.fpu
	s.spin = uint32(c.pace.spin)
	s.setRegisters(regs)
}

// save brings the extended state home.
func (c *context) save() {
	if c.stale {
		c.stale = false
		c.s.saveFPU(c.fpu)
	}
}

// died says that the seat has ended.
func (c *context) died(err error) error {
	c.s.proc.lose(c.s)
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
	if s := c.running.Load(); s != nil {
		s.kick()
	}
}

// Inside implements pairs.Runner.
func (c *context) Inside() *pairs.Guest {
	if s := c.running.Load(); s != nil {
		return &s.Guest
	}
	return nil
}

// Leave implements platform.Context.
func (c *context) Leave() {
	if c.tr == nil {
		return
	}
	c.pace.leave(c)
	c.tr.Exit(c.guest())
	c.drop()
	c.tr = nil
	c.p.pairs.Leave()
}

// drop lets the seat go.
func (c *context) drop() {
	if c.s == nil {
		return
	}
	c.save()
	s := c.s
	c.s = nil
	s.proc.leave(s)
}

// Release implements platform.Context.
func (c *context) Release() {
	c.stale = false
	c.Leave()
}
