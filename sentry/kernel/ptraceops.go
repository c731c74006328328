package kernel

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Resume says how a tracee goes on from a stop.
type Resume struct {
	Signal  signal.Signal // to be delivered, 0 for none
	Calls   bool          // stop at the next call, or when this one ends
	Emulate bool          // stop at the next call and do not carry it out
	Step    bool          // stop after one instruction
}

// withTracee runs f for a tracee of the calling thread, with its sigMu held; f must not fault guest memory in.
// ESRCH when id is none, or is not in a ptrace-stop and must be.
func (t *Task) withTracee(id int32, stopped bool, f func(c *Task) error) error {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	c, err := t.threadLocked(id)
	if err != nil || c.tracee == nil || c.tracee.tracer != t || c.exited {
		return unix.ESRCH
	}
	c.tg.sigMu.Lock()
	defer c.tg.sigMu.Unlock()
	s := &c.tracee.stop
	if stopped && (!s.active || s.listening || c.killedLocked() && !s.exit) {
		return unix.ESRCH
	}
	return f(c)
}

// ResumeTracee lets a stopped tracee go on (PTRACE_CONT and its like); EIO for what is no signal.
func (t *Task) ResumeTracee(id int32, r Resume) error {
	return t.withTracee(id, true, func(c *Task) error {
		if r.Signal != 0 && !signal.Valid(r.Signal) {
			return unix.EIO
		}
		c.hooks.And(^hooksOfTracer)
		for _, h := range []struct {
			want bool
			bit  uint32
		}{{r.Calls, hookCalls}, {r.Emulate, hookEmulate}, {r.Step, hookStep}} {
			if h.want {
				c.hooks.Or(h.bit)
			}
		}
		c.tracee.stop.code, c.tracee.stop.given = int32(r.Signal), true
		c.wakeLocked()
		return nil
	})
}

// DetachTracee ends the tracing of a stopped tracee, which goes on with the signal.
func (t *Task) DetachTracee(id int32, sig signal.Signal) error {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	c, err := t.threadLocked(id)
	if err != nil || c.tracee == nil || c.tracee.tracer != t {
		return unix.ESRCH
	}
	c.tg.sigMu.Lock()
	defer c.tg.sigMu.Unlock()
	s := &c.tracee.stop
	switch {
	case !s.active || s.listening || c.killedLocked() && !s.exit:
		return unix.ESRCH
	case sig != 0 && !signal.Valid(sig):
		return unix.EIO
	}
	s.code, s.given = int32(sig), true
	c.unlinkLocked()
	return nil
}

// KillTracee sends a tracee SIGKILL, stopped or not (PTRACE_KILL).
func (t *Task) KillTracee(id int32) error {
	return t.withTracee(id, false, func(c *Task) error {
		info := t.senderInfo(unix.SIGKILL, signal.CodeUser, c)
		return c.tg.sendLocked(&info, c, true)
	})
}

// InterruptTracee stops a seized tracee (PTRACE_INTERRUPT); EIO for another one.
func (t *Task) InterruptTracee(id int32) error {
	return t.withTracee(id, false, func(c *Task) error {
		if !c.tracee.seized {
			return unix.EIO
		}
		c.tracee.trap = true
		c.retrapLocked()
		return nil
	})
}

// ListenTracee lets a tracee stay in its group-stop, from which only job control and PTRACE_INTERRUPT
// bring it back (PTRACE_LISTEN). EIO in another stop.
func (t *Task) ListenTracee(id int32) error {
	return t.withTracee(id, true, func(c *Task) error {
		tr := c.tracee
		if !tr.seized || !tr.stop.group {
			return unix.EIO
		}
		tr.stop.listening = true
		if tr.notify {
			c.retrapLocked()
		}
		return nil
	})
}

// SetTraceOptions sets the options of a stopped tracee. EINVAL, EPERM.
func (t *Task) SetTraceOptions(id int32, o TraceOptions) error {
	return t.withTracee(id, true, func(c *Task) error {
		if err := t.checkTraceOptions(o); err != nil {
			return err
		}
		c.tracee.options = o
		return nil
	})
}

// TraceMessage returns the message of the tracee's last event.
func (t *Task) TraceMessage(id int32) (message uint64, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		message = c.tracee.stop.message
		return nil
	})
	return message, err
}

// StopInfo returns the siginfo of the tracee's stop; EINVAL in a group-stop without one.
func (t *Task) StopInfo(id int32) (info signal.Info, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		if c.tracee.stop.info == nil {
			return unix.EINVAL
		}
		info = *c.tracee.stop.info
		return nil
	})
	return info, err
}

// SetStopInfo replaces what StopInfo returns, which in a signal-delivery-stop is what the handler gets.
func (t *Task) SetStopInfo(id int32, info signal.Info) error {
	return t.withTracee(id, true, func(c *Task) error {
		if c.tracee.stop.info == nil {
			return unix.EINVAL
		}
		*c.tracee.stop.info = info
		return nil
	})
}

// PeekSignals returns up to n of the tracee's pending signals, from the given one on; with shared those
// of its process.
func (t *Task) PeekSignals(id int32, from uint64, n int, shared bool) (infos []signal.Info, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		q := &c.pending
		if shared {
			q = &c.tg.pending
		}
		infos = q.Snapshot(from, n)
		return nil
	})
	return infos, err
}

// TraceeMask returns the set of signals that the tracee blocks.
func (t *Task) TraceeMask(id int32) (mask signal.Set, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		mask = c.mask
		if c.savedMask != nil {
			mask = *c.savedMask
		}
		return nil
	})
	return mask, err
}

// SetTraceeMask replaces it.
func (t *Task) SetTraceeMask(id int32, mask signal.Set) error {
	return t.withTracee(id, true, func(c *Task) error {
		c.savedMask = nil
		c.setMaskLocked(mask)
		return nil
	})
}

// WithTraceeRegisters runs f with a tracee's registers as a debugger sees them; what f leaves in them is
// taken over if it returns nil.
func (t *Task) WithTraceeRegisters(id int32, f func(*arch.Registers) error) error {
	return t.withTracee(id, true, func(c *Task) error {
		r := c.tracedRegs()
		if err := f(&r); err != nil {
			return err
		}
		c.setTracedRegs(r)
		return nil
	})
}

// WithTraceeFPU runs f with a tracee's extended state, FPUSize bytes; changed says that f wrote to it.
func (t *Task) WithTraceeFPU(id int32, f func(fpu []byte) (changed bool, err error)) error {
	return t.withTracee(id, true, func(c *Task) error {
		changed, err := f(c.ctx.FPU())
		if changed {
			c.ctx.FPUChanged()
		}
		return err
	})
}

// tracedRegs are the registers as a debugger sees them: with the number of the call in hand, and a
// result that says whether it is going on or is to be restarted.
func (t *Task) tracedRegs() arch.Registers {
	r := t.Regs
	r.Orig_rax = t.call.number
	switch {
	case t.call.inside:
		r.SetResult(negative(unix.ENOSYS))
	case t.call.err != nil:
		r.SetResult(negative(t.call.err.(unix.Errno)))
	}
	return r
}

func negative(e unix.Errno) uint64 { return uint64(-int64(e)) }

// setTracedRegs is the reverse: a number of a call and a restart error as its result make the call
// start again.
func (t *Task) setTracedRegs(r arch.Registers) {
	t.call.number = r.Orig_rax
	result := r.Rax
	if t.call.inside {
		r.Rax = t.Regs.Rax
	} else {
		t.call.err = nil
		if e := unix.Errno(-int64(result)); int32(t.call.number) != -1 && IsRestart(e) {
			t.call.err = e
		}
	}
	r.Eflags = arch.MergeFlags(t.Regs.Eflags, r.Eflags)
	r.Orig_rax = t.Regs.Orig_rax
	t.Regs = r
}

// TraceeMemory returns the memory of a stopped tracee, to be released with DecUsers; EIO when it has none.
func (t *Task) TraceeMemory(id int32) (m *mm.MemoryManager, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		if m = c.MM(); m == nil || !m.IncUsers() {
			m = nil
			return unix.EIO
		}
		return nil
	})
	return m, err
}

// TraceStop describes a tracee's stop (PTRACE_GET_SYSCALL_INFO).
type TraceStop struct {
	Code    int32 // si_code of its siginfo, 0 without one
	Message uint64
	Regs    arch.Registers
}

// StopOf returns the stop of a tracee.
func (t *Task) StopOf(id int32) (s TraceStop, err error) {
	err = t.withTracee(id, true, func(c *Task) error {
		if c.tracee.stop.info != nil {
			s.Code = c.tracee.stop.info.Code
		}
		s.Message, s.Regs = c.tracee.stop.message, c.tracedRegs()
		return nil
	})
	return s, err
}
