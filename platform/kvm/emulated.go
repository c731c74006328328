package kvm

import "slices"

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
		case 0xc8, 0xc9, 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf: // monitor, mwait, and what SVM alone has
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
