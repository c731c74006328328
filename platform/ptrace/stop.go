package ptrace

import (
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"

	"golang.org/x/sys/unix"
)

const (
	kickSignal = blank.KickSignal

	syscallStop = unix.SIGTRAP | 0x80

	siKernel   = 0x80 // SI_KERNEL
	segvMapErr = 1    // SEGV_MAPERR
	sysSeccomp = 1    // SYS_SECCOMP

	vsyscallStart = 0xffffffffff600000
	vsyscallEnd   = vsyscallStart + 4096
)

// decode says what a stop means. done is false for stops that are none of the guest's doing.
func (c *context) decode(ws unix.WaitStatus, regs *arch.Registers) (ev platform.Event, done bool) {
	sig := ws.StopSignal()
	switch {
	case sig == syscallStop:
		regs.Rax = regs.Orig_rax
		ev.Kind = platform.Syscall
		if !plainSyscall((*unix.PtraceRegs)(regs)) && isCompat(c.t.TID) {
			ev.Kind = platform.Syscall32
		}
		return ev, true
	case ws>>16 != 0:
		return ev, false
	case sig == kickSignal:
		// Run looks at what it was for.
		return ev, false
	}
	switch sig {
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
	default:
		return ev, false
	}
	var info siginfo
	if errno := getSiginfo(c.t.TID, &info); errno != 0 || info.code <= 0 {
		return ev, false // sent by a process
	}
	if sig == unix.SIGSYS {
		// The vsyscall page: the host has popped the return address.
		ev.Kind = platform.Syscall
		return ev, info.code == sysSeccomp
	}
	ev = platform.Event{Kind: platform.Fault, Signal: sig, Code: info.code, Addr: info.addr}
	if info.code == siKernel {
		ev.Addr = 0
	}
	if sig == unix.SIGSEGV {
		c.vsyscall(regs, &ev)
	}
	return ev, true
}

// vsyscall handles faults in the vsyscall page. A host that emulates the page reads the return address on
// behalf of the guest, and says nothing of use when it cannot: that was a read of the stack. A host
// that has no such page reports that the guest jumped there: the call is emulated here.
func (c *context) vsyscall(regs *arch.Registers, ev *platform.Event) {
	if regs.Rip < vsyscallStart || regs.Rip >= vsyscallEnd {
		return
	}
	number, ok := vsyscallNumber(regs.Rip)
	switch {
	case !ok:
		return
	case ev.Code == siKernel:
	case ev.Addr == regs.Rip:
		if ret, errno := peek(c.t.TID, regs.Rsp); errno == 0 {
			regs.Rax, regs.Rip = number, ret
			regs.Rsp += 8
			*ev = platform.Event{Kind: platform.Syscall}
			return
		}
	default:
		return
	}
	ev.Code = segvMapErr
	ev.Addr = regs.Rsp
	ev.Access = platform.Read
}

// vsyscallNumber is the number of the system call that an entry of the vsyscall page stands for.
func vsyscallNumber(rip uint64) (number uint64, ok bool) {
	switch rip - vsyscallStart {
	case 0:
		return unix.SYS_GETTIMEOFDAY, true
	case 0x400:
		return unix.SYS_TIME, true
	case 0x800:
		return unix.SYS_GETCPU, true
	}
	return 0, false
}
