package kvm

import (
	"fmt"

	"gosentry/platform/internal/patch"
	"gosentry/platform/kvm/kvmapi"

	"golang.org/x/sys/unix"
)

// exitKind is why a processor came back, as far as the machine knows.
type exitKind uint8

const (
	exitInterrupted exitKind = iota // by a kick, in ring 3
	exitSyscall
	exitPatched // a patched call
	exitPassed  // a call in shared memory; the processor has not left guest code
	exitCompat  // SYSCALL in 32-bit code
	exitVector  // an exception or int n
	exitStray   // the guest touched the address of user entry's store itself
	exitNoPage  // the host has no memory behind a page
	exitBroken  // the host failed
)

// exit is a processor's way out.
type exit struct {
	kind   exitKind
	vector int
	frame  frame
	err    error // exitBroken
}

// leave tells why Run returned with e.
func (v *vcpu) leave(e unix.Errno) exit {
	switch e {
	case 0:
	case unix.EINTR, unix.EAGAIN:
		return exit{kind: exitInterrupted}
	case unix.EFAULT:
		return exit{kind: exitNoPage}
	default:
		return exit{kind: exitBroken, err: e}
	}
	s := v.state
	switch s.ExitReason {
	case kvmapi.ExitIO:
		if s.Port() == exitPort && s.Sregs.CS.DPL == 0 {
			return v.fromRing0()
		}
	case kvmapi.ExitMMIO:
		addr, write := s.MMIO()
		switch {
		case addr == noMemory && write && s.Regs.Rip == userEntry+userEntryStore:
			return exit{kind: exitSyscall}
		case addr == noMemory && write && (s.Regs.Rip-trampolinesAt < patch.TrampolinesSize || v.meets(s.Regs.Rip)):
			return exit{kind: exitPatched}
		case addr&^(pageSize-1) == noMemory:
			return exit{kind: exitStray}
		}
	case kvmapi.ExitInternalError:
		// KVM's emulator does not know every instruction that can touch no memory.
		if s.CannotEmulate() && s.Sregs.CS.DPL == 3 {
			return exit{kind: exitStray}
		}
	case kvmapi.ExitIntr:
		return exit{kind: exitInterrupted}
	}
	return v.broken(s.Describe())
}

// fromRing0 tells which handler left the machine: the instruction pointer is at its OUT or behind.
func (v *vcpu) fromRing0() exit {
	rip := v.state.Regs.Rip
	switch at := rip &^ (vectorSize - 1); {
	case at == syscallAddr, v.meeting.ring0 && v.meets(rip):
		return exit{kind: exitSyscall}
	case at-vectorsAddr < pageSize:
		vector := int(at-vectorsAddr) / vectorSize
		f, ok := v.frame(vector)
		if ok && vector == vectorPageFault && f.cs == kernelCS && f.rip == compatAddr {
			return exit{kind: exitCompat, frame: f}
		}
		if !ok || f.cs&3 != 3 {
			return v.broken(fmt.Sprintf("exception %d in ring 0: frame %+v", vector, f))
		}
		return exit{kind: exitVector, vector: vector, frame: f}
	}
	return v.broken("exit from ring 0")
}

func (v *vcpu) broken(what string) exit {
	return exit{kind: exitBroken, err: fmt.Errorf("%s (rip %#x)", what, v.state.Regs.Rip)}
}
