package systrap

import (
	"encoding/binary"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
)

// trampoline is the code that a patched call goes through. It finds the thread's
// area in GS, without touching the flags; where the guest has a GS of its own, it makes the call where it was. Where there is an answer,
// that is the result, else it goes to the handler at call.
func trampoline(t patch.Trampoline, call uint64) []byte {
	const area, ask, data = 30, 61, patch.TrampolineSize - 16
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
	if t.Number < answerCount {
		b = append(b, answer(t.Number, ask, data)...)
	}
	at := uint32(len(b))                                             // ask
	b = le.AppendUint32(append(b, 0xb8), t.Number)                   // mov $number,%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), data+8-(at+12)) // mov back,%rcx
	b = le.AppendUint32(append(b, 0xe9), uint32(call-t.At)-(at+17))  // jmp call
	b = append(b, make([]byte, data-len(b))...)
	b = le.AppendUint64(b, t.Back-2)
	return le.AppendUint64(b, t.Back)
}

// answer is the part of a trampoline that answers the call, or goes on at ask, which is where it ends. The flags that SYSCALL
// would leave in r11 are not worth reading: there are the usual ones.
func answer(number uint32, ask, data int) []byte {
	le := binary.LittleEndian
	word := answersAt + 8*number
	b := le.AppendUint32([]byte{0x41, 0x8b, 0x8b}, word+4)                   // mov word+4(%r11),%ecx
	b = append(b, 0xe3, 22)                                                  // jrcxz ask
	b = le.AppendUint32(append(b, 0x41, 0x8b, 0x83), word)                   // mov word(%r11),%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), uint32(data+8-(ask-8))) // mov back,%rcx
	b = le.AppendUint32(append(b, 0x41, 0xbb), 0x246)                        // mov $0x246,%r11d
	return append(b, 0xff, 0xe1)                                             // jmp *%rcx
}

// rewind makes regs, which a kick found in a trampoline, those of a thread that has not made its call yet. What it has done
// so far is to write to registers that the call is going to write to.
func (as *addressSpace) rewind(regs *arch.Registers) {
	if regs.Rip-trampolinesAt >= patch.TrampolinesSize {
		return
	}
	as.Lock()
	defer as.Unlock()
	if site, ok := as.text.Site(regs.Rip); ok {
		regs.Rip = site
	}
}

// patch patches the call that ends at rip, where that can be. It takes effect at the next Run of whoever runs.
func (as *addressSpace) patch(rip, number uint64) {
	as.Lock()
	defer as.Unlock()
	if as.Process() != nil {
		as.text.Patch(rip, number)
	}
}

// stopPatching undoes all patches for good.
func (as *addressSpace) stopPatching() {
	as.Lock()
	defer as.Unlock()
	as.text.Stop()
}

// missed tells whether ev is a fault of a patched call that found no pointer.
func (as *addressSpace) missed(ev platform.Event) bool {
	if ev.Kind != platform.Fault {
		return false
	}
	as.Lock()
	defer as.Unlock()
	return as.text.Missed(ev.Addr)
}

// stepping tells whether the guest is being single-stepped, which patched sites would show.
func stepping(regs *arch.Registers) bool { return regs.Eflags&arch.FlagTF != 0 }
