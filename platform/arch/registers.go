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

// EnterCall sets the registers that SYSCALL clobbers, where a platform has not.
func (r *Registers) EnterCall() { r.Rcx, r.R11 = r.Rip, r.Eflags }

// SetResult sets the register in which a call returns.
func (r *Registers) SetResult(v uint64) { r.Rax = v }

// Words lists the registers in the order of user_regs_struct.
func (r *Registers) Words() [27]*uint64 {
	return [...]*uint64{
		&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R11, &r.R10, &r.R9, &r.R8,
		&r.Rax, &r.Rcx, &r.Rdx, &r.Rsi, &r.Rdi, &r.Orig_rax, &r.Rip, &r.Cs, &r.Eflags,
		&r.Rsp, &r.Ss, &r.Fs_base, &r.Gs_base, &r.Ds, &r.Es, &r.Fs, &r.Gs,
	}
}

// SetWord sets the register of index i in Words as a debugger may. EIO for a value that no
// user code can have: selectors of another privilege, bases outside of user space.
func (r *Registers) SetWord(i int, v uint64) error {
	to := r.Words()[i]
	switch to {
	case &r.Cs, &r.Ss, &r.Ds, &r.Es, &r.Fs, &r.Gs:
		v &= 0xffff
		if v != 0 && v&userRPL != userRPL || v == 0 && (to == &r.Cs || to == &r.Ss) {
			return unix.EIO
		}
	case &r.Fs_base, &r.Gs_base:
		if v >= userTop {
			return unix.EIO
		}
	case &r.Eflags:
		v = MergeFlags(r.Eflags, v)
	}
	*to = v
	return nil
}

const (
	userRPL = 3            // the bits of a selector that name user mode
	userTop = 1<<47 - 4096 // TASK_SIZE_MAX
)
