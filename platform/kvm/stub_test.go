package kvm

import (
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// disassemble returns the instructions of text up to the first HLT.
func disassemble(t *testing.T, text []byte, at uint64) (list []string) {
	t.Helper()
	for {
		inst, err := x86asm.Decode(text, 64)
		if err != nil {
			t.Fatalf("%#x: % x: %v", at, text[:8], err)
		}
		if inst.Op == x86asm.HLT {
			return list
		}
		list = append(list, x86asm.GNUSyntax(inst, at, nil))
		text, at = text[inst.Len:], at+uint64(inst.Len)
	}
}

// TestText disassembles the stub.
func TestText(t *testing.T) {
	leave := "out %al,$0x10"
	for v := range 256 {
		at := v * vectorSize
		if got := disassemble(t, vectorsPage()[at:], vectorsAddr+uint64(at)); len(got) != 1 || got[0] != leave {
			t.Errorf("handler %d: %q", v, got)
		}
	}
	for _, at := range []uint64{syscallAddr, compatAddr} {
		if got := disassemble(t, syscallPage()[at-syscallAddr:], at); len(got) != 1 || got[0] != leave {
			t.Errorf("%#x: %q", at, got)
		}
	}
	got := disassemble(t, userEntryPage(), userEntry)
	if len(got) != 1 || got[0] != "mov %eax,0x80005000" {
		t.Errorf("user entry: %q", got)
	}
	for i, b := range userEntryPage()[userEntryStore:] {
		if b != halt {
			t.Fatalf("user entry has %#x at %d", b, i)
		}
	}
}

// TestStubRights looks at every page of the stub: none is both written and executed, and user code sees its
// entry alone.
func TestStubRights(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	const writable, user, noExec = 1 << 1, 1 << 2, 1 << 63
	for i, e := range p.kernel {
		addr := kernelBase + uint64(i)*pageSize
		if e&writable != 0 && e&noExec == 0 {
			t.Errorf("%#x: entry %#x is writable and executable", addr, e)
		}
		if e&user == 0 {
			continue
		}
		switch {
		case p.entry == entryRing3 && addr == userEntry && e&writable == 0:
		case p.entry == entryRing3 && addr == exitAddr && e&noExec != 0 && e&(1<<52-1<<12) == noMemory:
		default:
			t.Errorf("%#x: user code can use entry %#x", addr, e)
		}
	}
}
