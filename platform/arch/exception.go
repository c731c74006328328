package arch

import "golang.org/x/sys/unix"

// Exceptions by the processor's numbers.
const (
	trapDivide     = 0
	trapDebug      = 1
	trapBreakpoint = 3
	trapOpcode     = 6
	trapProtection = 13
	trapPageFault  = 14
	trapAlignment  = 17
	trapSIMD       = 19

	pageFaultPresent = 1 << 0
	pageFaultWrite   = 1 << 1
	pageFaultUser    = 1 << 2
	pageFaultFetch   = 1 << 4

	segvAccErr = 2    // si_code: mapped, but not for this access
	busAdrAln  = 1    // si_code: alignment
	fpeIntDiv  = 1    // si_code: integer division by zero
	fpeIntOvf  = 2    // si_code: its result does not fit
	siKernel   = 0x80 // si_code: the kernel, for no better reason
)

// ExceptionOf tells which exception of the processor Linux turns into a signal with
// this si_code, and the error code that it has, for a frame's TrapNo and
// ErrorCode. access is what was tried, PROT_READ, PROT_WRITE or PROT_EXEC, 0 if nobody knows.
func ExceptionOf(sig unix.Signal, code int32, access uint8) (trapNo, errorCode uint64) {
	switch sig {
	case unix.SIGFPE:
		if code == fpeIntDiv || code == fpeIntOvf {
			return trapDivide, 0
		}
		return trapSIMD, 0
	case unix.SIGTRAP:
		if code == siKernel {
			return trapBreakpoint, 0
		}
		return trapDebug, 0
	case unix.SIGILL:
		return trapOpcode, 0
	case unix.SIGBUS:
		if code == busAdrAln {
			return trapAlignment, 0
		}
		return trapPageFault, pageFault(false, access)
	case unix.SIGSEGV:
		if code == siKernel {
			return trapProtection, 0
		}
		return trapPageFault, pageFault(code == segvAccErr, access)
	}
	return 0, 0
}

func pageFault(present bool, access uint8) uint64 {
	e := uint64(pageFaultUser)
	if present {
		e |= pageFaultPresent
	}
	if access&unix.PROT_WRITE != 0 {
		e |= pageFaultWrite
	}
	if access&unix.PROT_EXEC != 0 {
		e |= pageFaultFetch
	}
	return e
}
