package systrap

import (
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// context is a guest thread. All but the atomics belong to the goroutine that runs it.
type context struct {
	p  *Platform
	id uint64

	slot bool  // it holds one
	s    *seat // nil after Leave

	fpu   []byte
	stale bool  // s has newer state than fpu
	dirty bool  // fpu was written to
	home  *seat // the last one that had the state

	interrupted atomic.Bool
	yield       atomic.Bool          // the monitor asks it to make room for another one
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
		if c.yield.Load() {
			c.Leave()
		}
		if !c.slot {
			c.enter()
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

// enter waits for a turn.
func (c *context) enter() {
	p := c.p
	select {
	case p.slots <- struct{}{}:
	default:
		p.waiting.Add(1)
		p.monitor()
		p.slots <- struct{}{}
		p.waiting.Add(-1)
	}
	c.slot = true
	c.yield.Store(false)
	p.mu.Lock()
	p.running[c] = struct{}{}
	p.mu.Unlock()
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
	if s.give() {
		s.wake()
	}
	// A kick may have come before the thread's turn did.
	if c.interrupted.Load() || c.yield.Load() {
		s.kick()
	}
	err = s.await(c.patience(), &c.interrupted)
	c.running.Store(nil)
	if err != nil {
		return ev, true, c.died(err)
	}
	return c.decode(s, regs)
}

// patience is for how many cycles to wait without sleeping.
func (c *context) patience() uint64 {
	if c.p.allCPUs.Count() == 1 {
		return 0
	}
	return 40000
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
	s.spin = uint32(c.patience())
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
	if s := c.running.Load(); s != nil {
		s.kick()
	}
}

// Leave implements platform.Context.
func (c *context) Leave() {
	c.drop()
	if !c.slot {
		return
	}
	p := c.p
	c.slot = false
	p.mu.Lock()
	delete(p.running, c)
	p.mu.Unlock()
	<-p.slots
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
