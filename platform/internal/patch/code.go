package patch

import "encoding/binary"

// Code is what a patched call goes through. It finds the thread's area, at 0x7fff......., in the base of GS, without touching
// the flags; where the guest has a GS of its own, it makes the call where it was. Where there is an answer, in the page at
// offset answers of the area, that is the result. Else it goes on with what ask returns for the address where that is to lie: the
// number is in rax, the return address in rcx and the area's in r11.
func Code(t Trampoline, answers uint32, ask func(at uint64) []byte) []byte {
	switch {
	case t.Any:
		return codeOfAny(t, answers, ask)
	case t.Guarded:
		return codeOfGuarded(t, ask)
	}
	const area, asking, data = 30, 61, TrampolineSize - 16
	le := binary.LittleEndian
	b := []byte{
		0xf3, 0x49, 0x0f, 0xae, 0xcb, // rdgsbase %r11
		0x4c, 0x89, 0xd9, // mov %r11,%rcx
		0x48, 0x0f, 0xc9, // bswap %rcx
		0x8d, 0x89, 0x00, 0x00, 0x81, 0x00, // lea 0x810000(%rcx),%ecx: 0 for 0x7fff........
		0xe3, area - 19, // jrcxz area
	}
	b = le.AppendUint32(append(b, 0xb8), t.Number)        // mov $number,%eax
	b = le.AppendUint32(append(b, 0xff, 0x25), data-area) // jmp *back-2
	if t.Number < AnswerCount {
		b = append(b, answer(answers+8*t.Number, asking, data)...)
	}
	at := uint32(len(b))                                             // asking
	b = le.AppendUint32(append(b, 0xb8), t.Number)                   // mov $number,%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), data+8-(at+12)) // mov back,%rcx
	b = append(b, ask(t.At+uint64(len(b)))...)
	b = append(b, make([]byte, data-len(b))...)
	b = le.AppendUint64(b, t.Back-2)
	return le.AppendUint64(b, t.Back)
}

// answer is the part of a trampoline that answers the call, or goes on at asking, which is where it ends. The flags that SYSCALL
// would leave in r11 are not worth reading: there are the usual ones.
func answer(word uint32, asking, data int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte{0x41, 0x8b, 0x8b}, word+4)                      // mov word+4(%r11),%ecx
	b = append(b, 0xe3, 22)                                                     // jrcxz asking
	b = le.AppendUint32(append(b, 0x41, 0x8b, 0x83), word)                      // mov word(%r11),%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), uint32(data+8-(asking-8))) // mov back,%rcx
	b = le.AppendUint32(append(b, 0x41, 0xbb), 0x246)                           // mov $0x246,%r11d
	return append(b, 0xff, 0xe1)                                                // jmp *%rcx
}

// Parts of the code for a site that makes any call, by their offsets.
const (
	anyArea     = 37
	anyIndex    = 46
	anyAnswered = 74 // eax has the answer
	anyAsking   = 76
	anyData     = TrampolineSize - 8
)

// codeOfAny is Code where the call's number is in rax. Only the calls below 256 can be answered. r11 keeps the answer.
func codeOfAny(t Trampoline, answers uint32, ask func(at uint64) []byte) []byte {
	le := binary.LittleEndian
	b := append(loadSixth(),
		0xf3, 0x49, 0x0f, 0xae, 0xcb, // rdgsbase %r11
		0x4c, 0x89, 0xd9, // mov %r11,%rcx
		0x48, 0x0f, 0xc9, // bswap %rcx
		0x8d, 0x89, 0x00, 0x00, 0x81, 0x00, // lea 0x810000(%rcx),%ecx: 0 for 0x7fff........
		0xe3, anyArea-24, // jrcxz area
		0x48, 0x8b, 0x0d, anyData-31, 0, 0, 0, // mov back,%rcx
		0x48, 0x8d, 0x49, 0xfe, // lea -2(%rcx),%rcx
		0xff, 0xe1, // jmp *%rcx
		0x48, 0x89, 0xc1, // area: mov %rax,%rcx
		0xb1, 0x00, // mov $0,%cl
		0xe3, anyIndex-anyArea-7, // jrcxz index
		0xeb, anyAsking-anyIndex, // jmp asking
	)
	b = le.AppendUint32(append(b, 0x41, 0x8b, 0x8c, 0xc3), answers+4) // index: mov answers+4(%r11,%rax,8),%ecx
	b = append(b, 0xe3, anyAsking-anyIndex-10)                        // jrcxz asking
	b = le.AppendUint32(append(b, 0x45, 0x8b, 0x9c, 0xc3), answers)   // mov answers(%r11,%rax,8),%r11d
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), anyData-71)      // mov back,%rcx
	b = append(b, 0x44, 0x89, 0xd8, 0xff, 0xe1)                       // mov %r11d,%eax; answered: jmp *%rcx
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), anyData-83)      // asking: mov back,%rcx
	b = append(b, ask(t.At+uint64(len(b)))...)
	b = append(b, make([]byte, anyData-len(b))...)
	return le.AppendUint64(b, t.Back)
}

// codeOfGuarded is Code for a read that is made if a byte is not 0. Of what the code at t.Otherwise finds only al differs from what it was; whoever
// goes back from here to the site compares that byte again.
func codeOfGuarded(t Trampoline, ask func(at uint64) []byte) []byte {
	const area, data = 40, TrampolineSize - 24
	const otherwise = data - 6
	le := binary.LittleEndian
	b := le.AppendUint64([]byte{0xa0}, t.Guard) // movabs guard,%al
	b = append(b,
		0x84, 0xc0, // test %al,%al
		0x74, otherwise-13, // je otherwise
		0x31, 0xc0, // xor %eax,%eax
		0xf3, 0x49, 0x0f, 0xae, 0xcb, // rdgsbase %r11
		0x4c, 0x89, 0xd9, // mov %r11,%rcx
		0x48, 0x0f, 0xc9, // bswap %rcx
		0x8d, 0x89, 0x00, 0x00, 0x81, 0x00, // lea 0x810000(%rcx),%ecx: 0 for 0x7fff........
		0xe3, area-34, // jrcxz area
		0xff, 0x25, data-area, 0, 0, 0, // jmp *back-2
		0x48, 0x8b, 0x0d, data+8-area-7, 0, 0, 0, // area: mov back,%rcx
	)
	b = append(b, ask(t.At+uint64(len(b)))...)
	b = append(b, make([]byte, otherwise-len(b))...)
	b = append(b, 0xff, 0x25, 16, 0, 0, 0) // otherwise: jmp *t.Otherwise
	b = le.AppendUint64(b, t.Back-2)
	b = le.AppendUint64(b, t.Back)
	return le.AppendUint64(b, t.Otherwise)
}
