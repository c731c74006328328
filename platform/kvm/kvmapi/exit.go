package kvmapi

import (
	"encoding/binary"
	"fmt"
)

// immediateExit is the bit of control that KVM reads as immediate_exit.
const immediateExit = 1 << 8

// SetImmediateExit makes Run return EINTR before any guest instruction, or not. Any thread may call it.
func (r *Run) SetImmediateExit(on bool) {
	if on {
		r.control.Store(immediateExit)
	} else {
		r.control.Store(0)
	}
}

// MMIO is an ExitMMIO's address and whether it is a store.
func (r *Run) MMIO() (addr uint64, write bool) {
	return binary.LittleEndian.Uint64(r.exit[:]), r.exit[20] != 0
}

// CannotEmulate tells whether an ExitInternalError is about an instruction that KVM does not know.
func (r *Run) CannotEmulate() bool { return binary.LittleEndian.Uint32(r.exit[:]) == internalEmulation }

// internalEmulation is KVM_INTERNAL_ERROR_EMULATION.
const internalEmulation = 1

// Port is the port of an ExitIO.
func (r *Run) Port() uint16 { return binary.LittleEndian.Uint16(r.exit[2:]) }

// Describe says in words why the VCPU stopped.
func (r *Run) Describe() string {
	switch r.ExitReason {
	case ExitIO:
		return fmt.Sprintf("port %#x", r.Port())
	case ExitMMIO:
		addr, write := r.MMIO()
		return fmt.Sprintf("no memory at guest-physical %#x (write: %t)", addr, write)
	case ExitShutdown:
		return "triple fault"
	case ExitFailEntry:
		return fmt.Sprintf("the processor refused to enter the guest: %#x", binary.LittleEndian.Uint64(r.exit[:]))
	case ExitInternalError:
		return fmt.Sprintf("KVM's internal error %d (% x)", binary.LittleEndian.Uint32(r.exit[:]), r.exit[8:40])
	}
	return fmt.Sprintf("exit reason %d", r.ExitReason)
}
