package kvm

import (
	"slices"
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
	if got := disassemble(t, syscallPage(), syscallAddr); len(got) != 1 || got[0] != leave {
		t.Errorf("SYSCALL: %q", got)
	}
	got := disassemble(t, userEntryPage(), userEntry)
	if len(got) != 1 || got[0] != "mov %eax,0x80005000" {
		t.Errorf("user entry: %q", got)
	}
	m := newMeeting()
	for i, b := range userEntryPage()[userEntryStore:] {
		if at := userEntry + userEntryStore + uint64(i); b != halt && at-meetingAt >= uint64(len(m.text)) && at < meetingPointer {
			t.Fatalf("user entry has %#x at %#x", b, at)
		}
	}
}

// TestMeetingText disassembles the code by which calls are passed over.
func TestMeetingText(t *testing.T) {
	m := newMeeting()
	at := map[uint64]string{
		m.kept: "mov %rcx,%r11", m.stored: "rdfsbase %rax", m.below: "pushfq", m.above: "mov $0x1,%eax", m.asked: "mov 0xff8(%r11),%eax",
	}
	var ends []string
	for i := uint64(0); i < uint64(len(m.text)); {
		inst, err := x86asm.Decode(m.text[i:], 64)
		if err != nil {
			t.Fatalf("%#x: %v", i, err)
		}
		text := x86asm.GNUSyntax(inst, meetingAt+i, nil)
		if want := at[i]; want != "" && text != want {
			t.Errorf("%#x: %s, want %s", i, text, want)
		}
		delete(at, i)
		switch inst.Op {
		case x86asm.JRCXZ, x86asm.JMP, x86asm.UD2:
			ends = append(ends, text)
		case x86asm.RDGSBASE, x86asm.RDFSBASE, x86asm.MOV, x86asm.LEA, x86asm.XCHG, x86asm.PAUSE, x86asm.PUSHFQ:
		default:
			t.Errorf("%#x: %s", i, text)
		}
		i += uint64(inst.Len)
	}
	if len(at) > 0 {
		t.Errorf("no instruction begins at %v", at)
	}
	want := []string{"jrcxz 0xffffffff800021d2", "jrcxz 0xffffffff800021fa", "jmp 0xffffffff800021bb", "jrcxz 0xffffffff800021fa", "ud2", "jmp *%rcx"}
	if !slices.Equal(ends, want) {
		t.Errorf("%q, want %q", ends, want)
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
