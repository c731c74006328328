package kvm

import (
	"testing"

	"gosentry/platform/kvm/kvmapi"

	"golang.org/x/arch/x86/x86asm"
)

// TestResultTakenBack stops a processor before each instruction that it executes after it took a call back and found that there was
// a result: it has that, and does not make the call again.
func TestResultTakenBack(t *testing.T) {
	m := newMeeting()
	v := &vcpu{meeting: m, calls: newArea(make([]byte, pageSize)), state: &kvmapi.Run{}}
	offsets, list := ring0Listing(t, m)
	late := 0
	for i, inst := range list {
		if inst.Op == x86asm.XCHG && offsets[i] >= m.asked {
			late = i + 1
		}
	}
	stopped := func(i int, rax uint64) bool {
		v.state.Regs.Rip, v.state.Regs.Rax = m.at+offsets[i], rax
		return v.waits(exit{kind: exitInterrupted})
	}
	result := false
	for i := late; i < len(list); i++ {
		tests := i == late || i == late+1
		result = result || offsets[i] == offsets[late+1]+uint64(list[late+1].Len)+uint64(list[late+1].Args[0].(x86asm.Rel))
		for _, old := range []uint64{areaAsked, areaTaken, areaAnswered} {
			if want := result || tests && old == areaAnswered; stopped(i, old) != want {
				t.Errorf("%s, which was %d: the result is there: %v", x86asm.GNUSyntax(list[i], m.at+offsets[i], nil), old, !want)
			}
		}
	}
	if !result {
		t.Error("nothing gives a result")
	}
}
