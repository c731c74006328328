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
		if !plainSyscall((*unix.PtraceRegs)(regs)) && isCompat(c.t.tid) {
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
	if errno := getSiginfo(c.t.tid, &info); errno != 0 || info.code <= 0 {
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

// vsyscall handles faults in the vsyscall page. The host reads the return address on behalf of the guest
// there, and says nothing of use when it cannot: then it is a read of the stack.
func (c *context) vsyscall(regs *arch.Registers, ev *platform.Event) {
	if regs.Rip < vsyscallStart || regs.Rip >= vsyscallEnd || ev.Code != siKernel {
		return
	}
	ev.Code = 1 // SEGV_MAPERR
	ev.Addr = regs.Rsp
	ev.Access = platform.Read
}
