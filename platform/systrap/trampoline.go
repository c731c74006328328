package systrap

import (
	"encoding/binary"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
)

// trampoline is the code that a patched call goes through, to the handler at call. It finds the thread's
// area in GS, without touching the flags; where the guest has a GS of its own, it makes the call where it was.
func trampoline(t patch.Trampoline, call uint64) []byte {
	const quick, data = 30, 48
	le := binary.LittleEndian
	b := []byte{
		0xf3, 0x49, 0x0f, 0xae, 0xcb, // rdgsbase %r11
		0x4c, 0x89, 0xd9, // mov %r11,%rcx
		0x48, 0x0f, 0xc9, // bswap %rcx
		0x8d, 0x89, 0x00, 0x00, 0x81, 0x00, // lea 0x810000(%rcx),%ecx: 0 for 0x7fff........
		0xe3, quick - 19, // jrcxz quick
	}
	b = le.AppendUint32(append(b, 0xb8), t.Number)                        // mov $number,%eax
	b = le.AppendUint32(append(b, 0xff, 0x25), data-quick)                // jmp *back-2
	b = le.AppendUint32(append(b, 0xb8), t.Number)                        // quick: mov $number,%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), data+8-(quick+5+7))  // mov back,%rcx
	b = le.AppendUint32(append(b, 0xe9), uint32(call-(t.At+quick+5+7+5))) // jmp
	b = append(b, make([]byte, data-len(b))...)
	b = le.AppendUint64(b, t.Back-2)
	return le.AppendUint64(b, t.Back)
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
