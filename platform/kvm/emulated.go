package kvm

import (
	"slices"

	"gosentry/platform/arch"
)

// svmOn tells whether the processor knows the instructions of SVM, which it refuses user code otherwise than those it does not know. Where AMD's
// processors have a hypervisor they do, whatever that lets its guests use.
func svmOn() bool {
	const hypervisor = 1 << 31 // leaf 1, ECX
	vendor, features := arch.CPUID(0, 0), arch.CPUID(1, 0)
	var name []byte
	for _, register := range []int{1, 3, 2} { // EBX, EDX, ECX
		name = le.AppendUint32(name, vendor[register])
	}
	return (string(name) == "AuthenticAMD" || string(name) == "HygonGenuine") && features[2]&hypervisor != 0
}

// judged is what an exception of vector should have been. Where ring 0 is emulated, KVM's emulator has a say in
// instructions that user code may not execute, and knows some of them otherwise than processors do.
func (c *context) judged(as *addressSpace, vector int, rip uint64) int {
	if c.p.entry != entryRing3 || vector != vectorProtection && vector != vectorOpcode {
		return vector
	}
	b := operation(as.peekSome(rip, longestInstruction))
	modrm := func(at int) byte {
		if at >= len(b) {
			return registerForm // no instruction of those below
		}
		return b[at]
	}
	is := func(want ...byte) bool { return len(b) >= len(want) && slices.Equal(b[:len(want)], want) }
	switch field := modrm(1) >> 3 & 7; {
	case is(0x0f, 0x01):
		switch modrm(2) {
		case 0xc8, 0xc9: // monitor, mwait
			return vectorOpcode
		case 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf: // what SVM alone has
			if c.p.svm {
				return vectorProtection
			}
			return vectorOpcode
		}
	case is(0x0f, 0xc7): // xrstors, xsaves
		if op := modrm(2); op < registerForm && (op>>3&7 == 3 || op>>3&7 == 5) {
			return vectorProtection
		}
	case is(0x0f, 0x38, 0x82): // invpcid
		return vectorProtection
	case is(0xff) && modrm(1) < registerForm && (field == 3 || field == 5): // far call, far jump
		return vectorProtection
	}
	return vector
}

const (
	longestInstruction = 15
	// registerForm is the first ModRM byte that names two registers and no memory.
	registerForm = 0xc0
)

// operation is an instruction without its prefixes.
func operation(b []byte) []byte {
	for len(b) > 0 {
		switch p := b[0]; {
		case p == 0x66, p == 0x67, p == 0xf2, p == 0xf3, p == 0x2e, p == 0x36, p == 0x3e, p == 0x26, p == 0x64, p == 0x65:
		case p >= 0x40 && p <= 0x4f: // REX
			return b[1:]
		default:
			return b
		}
		b = b[1:]
	}
	return nil
}
