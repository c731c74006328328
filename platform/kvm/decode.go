package kvm

import (
	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// si_code values.
const (
	siKernel   = 0x80
	segvMapErr = 1
	segvAccErr = 2
	busAdrAln  = 1
	busAdrErr  = 2
	fpeIntDiv  = 1
	illIllOpn  = 2
	trapBrkpt  = 1
	trapTrace  = 2
)

const (
	vsyscallStart = 0xffffffffff600000
	vsyscallEnd   = vsyscallStart + pageSize
)

// Bits of a page fault's error code.
const (
	faultWrite = 1 << 1
	faultFetch = 1 << 4
)

func fault(sig unix.Signal, code int32, addr uint64) platform.Event {
	return platform.Event{Kind: platform.Fault, Signal: sig, Code: code, Addr: addr}
}

// protectionFault is what Linux makes of #GP: it has no address.
func protectionFault() platform.Event { return fault(unix.SIGSEGV, siKernel, 0) }

// decode says what an exit means. done is false when the kernel need not know.
func (c *context) decode(as *addressSpace, x exit, regs *arch.Registers) (ev platform.Event, done bool, err error) {
	switch x.kind {
	case exitInterrupted:
		c.rewind(as, regs)
		return ev, false, nil
	case exitSyscall, exitPatched, exitPassed:
		return platform.Event{Kind: platform.Syscall}, true, nil
	case exitCompat:
		return platform.Event{Kind: platform.Syscall32}, true, nil
	case exitStray:
		return fault(unix.SIGSEGV, segvMapErr, exitAddr), true, nil
	case exitNoPage:
		if as.holdTruncated() {
			return ev, false, nil
		}
		return ev, true, as.die("the host has no memory for a page")
	case exitBroken:
		if err := c.p.reset(c.v); err != nil { // a triple fault leaves it in real mode
			return ev, true, err
		}
		return ev, true, as.die(x.err.Error())
	}
	if x.vector == vectorPageFault {
		return c.pageFault(as, x.frame.code, regs)
	}
	return c.exception(as, x, regs), true, nil
}

// pageFault tells what a fault is: a page that its file has lost, a call of the vsyscall page, or what mm is to
// be asked about.
func (c *context) pageFault(as *addressSpace, code uint64, regs *arch.Registers) (ev platform.Event, done bool, err error) {
	addr := c.v.state.Sregs.CR2
	if code&faultFetch != 0 && addr == regs.Rip && addr >= vsyscallStart && addr < vsyscallEnd {
		return as.vsyscall(regs), true, nil
	}
	ev = fault(unix.SIGSEGV, segvMapErr, addr)
	switch ev.Access = platform.Read; {
	case code&faultWrite != 0:
		ev.Access = platform.Write
	case code&faultFetch != 0:
		ev.Access = platform.Exec
	}
	switch mapped, held, back := as.look(addr); {
	case back:
		return ev, false, nil
	case held:
		ev.Signal, ev.Code = unix.SIGBUS, busAdrErr
	case mapped:
		ev.Code = segvAccErr
	}
	return ev, true, nil
}

// exception tells which signal Linux makes of an exception.
func (c *context) exception(as *addressSpace, x exit, regs *arch.Registers) platform.Event {
	if c.behindInt(as, x.vector, regs) {
		regs.Rip -= 2
		return protectionFault()
	}
	switch c.judged(as, x.vector, regs.Rip) {
	case vectorCall:
		return platform.Event{Kind: platform.Syscall32}
	case vectorDivide:
		return fault(unix.SIGFPE, fpeIntDiv, regs.Rip)
	case vectorDebug:
		return as.debugTrap(regs)
	case vectorBreakpoint:
		return fault(unix.SIGTRAP, siKernel, 0)
	case vectorOpcode:
		return c.opcode(as, regs)
	case vectorDevice:
		return fault(unix.SIGILL, siKernel, 0)
	case vectorNotPresent, vectorStack:
		return fault(unix.SIGBUS, siKernel, 0)
	case vectorX87, vectorSIMD:
		return fault(unix.SIGFPE, arch.FPUExceptionCode(c.FPU(), x.vector == vectorSIMD), regs.Rip)
	case vectorAlignment:
		return fault(unix.SIGBUS, busAdrAln, 0)
	}
	return protectionFault()
}

// behindInt tells whether an exception at the instruction pointer belongs to the int n before it. Where
// ring 0 is emulated, int n is an invalid opcode (see opcode); but for these vectors, which such a host
// uses itself, the exception is said to be at the next instruction.
func (c *context) behindInt(as *addressSpace, vector int, regs *arch.Registers) bool {
	if c.p.entry != entryRing3 {
		return false
	}
	b, ok := as.peek(regs.Rip-2, 2)
	if !ok || b[0] != intN {
		return false
	}
	switch b[1] {
	case 0x17, 0x19:
		return vector == vectorProtection
	case 0x1a:
		return vector == vectorOpcode
	}
	return false
}

// intN is the first byte of int n.
const intN = 0xcd

// debugTrap tells a step from INT1. The latter's trap is said to be behind it or, on AMD's processors, may be said to be at it: without the trap
// flag that was no step, but for one over POPF.
func (as *addressSpace) debugTrap(regs *arch.Registers) platform.Event {
	const int1, popf = 0xf1, 0x9d
	is := func(addr uint64, opcode byte) bool {
		b, ok := as.peek(addr, 1)
		return ok && b[0] == opcode
	}
	before := regs.Rip - 1
	if regs.Eflags&arch.FlagTF == 0 && (is(before, int1) || is(regs.Rip, int1) && !is(before, popf)) {
		return fault(unix.SIGTRAP, trapBrkpt, regs.Rip)
	}
	return fault(unix.SIGTRAP, trapTrace, regs.Rip)
}

// opcode looks at an invalid instruction: some hosts report calls so.
func (c *context) opcode(as *addressSpace, regs *arch.Registers) platform.Event {
	b, ok := as.peek(regs.Rip, 2)
	switch {
	case ok && b[0] == intN && b[1] == vectorCall:
		regs.Rip += 2
		return platform.Event{Kind: platform.Syscall32}
	case ok && b[0] == intN:
		return protectionFault()
	case ok && b[0] == 0x0f && b[1] == 0x05 && c.p.entry == entryOpcode && regs.Cs == arch.UserCS:
		regs.Rip += 2
		regs.Rcx, regs.R11 = regs.Rip, regs.Eflags
		return platform.Event{Kind: platform.Syscall}
	}
	return fault(unix.SIGILL, illIllOpn, regs.Rip)
}

// vsyscall carries out a call of the vsyscall page: the return address is popped on
// behalf of the guest.
func (as *addressSpace) vsyscall(regs *arch.Registers) platform.Event {
	var number uint64
	switch regs.Rip - vsyscallStart {
	case 0:
		number = unix.SYS_GETTIMEOFDAY
	case 0x400:
		number = unix.SYS_TIME
	case 0x800:
		number = unix.SYS_GETCPU
	default:
		ev := fault(unix.SIGSEGV, segvMapErr, regs.Rip)
		ev.Access = platform.Exec
		return ev
	}
	b, ok := as.peek(regs.Rsp, 8)
	if !ok {
		ev := fault(unix.SIGSEGV, segvMapErr, regs.Rsp)
		ev.Access = platform.Read
		return ev
	}
	regs.Rax, regs.Rip = number, le.Uint64(b)
	regs.Rsp += 8
	return platform.Event{Kind: platform.Syscall}
}
