package ptrace

import (
	"errors"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// context is a guest thread. All but the atomics belong to the goroutine that runs it.
type context struct {
	p  *Platform
	id uint64

	tr *tracer // the OS thread the goroutine is locked to; nil after Leave
	t  *tracee // of that thread

	fpu   []byte
	stale bool    // t has newer state than fpu
	dirty bool    // fpu was written to
	home  *tracee // the last one that had the state

	interrupted atomic.Bool
	running     atomic.Pointer[tracee] // in guest code, or about to be
}

// Run implements platform.Context.
func (c *context) Run(a platform.AddressSpace, regs *arch.Registers) (platform.Event, error) {
	as, ok := a.(*addressSpace)
	if !ok {
		return platform.Event{}, unix.EINVAL
	}
	var patience blank.Patience
	for {
		if c.interrupted.Swap(false) {
			return platform.Event{Kind: platform.Interrupted}, nil
		}
		if c.tr != nil && c.tr.Asked() {
			c.Leave()
		}
		if c.tr == nil {
			c.tr = c.p.tracer(c.p.pairs.Enter(c))
		}
		c.tr.Settle(c, c.guest())
		if err := as.Begin(c); blank.Refused(err) {
			c.Leave() // others are to get on meanwhile
			if !patience.Wait(err) {
				return platform.Event{}, as.GiveUp(err)
			}
			continue
		} else if err != nil {
			return platform.Event{}, err
		}
		t := c.t
		ev, done, err := c.run(regs)
		as.Finish(t.proc, t, err)
		if done || err != nil {
			return ev, err
		}
	}
}

// Thread implements pool.Runner.
func (c *context) Thread() *pairs.Thread { return c.tr.Thread }

// Seat implements pool.Runner.
func (c *context) Seat() (*process, *tracee) {
	if c.t == nil {
		return nil, nil
	}
	return c.t.proc, c.t
}

// Rank implements pool.Runner: a tracee serves the OS thread that traces it.
func (c *context) Rank(t *tracee) int {
	switch t.owner {
	case c.tr:
		return pool.Own
	case nil:
		return pool.Usable
	}
	return 0
}

// Sit implements pool.Runner.
func (c *context) Sit(proc *process, t *tracee) error {
	if t.owner == nil {
		if err := t.attach(c.tr); err != nil {
			proc.Lose(t)
			return err
		}
	}
	c.t = t
	return nil
}

// guest is the tracee's place, nil if there is none.
func (c *context) guest() *pairs.Guest {
	if c.t == nil {
		return nil
	}
	return &c.t.Guest
}

// run loads the tracee, has it run once and tells why it stopped. done is false when
// the kernel need not know.
func (c *context) run(regs *arch.Registers) (ev platform.Event, done bool, err error) {
	t, tr := c.t, c.tr
	if err := c.load(t); err != nil {
		return ev, true, err
	}
	sanitize(&tr.regs, regs)
	if errno := setRegs(t.TID, &tr.regs); errno != 0 {
		return ev, true, c.failed(errno)
	}
	c.running.Store(t)
	if c.interrupted.Load() {
		c.running.Store(nil)
		return ev, false, nil
	}
	tr.Begin()
	errno := resume(t.TID)
	var ws unix.WaitStatus
	if errno == 0 {
		ws, err = wait(t.TID) // ECHILD: reaped after Platform.Release
	}
	tr.End()
	c.running.Store(nil)
	c.stale = true
	if errno != 0 {
		return ev, true, c.failed(errno)
	}
	if err != nil || !ws.Stopped() {
		return ev, true, c.died(ws)
	}
	if errno := getRegs(t.TID, (*unix.PtraceRegs)(regs)); errno != 0 {
		return ev, true, c.failed(errno)
	}
	ev, done = c.decode(ws, regs)
	return ev, done, nil
}

// load gives the tracee the context's extended state if it has not got it.
func (c *context) load(t *tracee) error {
	if t.last == c.id && c.home == t && !c.dirty {
		return nil
	}
	if c.stale {
		c.save()
	}
	s := c.tr.scratch
	clear(s[copy(s, c.fpu):])
	errno := setXState(t.TID, s)
	if errno == unix.EINVAL {
		arch.SanitizeFPU(s)
		errno = setXState(t.TID, s)
	}
	if errno != 0 {
		return c.failed(errno)
	}
	t.last, c.home, c.dirty = c.id, t, false
	return nil
}

// save brings the extended state home.
func (c *context) save() {
	if c.stale {
		c.stale = false
		getXState(c.t.TID, c.fpu)
	}
}

// errMoved is the caller's mistake: a goroutine went on with what another one began.
var errMoved = errors.New("ptrace: Run on another thread without Leave")

// failed turns the errno of a request to the tracee into an error.
func (c *context) failed(errno unix.Errno) error {
	if errno != unix.ESRCH {
		return errno
	}
	if unix.Gettid() != c.tr.TID() {
		return errMoved
	}
	ws, _ := wait(c.t.TID)
	return c.died(ws)
}

// died says that the tracee has ended.
func (c *context) died(ws unix.WaitStatus) error {
	c.t.proc.Forget(c.t.TID)
	c.t.proc.Lose(c.t)
	c.t = nil
	c.stale = false
	reason := "it exited"
	if ws.Signaled() {
		reason = ws.Signal().String()
	}
	return &platform.Died{Reason: reason}
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

// Inside implements pairs.Runner.
func (c *context) Inside() *pairs.Guest {
	if t := c.running.Load(); t != nil {
		return &t.Guest
	}
	return nil
}

// Kick stops the context if it runs guest code. It may hit a later stop, which
// then is one too many.
func (c *context) Kick() {
	if t := c.running.Load(); t != nil {
		t.Kick()
	}
}

// Leave implements platform.Context.
func (c *context) Leave() {
	if c.tr == nil {
		return
	}
	c.tr.Exit(c.guest())
	c.Drop()
	c.tr = nil
	c.p.pairs.Leave()
}

// Drop implements pool.Runner.
func (c *context) Drop() {
	if c.t == nil {
		return
	}
	c.save()
	t := c.t
	c.t = nil
	t.proc.Leave(t)
}

// Release implements platform.Context.
func (c *context) Release() {
	c.stale = false
	c.Leave()
}
