package kvm

import (
	"sync/atomic"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/spin"
)

const (
	// spinCycles is how long a thread of the sentry waits without sleeping: some 50 us, less than an exit costs where ring 0 is emulated.
	spinCycles = 100_000
	// enterCycles is how long it waits where the guest has yet to be entered.
	enterCycles = 4 * spinCycles
	// looks is how often a guest looks for its result before it leaves.
	looks = 1000
)

// passing is how a context has calls passed over in shared memory.
type passing struct {
	pace   pace
	cpu    int            // of the host, where the thread stays awake
	called arch.Registers // at the call that was passed over last
	in     *addressSpace  // there
	taken  bool           // the processor waits for its result
	gave   bool           // the result has been given, and nothing has happened since
}

// settlePace moves c to a processor with a runner, or back to one of its own, if that is due.
func (c *context) settlePace(as *addressSpace) error {
	active := as.passes()
	next := c.pass.pace.next
	c.pass.pace.next = stepNone
	if c.v.runner != nil {
		if active && next == stepNone {
			return nil
		}
		c.Leave()
		if err := c.enter(); err != nil {
			return err
		}
		if next == stepYield {
			next = stepTurn
		}
	}
	if !active || c.p.places == nil {
		return nil
	}
	switch next {
	case stepAwake:
		if c.p.places.Take() {
			c.stayAwake(pairs.AnyCPU)
		}
	case stepTurn:
		if cpu, ok := c.queue(); ok {
			c.stayAwake(cpu)
		} else {
			c.pass.pace.fail()
		}
	}
	return nil
}

// queue waits for c's turn to be awake, and tells whether and on which of the host's processors that is.
func (c *context) queue() (cpu int, ok bool) {
	w := pairs.NewWaiter[int]()
	c.waiting.Store(w)
	defer c.waiting.Store(nil)
	if c.interrupted.Load() || c.p.released.Load() {
		return 0, false
	}
	return c.p.places.Wait(w, patience)
}

// stayAwake moves c, which has a place, to a processor with a runner. Its thread goes to that of the host's.
func (c *context) stayAwake(cpu int) {
	v, err := c.p.takeAwake()
	if err != nil {
		c.p.places.Give(cpu)
		return
	}
	c.pass.cpu = c.p.apart.Part(int(v.tid.Load()), cpu)
	c.withdraw()
	c.p.put(c.v)
	c.v = v
	c.pass.pace.awake, c.pass.pace.since = true, time.Now()
}

// passes tells whether calls may be passed over.
func (as *addressSpace) passes() bool { return as.p.ring0 || as.text.Active() }

// note tells the pace of an event. In ring 0 each call can be passed over, as only patched ones can elsewhere.
func (c *context) note(kind exitKind) {
	if kind == exitSyscall && c.p.ring0 {
		kind = exitPatched
	}
	c.pass.pace.note(kind, c.p.queued())
}

// answer gives c's processor, which waits in the guest, the result of its call if that is all that is to change.
func (c *context) answer(as *addressSpace, regs *arch.Registers) bool {
	s := &c.pass
	taken := s.taken
	s.taken, s.gave = false, false
	if !taken || s.in != as || c.home != c.v || !as.passes() {
		return false
	}
	was := s.called
	was.Rax, was.Rcx, was.R11, was.Orig_rax = regs.Rax, regs.Rip, regs.Eflags, regs.Orig_rax
	if was != *regs {
		return false
	}
	c.offer(as)
	a := c.v.calls
	if a == nil {
		return false
	}
	a.result = regs.Rax
	s.gave = a.move(areaTaken, areaAnswered)
	return s.gave
}

// halt brings c's processor, if it waits in the guest for a result, out of there. Its registers are not wanted any more.
func (c *context) halt() {
	v := c.v
	c.pass.taken, c.pass.gave = false, false
	if v == nil || v.runner == nil || !v.runner.in() {
		return
	}
	v.stop.Store(true)
	v.kick()
	v.runner.wait()
	if !v.runner.ran {
		return
	}
	switch x := v.leave(v.runner.errno); x.kind {
	case exitStray:
		v.settle()
	case exitBroken:
		c.p.reset(v)
	}
}

// passOver has c's runner enter the guest, or goes on there after answer, until a call is passed over, which is then taken, or the processor
// has left.
func (c *context) passOver(as *addressSpace, regs *arch.Registers) (exit, error) {
	v, s := c.v, &c.pass
	c.running.Store(v)
	defer c.running.Store(nil)
	cycles := uint64(enterCycles)
	switch {
	case s.gave:
		if cycles = spinCycles; !c.wanted() {
			v.kick()
		}
	case !v.runner.start(c.wanted, as, v.calls):
		as.finish(v)
		return exit{}, &platform.Died{Reason: "the platform was released"}
	}
	x := exit{kind: exitInterrupted}
	switch called := v.await(cycles); {
	case called:
		v.calls.get(regs)
		s.called, s.in, s.taken, s.gave = *regs, as, true, false
		x.kind = exitPassed
	case v.runner.ran:
		if out := v.leave(v.runner.errno); !s.gave || !v.waits(out) { // else regs have the result
			x = out
			v.gone(x, regs)
		}
	}
	c.note(x.kind)
	return x, nil
}

// await waits until v passes a call over, which is then taken, or has left guest code, first for so many cycles without sleeping.
func (v *vcpu) await(cycles uint64) (called bool) {
	a := v.calls
	if a == nil {
		v.runner.wait()
		return false
	}
	spin.WhileClear(&a.state, areaAsked|areaOut, cycles)
	if a.move(areaAsked, areaTaken) {
		return true
	}
	if !v.runner.in() {
		return false
	}
	v.look(0)
	if a.move(areaAsked, areaTaken) { // the guest saw the former number
		return true
	}
	v.runner.wait()
	return false
}

// look says how often v is to look for a result. With 0 it leaves for its next call.
func (v *vcpu) look(n uint64) {
	if v.looks != n {
		v.looks = n
		v.answers.Spare().Store(n)
	}
}

// meets tells whether rip is in the code by which calls are passed over.
func (v *vcpu) meets(rip uint64) bool { return rip-v.meeting.at < uint64(len(v.meeting.text)) }

// waits tells whether v, which left by x, had not come out of that code with the result.
func (v *vcpu) waits(x exit) bool {
	rip := v.state.Regs.Rip
	if x.kind == exitVector {
		rip = x.frame.rip
	}
	at, m := rip-v.meeting.at, v.meeting
	return v.meets(rip) && at >= m.asked && m.answered(at, v.state.Regs.Rax, atomic.LoadUint32(&v.calls.state)&^areaOut)
}

// unmeet makes regs, with which v was stopped in the code by which calls are passed over, those before the call's SYSCALL instruction.
func (v *vcpu) unmeet(regs *arch.Registers) {
	if !v.meets(regs.Rip) || v.calls == nil {
		return
	}
	at, m, a := regs.Rip-v.meeting.at, v.meeting, v.calls
	if m.ring0 {
		v.unmeetRing0(at, regs)
		return
	}
	back := regs.R11
	if at >= m.kept {
		back = a.back
	}
	if at >= m.stored {
		regs.Rax = a.rax
	}
	if at >= m.below && at < m.above {
		regs.Rsp = a.rsp
	}
	regs.Rip = back - 2
}
