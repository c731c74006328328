package kvm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// ring0Listing disassembles a processor's code for SYSCALL, and has each instruction behind its offset.
func ring0Listing(t *testing.T, m *meeting) (at []uint64, list []x86asm.Inst) {
	t.Helper()
	for i := uint64(0); i < uint64(len(m.text)); {
		inst, err := x86asm.Decode(m.text[i:], 64)
		if err != nil {
			t.Fatalf("%#x: %v", i, err)
		}
		at, list = append(at, i), append(list, inst)
		i += uint64(inst.Len)
	}
	return at, list
}

// TestRing0Text disassembles what a processor executes in ring 0 at a call: it writes to no register but rax, uses no stack, reads and writes its own pages only,
// and goes nowhere else.
func TestRing0Text(t *testing.T) {
	const id = 3
	m := newRing0Meeting(id)
	if len(m.text) > pageSize {
		t.Fatalf("%d bytes", len(m.text))
	}
	marks := map[uint64]string{m.stored: "cmp $0x1ff,%rax", m.direct: "out %al,$0x10", m.asked: "mov 0x8005aff8,%eax"}
	var ends []string
	offsets, list := ring0Listing(t, m)
	for i, inst := range list {
		at, text := offsets[i], x86asm.GNUSyntax(inst, m.at+offsets[i], nil)
		if want := marks[at]; want != "" && text != want {
			t.Errorf("%#x: %s, want %s", at, text, want)
		}
		delete(marks, at)
		switch inst.Op {
		case x86asm.JE, x86asm.JNE, x86asm.JB, x86asm.JAE:
			if to := at + uint64(inst.Len) + uint64(int64(inst.Args[0].(x86asm.Rel))); !slices.Contains(offsets, to) {
				t.Errorf("%#x: %s goes to %#x", at, text, to)
			}
			continue
		case x86asm.OUT, x86asm.HLT, x86asm.SYSRET:
			ends = append(ends, text)
			continue
		case x86asm.MOV, x86asm.XCHG, x86asm.RDFSBASE, x86asm.RDGSBASE, x86asm.SUB:
			checkRing0Write(t, inst.Args[0], id, text)
		case x86asm.AND: // what takes a call back leaves a result there
			checkRing0Write(t, inst.Args[0], id, text)
			if text != fmt.Sprintf("lock andl $0x%x,%#x", areaAnswered, uint32(ring0Area(id))) {
				t.Errorf("%#x: %s", at, text)
			}
		case x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.PAUSE:
		default:
			t.Errorf("%#x: %s", at, text)
		}
		for _, a := range inst.Args {
			if mem, ok := a.(x86asm.Mem); ok && (mem.Base != 0 || mem.Segment != 0 || signExtended(mem)-ring0Answers(id) >= 2*pageSize) {
				t.Errorf("%#x: %s uses memory of others", at, text)
			}
		}
	}
	if len(marks) > 0 {
		t.Errorf("no instruction begins at %v", marks)
	}
	want := []string{"out %al,$0x10", "hlt", "rex.W sysretq", "rex.W sysretq", "out %al,$0x10", "hlt"}
	if !slices.Equal(ends, want) {
		t.Errorf("%q, want %q", ends, want)
	}
}

// signExtended is the address that an instruction uses.
func signExtended(m x86asm.Mem) uint64 { return uint64(int64(int32(m.Disp))) }

// checkRing0Write looks at what an instruction writes: rax, or the processor's area.
func checkRing0Write(t *testing.T, a x86asm.Arg, id int, text string) {
	t.Helper()
	switch a := a.(type) {
	case x86asm.Reg:
		if a != x86asm.RAX && a != x86asm.EAX {
			t.Errorf("%s writes to a register", text)
		}
	case x86asm.Mem:
		if signExtended(a)-ring0Area(id) >= pageSize {
			t.Errorf("%s writes to %#x", text, a.Disp)
		}
	}
}

// TestRing0Unmeet has a processor be stopped before each instruction of its code for SYSCALL, as far as that was executed by then: the call is to be made again.
func TestRing0Unmeet(t *testing.T) {
	m := newRing0Meeting(0)
	page := make([]byte, pageSize)
	v := &vcpu{meeting: m, calls: newArea(page)}
	const number, elsewhere = 39, 0xdead
	offsets, list := ring0Listing(t, m)
	for i, at := range offsets {
		if list[i].Op == x86asm.HLT {
			continue
		}
		regs := arch.Registers{Rip: m.at + at, Rcx: codeAt + 2, R11: 0x247, Rax: number, Rsp: 1, Cs: kernelCS, Ss: kernelDS, Eflags: 2}
		v.calls.rax = elsewhere
		if at >= m.stored && at != m.direct { // a call comes there without having been stored, too
			v.calls.rax, regs.Rax = number, elsewhere
		}
		v.unmeet(&regs)
		want := arch.Registers{Rip: codeAt, Rcx: codeAt + 2, R11: 0x247, Rax: number, Rsp: 1, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0x247}
		if regs != want {
			t.Errorf("%#x: %+v, want %+v", at, regs, want)
		}
	}
}

// TestRing0Hidden has a guest read, write and execute each of the stub's pages while calls are passed over through some of them.
func TestRing0Hidden(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if !p.ring0 {
		t.Skip("SYSCALL does not arrive in ring 0 on this host")
	}
	g := callGuest(t, p)
	copy(g.mem[3*pageSize:], loadText)
	copy(g.mem[4*pageSize:], storeText)
	g.apply(g.at(dataAt, 3, platform.Read|platform.Exec), g.at(dataAt+pageSize, 4, platform.Read|platform.Exec))
	for i, e := range p.kernel {
		addr := kernelBase + uint64(i)*pageSize
		for access, rip := range map[platform.Prot]uint64{platform.Read: dataAt, platform.Write: dataAt + pageSize, platform.Exec: addr} {
			if e == 0 && access != platform.Read {
				continue
			}
			g.regs.Rip, g.regs.Rbx, g.regs.Rax = rip, addr, 7
			ev, err := g.c.Run(g.as, &g.regs)
			if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV || ev.Addr != addr || ev.Access != access {
				t.Fatalf("%#x, access %d: %+v %v", addr, access, ev, err)
			}
		}
		if i%16 == 0 { // have the pages used meanwhile
			g.regs.Rip = codeAt
			g.next(asked)
			g.next(marker)
		}
	}
}

// TestRing0Stepped single-steps a guest over a call whose answer is known: the call is made, and the step is shown behind it.
func TestRing0Stepped(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if !p.ring0 {
		t.Skip("SYSCALL does not arrive in ring 0 on this host")
	}
	g := callGuest(t, p)
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told}})
	var steps []string
	g.regs.Rip, g.regs.Eflags = codeAt+siteAt, fixedFlags|arch.FlagTF
	for range 6 {
		ev, err := g.c.Run(g.as, &g.regs)
		if err != nil {
			t.Fatal(err)
		}
		switch at := g.regs.Rip - codeAt - siteAt; {
		case ev.Kind == platform.Syscall && g.regs.Rax == asked && at == 7:
			g.regs.Rax = told
			steps = append(steps, "call")
		case ev.Kind == platform.Fault && ev.Signal == unix.SIGTRAP:
			steps = append(steps, map[uint64]string{5: "number", 10: "result", 15: "next"}[at])
		}
	}
	if got := strings.Join(steps, " "); !strings.HasPrefix(got, "number call result next") || g.regs.Rbx != told {
		t.Errorf("%q, the result is %d", got, g.regs.Rbx)
	}
}
