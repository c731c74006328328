package arch

import "golang.org/x/sys/unix"

// Registers are a thread's general registers, segment bases and selectors, laid
// out as user_regs_struct. OrigRax is not the guest's: platforms may use it.
type Registers unix.PtraceRegs

// SyscallArgs are the six argument slots of a SYSCALL: rdi, rsi, rdx, r10, r8, r9.
type SyscallArgs [6]uint64

// Args returns the argument slots of a SYSCALL.
func (r *Registers) Args() SyscallArgs {
	return SyscallArgs{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
}

// Number returns the number of the call at its entry.
func (r *Registers) Number() uint64 { return r.Rax }

// SetResult sets the register in which a call returns.
func (r *Registers) SetResult(v uint64) { r.Rax = v }
