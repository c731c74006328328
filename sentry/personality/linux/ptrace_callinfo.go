package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Layout of struct ptrace_syscall_info, in bytes.
const (
	callInfoArch    = 4
	callInfoIP      = 8
	callInfoSP      = 16
	callInfoUnion   = 24 // nr, six arguments; or a result and whether it is an error
	callInfoData    = 80 // what a seccomp filter returned
	callInfoSize    = 88
	callInfoIsError = callInfoUnion + 8

	auditArch = 0xc000003e // AUDIT_ARCH_X86_64
)

// callInfoOp tells what kind of stop s is.
func callInfoOp(s *kernel.TraceStop) byte {
	switch s.Code {
	case int32(unix.SIGTRAP) | 0x80:
		if s.Message == unix.PTRACE_EVENTMSG_SYSCALL_ENTRY {
			return unix.PTRACE_SYSCALL_INFO_ENTRY
		}
		return unix.PTRACE_SYSCALL_INFO_EXIT
	case int32(unix.SIGTRAP) | unix.PTRACE_EVENT_SECCOMP<<8:
		return unix.PTRACE_SYSCALL_INFO_SECCOMP
	}
	return unix.PTRACE_SYSCALL_INFO_NONE
}

// ptraceCallInfo is PTRACE_GET_SYSCALL_INFO: it returns how long the whole is.
func ptraceCallInfo(t *kernel.Task, p ptraceArgs) (uint64, error) {
	s, err := t.StopOf(p.id)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	var b [callInfoSize]byte
	b[0] = callInfoOp(&s)
	le.PutUint32(b[callInfoArch:], auditArch)
	le.PutUint64(b[callInfoIP:], s.Regs.Rip)
	le.PutUint64(b[callInfoSP:], s.Regs.Rsp)
	size := uint64(callInfoUnion)
	switch b[0] {
	case unix.PTRACE_SYSCALL_INFO_ENTRY, unix.PTRACE_SYSCALL_INFO_SECCOMP:
		le.PutUint64(b[callInfoUnion:], uint64(int64(int32(s.Regs.Orig_rax))))
		for i, a := range s.Regs.Args() {
			le.PutUint64(b[callInfoUnion+8+8*i:], a)
		}
		size = callInfoData
		if b[0] == unix.PTRACE_SYSCALL_INFO_SECCOMP {
			le.PutUint32(b[callInfoData:], uint32(s.Message))
			size += 4
		}
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		le.PutUint64(b[callInfoUnion:], s.Regs.Rax)
		const maxErrno = 4095
		if int64(s.Regs.Rax) < 0 && int64(s.Regs.Rax) >= -maxErrno {
			b[callInfoIsError] = 1
		}
		size = callInfoIsError + 1
	}
	return size, t.CopyOut(mm.Addr(p.data), b[:min(size, p.addr)])
}

// ptraceSetCallInfo is PTRACE_SET_SYSCALL_INFO: it changes the call of the stop, or its result.
func ptraceSetCallInfo(t *kernel.Task, p ptraceArgs) error {
	s, err := t.StopOf(p.id)
	if err != nil {
		return err
	}
	if p.addr < callInfoSize {
		return unix.EINVAL
	}
	var b [callInfoSize]byte
	if err := t.CopyIn(mm.Addr(p.data), b[:]); err != nil {
		return err
	}
	op, le := b[0], binary.LittleEndian
	reserved := b[1] != 0 || b[2] != 0 || b[3] != 0
	if reserved || op != callInfoOp(&s) || op == unix.PTRACE_SYSCALL_INFO_NONE {
		return unix.EINVAL
	}
	if op == unix.PTRACE_SYSCALL_INFO_EXIT {
		return t.WithTraceeRegisters(p.id, func(r *arch.Registers) error {
			r.Rax = le.Uint64(b[callInfoUnion:])
			return nil
		})
	}
	if op == unix.PTRACE_SYSCALL_INFO_SECCOMP && le.Uint32(b[callInfoData+4:]) != 0 {
		return unix.EINVAL
	}
	number := int64(le.Uint64(b[callInfoUnion:]))
	if number != int64(int32(number)) {
		return unix.ERANGE
	}
	return t.WithTraceeRegisters(p.id, func(r *arch.Registers) error {
		r.Orig_rax = uint64(number)
		if number == -1 {
			return nil
		}
		for i, to := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9} {
			*to = le.Uint64(b[callInfoUnion+8+8*i:])
		}
		return nil
	})
}
