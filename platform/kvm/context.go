package kvm

import (
	"runtime"
	"sync"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"

	"golang.org/x/sys/unix"
)

// context is a guest thread. What no lock guards belongs to the goroutine that runs it.
type context struct {
	p *Platform
	v *vcpu // held; nil after Leave

	calls   patch.Calls
	retries int
	answers patch.Answers
	pass    passing

	interrupted atomic.Bool
	waiting     atomic.Pointer[pairs.Waiter[int]] // for its turn to be awake
	running     atomic.Pointer[vcpu]

	// fpuMu guards the extended state, which others bring home when they take the processor that has it.
	fpuMu sync.Mutex
	fpu   []byte
	home  *vcpu // has the state; nil: fpu has it
	known bool  // fpu has it too
}

// Run implements platform.Context.
func (c *context) Run(a platform.AddressSpace, regs *arch.Registers) (platform.Event, error) {
	as, ok := a.(*addressSpace)
	if !ok {
		return platform.Event{}, unix.EINVAL
	}
	sanitize(regs)
	for {
		if c.interrupted.Swap(false) {
			return platform.Event{Kind: platform.Interrupted}, nil
		}
		if c.v != nil && c.v.yield.Load() {
			c.Leave()
		}
		if !canonical(regs.Rip) {
			return protectionFault(), nil
		}
		if c.v == nil {
			if err := c.enter(); err != nil {
				return platform.Event{}, err
			}
		}
		if c.p.released.Load() {
			return platform.Event{}, &platform.Died{Reason: "the platform was released"}
		}
		if err := c.settlePace(as); err != nil {
			return platform.Event{}, err
		}
		if regs.Eflags&arch.FlagTF != 0 && as.text.Active() {
			as.stopPatching()
		}
		x, err := c.step(as, regs)
		if err != nil {
			return platform.Event{}, err
		}
		ev, done, err := c.decode(as, x, regs)
		if err != nil || done && c.consider(as, x, ev, regs) {
			return ev, err
		}
	}
}

// step enters the guest once. Afterwards regs are as the guest left them, with what a
// frame on the stub's stack says filled in.
func (c *context) step(as *addressSpace, regs *arch.Registers) (exit, error) {
	v := c.v
	if !c.answer(as, regs) {
		c.halt()
		if err := c.loadFPU(v); err != nil {
			return exit{}, err
		}
		root, err := as.begin(v)
		if err != nil {
			return exit{}, err
		}
		c.offer(as)
		v.load(regs, root)
	}
	c.known = false
	if v.runner != nil {
		return c.passOver(as, regs)
	}
	c.running.Store(v)
	e, ran := v.enter(c.wanted)
	c.running.Store(nil)
	as.finish(v)
	if !ran {
		return exit{kind: exitInterrupted}, nil
	}
	x := v.leave(e)
	v.gone(x, regs)
	if x.kind == exitPatched || x.kind == exitSyscall && c.p.ring0 {
		c.note(x.kind)
	}
	return x, nil
}

// gone stores the registers of a guest that left by x.
func (v *vcpu) gone(x exit, regs *arch.Registers) {
	switch x.kind {
	case exitSyscall:
		v.saveSyscall(regs)
	case exitPatched:
		v.save(regs)
		regs.Rip = regs.Rcx
	case exitVector:
		v.save(regs)
		regs.Rip, regs.Cs, regs.Eflags = x.frame.rip, x.frame.cs, x.frame.flags
		regs.Rsp, regs.Ss = x.frame.rsp, x.frame.ss
	case exitCompat:
		v.save(regs)
		regs.Rip, regs.Eflags, regs.Rsp = regs.Rcx, regs.R11, x.frame.rsp
		regs.Cs, regs.Ss = arch.UserCS32, arch.UserDS
	case exitInterrupted, exitNoPage:
		v.save(regs)
	case exitStray:
		v.save(regs)
		v.settle()
	}
}

// wanted tells whether anything speaks against entering the guest.
func (c *context) wanted() bool {
	return !c.interrupted.Load() && !c.v.stop.Load() && !c.v.yield.Load() && !c.p.released.Load()
}

// enter takes a processor and stays on its OS thread.
func (c *context) enter() error {
	p := c.p
	select {
	case p.slots <- struct{}{}:
	default:
		p.waiting.Add(1)
		p.turns()
		p.slots <- struct{}{}
		p.waiting.Add(-1)
	}
	runtime.LockOSThread()
	v, err := p.take(unix.Gettid())
	if err != nil {
		runtime.UnlockOSThread()
		<-p.slots
		return err
	}
	c.v = v
	return nil
}

// Leave implements platform.Context.
func (c *context) Leave() {
	if c.v == nil {
		return
	}
	c.halt()
	c.withdraw()
	c.p.put(c.v)
	c.v = nil
	if c.pass.pace.leave() {
		c.p.apart.Join()
		c.p.places.Give(c.pass.cpu)
	}
	runtime.UnlockOSThread()
	<-c.p.slots
}

// Release implements platform.Context.
func (c *context) Release() {
	c.Leave()
	c.fpuMu.Lock()
	c.home = nil
	c.fpuMu.Unlock()
}

// Interrupt implements platform.Context.
func (c *context) Interrupt() {
	c.interrupted.Store(true)
	if v := c.running.Load(); v != nil {
		v.kick()
	}
	if w := c.waiting.Load(); w != nil {
		w.End()
	}
}

// Yield implements platform.Yielder.
func (c *context) Yield() { c.pass.pace.yielded = true }

// loadFPU gives v the extended state, if it has another's.
func (c *context) loadFPU(v *vcpu) error {
	if o := v.owner; o != nil && o != c {
		o.fpuMu.Lock()
		if o.home == v {
			o.bring()
			o.home = nil
		}
		o.fpuMu.Unlock()
		v.owner = nil
	}
	c.fpuMu.Lock()
	defer c.fpuMu.Unlock()
	if c.home == v {
		return nil
	}
	c.bring()
	c.home = nil
	b := &v.xsave
	clear(b[copy(b[:], c.fpu):])
	arch.SanitizeFPU(b[:])
	c.p.limitFPU(b)
	if e := v.kvm.SetXSave(b); e != 0 {
		return e
	}
	v.owner, c.home, c.known = c, v, true
	return nil
}

// bring brings the extended state home, where it also stays where it is. fpuMu is held.
func (c *context) bring() {
	if c.home == nil || c.known || c.p.released.Load() {
		return
	}
	if c.home.kvm.GetXSave(&c.home.xsave) == 0 {
		copy(c.fpu, c.home.xsave[:])
		c.known = true
	}
}

// FPU implements platform.Context.
func (c *context) FPU() []byte {
	c.halt()
	c.fpuMu.Lock()
	defer c.fpuMu.Unlock()
	c.bring()
	return c.fpu
}

// FPUChanged implements platform.Context.
func (c *context) FPUChanged() {
	c.fpuMu.Lock()
	c.home = nil
	c.fpuMu.Unlock()
}
