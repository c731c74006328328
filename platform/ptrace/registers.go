package ptrace

import (
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// taskSizeMax is the least address that PTRACE_SETREGS refuses as a segment base.
const taskSizeMax = 0x7ffffffff000

// userRPL are the bits of a selector that name user mode.
const userRPL = 3

// sanitize copies regs to out such that PTRACE_SETREGS takes them. A guest, with
// instructions of its own or by way of sigreturn, can hold values that it refuses: selectors with
// another privilege, bases outside user space. OrigRax is set to
// -1: the host must not take a result in rax for a call of its own to restart.
func sanitize(out *unix.PtraceRegs, regs *arch.Registers) {
	*out = unix.PtraceRegs(*regs)
	out.Orig_rax = ^uint64(0)
	if out.Cs != arch.UserCS && out.Cs != arch.UserCS32 {
		out.Cs = arch.UserCS
	}
	if out.Ss != arch.UserDS {
		out.Ss = arch.UserDS
	}
	for _, s := range []*uint64{&out.Ds, &out.Es, &out.Fs, &out.Gs} {
		if *s &= 0xffff; *s != 0 {
			*s |= userRPL
		}
	}
	if out.Fs_base >= taskSizeMax {
		out.Fs_base = 0
	}
	if out.Gs_base >= taskSizeMax {
		out.Gs_base = 0
	}
}

// plainSyscall tells whether a stop at a system call can only come from the
// SYSCALL instruction: it leaves rip in rcx and eflags in r11. Where it does not say
// so, or a 32-bit segment is in use, the host must be asked.
func plainSyscall(regs *unix.PtraceRegs) bool {
	return regs.Rcx == regs.Rip && regs.R11 == regs.Eflags && regs.Cs == arch.UserCS
}
