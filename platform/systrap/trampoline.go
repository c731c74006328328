package systrap

import (
	"encoding/binary"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
)

// trampoline is the code that a patched call goes through, to the handler at call.
func trampoline(t patch.Trampoline, call uint64) []byte {
	return patch.Code(t, answersAt, func(at uint64) []byte {
		return binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(call-at)-5) // jmp
	})
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
