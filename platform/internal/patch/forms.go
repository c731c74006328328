package patch

import (
	"bytes"
	"encoding/binary"
)

// siteBefore is the site of the call number in text that ends at offset back.
func siteBefore(text []byte, back, number uint64) (s site, ok bool) {
	if back < SiteLength {
		return s, false
	}
	at := back - SiteLength
	if patchable(text, at, number) {
		return site{offset: at, number: uint32(number)}, true
	}
	if loadsSixth(text, at) {
		return site{offset: at, number: uint32(number), any: true}, true
	}
	if back < guardedLength || number != 0 {
		return s, false
	}
	at = back - guardedLength
	g := guardedRead(text, at)
	return site{offset: at, guard: g}, g != nil
}

// patchable tells whether text has mov $number,%eax; syscall at offset at, as far as one can tell from the bytes
// before it: they may make it a part of a longer instruction.
func patchable(text []byte, at, number uint64) bool {
	if at+SiteLength > uint64(len(text)) {
		return false
	}
	b := text[at : at+SiteLength]
	if b[0] != 0xb8 || b[5] != 0x0f || b[6] != 0x05 || uint64(binary.LittleEndian.Uint32(b[1:])) != number {
		return false
	}
	if !begins(text, at) {
		return false
	}
	before := func(n uint64) byte {
		if n > at {
			return 0
		}
		return text[at-n]
	}
	// An operation on memory with a displacement of 0xb8 and the number as its immediate.
	immediate := func(op byte) bool { return op == 0xc7 || op == 0x81 || op == 0x69 || op == 0xf7 }
	const disp8, sib = 0x40, 4
	if m := before(1); m&0xc0 == disp8 && m&7 != sib && immediate(before(2)) {
		return false
	}
	if m := before(2); m&0xc0 == disp8 && m&7 == sib && immediate(before(3)) {
		return false
	}
	return true
}

// begins tells whether an instruction can begin at offset at, as far as the byte before it tells: it is no prefix.
func begins(text []byte, at uint64) bool {
	if at == 0 {
		return false // nobody knows what is before
	}
	switch p := text[at-1]; {
	case p >= 0x40 && p <= 0x4f: // REX: another register
		return false
	case p == 0x66, p == 0x67, p == 0xf0, p == 0xf2, p == 0xf3, p == 0x2e, p == 0x36, p == 0x3e, p == 0x26, p == 0x64, p == 0x65:
		return false
	case p == 0x0f: // bswap
		return false
	}
	return true
}

// loadSixth is mov 8(%rsp),%r9, by which the C library's syscall(2) loads a call's sixth argument.
func loadSixth() []byte { return []byte{0x4c, 0x8b, 0x4c, 0x24, 0x08} }

// loadsSixth tells whether text has loadSixth and SYSCALL at offset at.
func loadsSixth(text []byte, at uint64) bool {
	return at+SiteLength <= uint64(len(text)) && begins(text, at) && bytes.Equal(text[at:at+SiteLength], append(loadSixth(), 0x0f, 0x05))
}

// guardedRead looks for a read of the C library at offset at of text: cmpb $0,guard(%rip); je otherwise; xor %eax,%eax; syscall. The call itself is too short
// for a jump, and so is whatever else ends with it: one may jump to each of these instructions. The first one is as long as the jump.
func guardedRead(text []byte, at uint64) *guard {
	if at+guardedLength > uint64(len(text)) || !begins(text, at) {
		return nil
	}
	b := text[at : at+guardedLength]
	if b[0] != 0x80 || b[1] != 0x3d || b[6] != 0 || b[7] != 0x74 || !bytes.Equal(b[9:], []byte{0x31, 0xc0, 0x0f, 0x05}) {
		return nil
	}
	return &guard{int32(binary.LittleEndian.Uint32(b[2:])), int8(b[8])}
}
