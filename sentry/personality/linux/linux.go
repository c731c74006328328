// Package linux is Linux on amd64 as its programs see it: call numbers, layouts of
// structures in guest memory, flags, signal frames.
//
// The tables of calls (table_*.go) have one line a call: its number, its name, how far it is
// built, how its arguments read in a trace, and the function that
// decodes the arguments, has the kernel or package syscalls do the work, and
// encodes the result. Nothing in this package keeps state, so it has no locks;
// its functions run on the goroutine of the task that made the call.
package linux

import (
	"errors"
	"time"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Personality implements kernel.Personality.
type Personality struct {
	calls [callCount]*Call
	trace *Strace
}

// callCount bounds the numbers of calls on amd64.
const callCount = 512

// sysRestart is the number of restart_syscall(2).
const sysRestart = 219

// New returns the personality. trace, which may be nil, sees its calls.
func New(trace *Strace) *Personality {
	p := &Personality{trace: trace}
	for _, table := range tables() {
		for i := range table {
			p.calls[table[i].Number] = &table[i]
		}
	}
	return p
}

// Name implements kernel.Personality.
func (*Personality) Name() string { return "linux" }

// Syscall implements kernel.Personality.
func (p *Personality) Syscall(t *kernel.Task) error {
	number := callNumber(t)
	args := t.Regs.Args()
	call := p.Lookup(number)
	if p.trace.wants(call) {
		line := p.trace.begin(t, call, number, args)
		ret, err := p.dispatch(t, call, number, args)
		line.end(ret, err)
		return p.setResult(t, ret, err)
	}
	ret, err := p.dispatch(t, call, number, args)
	return p.setResult(t, ret, err)
}

// callNumber is the number of the call under way: Linux looks at the low 32 bits.
func callNumber(t *kernel.Task) uint64 { return uint64(uint32(t.Regs.Number())) }

// Lookup returns the call of a number; nil if Linux has none.
func (p *Personality) Lookup(number uint64) *Call {
	if number < callCount {
		return p.calls[number]
	}
	return nil
}

func (p *Personality) dispatch(t *kernel.Task, c *Call, number uint64, a arch.SyscallArgs) (uint64, error) {
	switch {
	case c == nil:
		return 0, unix.ENOSYS
	case c.fn == nil:
		t.Kernel().MissingCall(c.Name)
		return 0, unix.ENOSYS
	}
	ret, err := c.fn(t, a)
	for n := time.Duration(1); err == unix.ESTALE && n < staleTries; n++ {
		time.Sleep(n * staleWait)
		ret, err = c.fn(t, a)
	}
	return ret, err
}

// staleTries is how often a call is tried that finds a file by a name which leads to another one, or to none, by the time that it gets at the
// file: the name is looked up again, once who changes it may have gone on. It waits staleWait the first time, and longer each time.
const (
	staleTries = 32
	staleWait  = 20 * time.Microsecond
)

// setResult puts the result where programs look for it. SYSCALL clobbers rcx and r11.
func (p *Personality) setResult(t *kernel.Task, ret uint64, err error) error {
	if t.RegistersKept() {
		return nil
	}
	t.Regs.Rcx, t.Regs.R11 = t.Regs.Rip, t.Regs.Eflags
	if err == nil {
		t.Regs.SetResult(ret)
		return nil
	}
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = wrappedErrno(t, err)
	}
	if kernel.IsRestart(errno) {
		return errno
	}
	t.Regs.SetResult(uint64(-int64(errno)))
	return nil
}

// wrappedErrno is the number in err; EIO if there is none, which is a fault of ours.
func wrappedErrno(t *kernel.Task, err error) unix.Errno {
	errno := unix.EIO
	if !errors.As(err, &errno) {
		t.Kernel().Log().Warnf("an error that is no errno reached the guest as EIO: %v", err)
	}
	return errno
}

// syscallLength is the length of the SYSCALL instruction in bytes.
const syscallLength = 2

// RewindToRestart implements kernel.Personality.
func (*Personality) RewindToRestart(t *kernel.Task, number uint64, err error) {
	t.Regs.Rip -= syscallLength
	t.Regs.Rax = number
	if err == kernel.ERESTARTBLOCK {
		t.Regs.Rax = sysRestart
	}
}

// ForkChild implements kernel.Personality: a child has the result 0, its own stack if one was given, and its own thread pointer.
func (*Personality) ForkChild(c *kernel.Task, a *kernel.ForkArgs) {
	c.Regs.SetResult(0)
	if a.Stack != 0 {
		c.Regs.Rsp = a.Stack
	}
	if a.TLS != nil {
		c.Regs.Fs_base = *a.TLS
	}
}

// FailInterrupted implements kernel.Personality.
func (*Personality) FailInterrupted(t *kernel.Task) {
	errno := unix.EINTR
	t.Regs.SetResult(uint64(-int64(errno)))
}

// PushFrame implements kernel.Personality.
func (*Personality) PushFrame(t *kernel.Task, info *signal.Info, act signal.Action, mask signal.Set) error {
	stack := t.AltStack()
	args := arch.FrameArgs{
		Signal: int32(info.Signo), Info: EncodeSiginfo(info), Mask: uint64(mask),
		Handler: act.Handler, Flags: act.Flags, Restorer: act.Restorer,
		Stack: arch.AltStack{SP: stack.Base, Flags: uint32(stack.Flags), Size: stack.Size},
	}
	if info.Layout() == signal.LayoutFault {
		args.CR2 = info.Addr
		args.TrapNo, args.ErrorCode = arch.ExceptionOf(info.Signo, info.Code, 0)
	}
	fpu := t.Context().FPU()
	frame, addr, regs, err := arch.BuildFrame(&t.Regs, fpu, &args)
	if err != nil {
		return err
	}
	if err := t.CopyOut(mm.Addr(addr), frame); err != nil {
		return err
	}
	t.Regs = regs
	arch.ResetFPU(fpu)
	t.Context().FPUChanged()
	if stack.Flags&signal.StackAutoDisarm != 0 {
		*stack = signal.NoStack()
	}
	return nil
}

// sysRtSigreturn is rt_sigreturn(2).
func sysRtSigreturn(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	t.KeepRegisters()
	saved, err := arch.ParseFrame(&t.Regs, t.Context().FPU(), func(addr uint64, dst []byte) error {
		return t.CopyIn(mm.Addr(addr), dst)
	})
	if err != nil {
		t.ForceSegv()
		return 0, nil
	}
	t.Context().FPUChanged()
	t.Regs = saved.Regs
	t.SetSignalMask(signal.Set(saved.Mask))
	stack := signal.Stack{Base: saved.Stack.SP, Flags: int32(saved.Stack.Flags), Size: saved.Stack.Size}
	if s, err := stack.Check(*t.AltStack(), t.Regs.Rsp, signal.MinStackSize); err == nil {
		*t.AltStack() = s
	}
	if saved.Bad {
		t.ForceSegv()
	}
	return 0, nil
}
