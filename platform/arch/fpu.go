package arch

import "encoding/binary"

var le = binary.LittleEndian

// Offsets in XSAVE's standard format, in bytes. The first 512 are FXSAVE's; of those
// the processor leaves the last 48 to software.
const (
	fpuControl     = 0  // FCW
	fpuMXCSR       = 24 // and the mask of its valid bits behind it
	fpuMXCSRMask   = 28
	fpuSoftware    = 464
	fxsaveEnd      = 512
	xsaveFeatures  = 512 // XSTATE_BV
	xsaveCompact   = 520 // XCOMP_BV
	xsaveHeaderEnd = 576

	fpsse = 3 // XSTATE_BV: x87 and SSE

	initialFCW   = 0x37f
	initialMXCSR = 0x1f80
)

// FPUSize is the length in bytes of a guest thread's extended state: XSAVE's
// standard format with all components that the host enabled, but for AMX tiles.
func FPUSize() int { return host().size }

// FPUFeatures is the set of XSAVE components that guests have, as bits of XCR0.
func FPUFeatures() uint64 { return host().features }

// ExportFPU returns a copy of a guest thread's extended state for a debugger, which finds the
// components that exist in the bytes left to software.
func ExportFPU(fpu []byte) []byte {
	b := append([]byte(nil), fpu...)
	le.PutUint64(b[fpuSoftware:], FPUFeatures())
	return b
}

// NewFPU returns the extended state of a new program.
func NewFPU() []byte {
	b := make([]byte, FPUSize())
	ResetFPU(b)
	return b
}

// ResetFPU makes b, FPUSize bytes, the extended state of a new program: signal
// handlers start with it as well.
func ResetFPU(b []byte) {
	clear(b)
	le.PutUint16(b[fpuControl:], initialFCW)
	le.PutUint32(b[fpuMXCSR:], initialMXCSR)
	le.PutUint32(b[fpuMXCSRMask:], host().mxcsrMask)
	le.PutUint64(b[xsaveFeatures:], fpsse)
}

// SanitizeFPU changes b, at least FPUSize bytes from a hostile source, so that XRSTOR and
// PTRACE_SETREGSET load it without a fault: reserved bits of MXCSR and of the
// header are cleared, and components that guests do not have are dropped.
func SanitizeFPU(b []byte) {
	p := host()
	le.PutUint32(b[fpuMXCSR:], le.Uint32(b[fpuMXCSR:])&p.mxcsrMask)
	le.PutUint64(b[xsaveFeatures:], le.Uint64(b[xsaveFeatures:])&p.features)
	clear(b[xsaveCompact:xsaveHeaderEnd])
	if len(b) > p.size {
		clear(b[p.size:])
	}
}

// ValidFPU tells whether XRSTOR would load b, FPUSize bytes.
func ValidFPU(b []byte) bool {
	p := host()
	if le.Uint32(b[fpuMXCSR:])&^p.mxcsrMask != 0 || le.Uint64(b[xsaveFeatures:])&^p.features != 0 {
		return false
	}
	for _, c := range b[xsaveCompact:xsaveHeaderEnd] {
		if c != 0 {
			return false
		}
	}
	return true
}

// FPUExceptionCode is the si_code of SIGFPE for the exception that is pending in a thread's
// extended state: the vector unit's with simd set, else x87's.
func FPUExceptionCode(b []byte, simd bool) int32 {
	const fpuStatus = 2
	var e uint32 // flags raised and not masked: invalid, denormal, zero divide, overflow, underflow, precision
	if simd {
		mxcsr := le.Uint32(b[fpuMXCSR:])
		e = mxcsr &^ (mxcsr >> 7)
	} else {
		e = uint32(le.Uint16(b[fpuStatus:]) &^ le.Uint16(b[fpuControl:]))
	}
	const divide, overflow, underflow, inexact, invalid = 3, 4, 5, 6, 7
	switch {
	case e&0x01 != 0:
		return invalid
	case e&0x04 != 0:
		return divide
	case e&0x08 != 0:
		return overflow
	case e&0x12 != 0:
		return underflow
	case e&0x20 != 0:
		return inexact
	}
	return 0
}
