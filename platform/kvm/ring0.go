package kvm

import (
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
)

// Where SYSCALL arrives in ring 0, each processor has pages of its own for that: the code, which finds the others by their addresses and so needs
// no register; the answers; and the area. User code can use none of them.
func ring0Text(id int) uint64    { return ring0Addr + uint64(id)*3*pageSize }
func ring0Answers(id int) uint64 { return ring0Text(id) + pageSize }
func ring0Area(id int) uint64    { return ring0Text(id) + 2*pageSize }

// passInRing0 has processor v answer its calls, or pass them over, before they leave the machine. It is reset after that.
func (m *machine) passInRing0(v *vcpu) error {
	meeting := newRing0Meeting(v.id)
	text, err := m.addPage(ring0Text(v.id), platform.Read|platform.Exec)
	if err != nil {
		return err
	}
	answers, err := m.addPage(ring0Answers(v.id), platform.Read)
	if err != nil {
		return err
	}
	calls, err := m.addPage(ring0Area(v.id), platform.Read|platform.Write)
	if err != nil {
		return err
	}
	for i := range text {
		text[i] = halt
	}
	copy(text, meeting.text)
	v.meeting, v.answers, v.calls = meeting, patch.NewPage(answers), newArea(calls)
	return nil
}

// newRing0Meeting assembles where processor id's SYSCALL goes in ring 0: what can be answered is, and goes back; where no looks are to be had, or the
// guest is single-stepped, which a SYSRET would show, the call leaves the machine; else its registers are stored, and the result is looked for. The
// processor has the return address in rcx and the flags in r11, which stay there, as all registers do but rax: there is no stack, and none is needed.
func newRing0Meeting(id int) *meeting {
	area, answers := ring0Area(id), ring0Answers(id)
	t := &assembly{}
	t.add(0x41, 0xf7, 0xc3, 0x00, 0x01, 0x00, 0x00) // test $TF,%r11d
	t.jump(jumpNotEqual, "direct")
	t.at(area+areaRax, 0x48, 0x89, 0) // mov %rax,rax
	m := &meeting{at: ring0Text(id), ring0: true, stored: t.offset()}
	t.add(0x48, 0x3d, byte(patch.AnswerCount&0xff), patch.AnswerCount>>8, 0, 0) // cmp $AnswerCount,%rax
	t.jump(jumpNotBelow, "ask")
	t.add(0x48, 0x8b, 0x04, 0xc5) // mov answers(,%rax,8),%rax
	t.b = le.AppendUint32(t.b, uint32(answers))
	t.add(0x48, 0x0f, 0xba, 0xe0, 32) // bt $32,%rax
	t.jump(jumpBelow, "known")
	t.label("ask")
	t.at(answers+patch.SpareAt, 0x83, 7) // cmpl $0,looks
	t.add(0)
	t.jump(jumpNotEqual, "meet")
	t.at(area+areaRax, 0x48, 0x8b, 0) // mov rax,%rax
	t.label("direct")
	m.direct = t.offset()
	t.add(append(out(), halt)...)
	t.label("known")
	t.add(0x89, 0xc0)       // mov %eax,%eax
	t.add(0x48, 0x0f, 0x07) // sysretq
	t.label("meet")
	t.storeRegisters(area)
	t.at(area+areaState, 0x87, 0) // xchg %eax,state
	m.asked = t.offset()
	t.lookForResult(area, answers)
	m.text = t.done()
	return m
}

// storeRegisters stores what the sentry is to know of the call, but for rax, and has the state that says so in eax.
func (t *assembly) storeRegisters(area uint64) {
	for _, s := range []struct {
		register byte
		at       uint64
	}{
		{7, areaRdi}, {6, areaRsi}, {2, areaRdx}, {10, areaR10}, {8, areaR8}, {9, areaR9}, {1, areaBack}, {4, areaRsp}, {11, areaFlags},
		{3, areaRbx}, {5, areaRbp}, {12, areaR12}, {13, areaR12 + 8}, {14, areaR12 + 16}, {15, areaR12 + 24},
	} {
		t.at(area+s.at, 0x48|s.register>>3<<2, 0x89, s.register&7) // mov %register,at
	}
	t.add(0xf3, 0x48, 0x0f, 0xae, 0xc0)  // rdfsbase %rax
	t.at(area+areaFSBase, 0x48, 0x89, 0) // mov %rax,fsbase
	t.add(0xf3, 0x48, 0x0f, 0xae, 0xc8)  // rdgsbase %rax
	t.at(area+areaGSBase, 0x48, 0x89, 0) // mov %rax,gsbase
	for i, segment := range []byte{3, 0, 4, 5} {
		t.at(area+areaDs+2*uint64(i), 0x8c, segment) // mov %ds,ds and so on
	}
	t.add(0xb8, areaAsked, 0, 0, 0) // mov $asked,%eax
}

// lookForResult looks for the result as often as there are looks, and then takes the call back, which leaves the machine.
func (t *assembly) lookForResult(area, answers uint64) {
	t.at(answers+patch.SpareAt, 0x8b, 0) // mov looks,%eax
	t.label("look")
	t.add(0x83, 0xe8, 1) // sub $1,%eax
	t.jump(jumpBelow, "late")
	t.add(0xf3, 0x90)             // pause
	t.at(area+areaState, 0x83, 7) // cmpl $answered,state
	t.add(areaAnswered)
	t.jump(jumpNotEqual, "look")
	t.label("answered")
	t.at(area+areaResult, 0x48, 0x8b, 0) // mov result,%rax
	t.add(0x48, 0x0f, 0x07)              // sysretq
	t.label("late")
	t.at(area+areaState, 0xf0, 0x83, 4) // lock and $answered,state, which makes it idle unless there is a result
	t.add(areaAnswered)
	t.jump(jumpNotEqual, "answered")
	t.at(area+areaRax, 0x48, 0x8b, 0) // mov rax,%rax
	t.add(append(out(), halt)...)
}

// unmeetRing0 is unmeet for a processor that was stopped in its own code for SYSCALL, at an offset in that.
func (v *vcpu) unmeetRing0(at uint64, regs *arch.Registers) {
	if at >= v.meeting.stored && at != v.meeting.direct {
		regs.Rax = v.calls.rax
	}
	regs.Rip, regs.Eflags = regs.Rcx-2, regs.R11
	regs.Cs, regs.Ss = arch.UserCS, arch.UserDS
}

// Opcodes of short jumps.
const (
	jumpBelow    = 0x72
	jumpNotBelow = 0x73
	jumpEqual    = 0x74
	jumpNotEqual = 0x75
)

// assembly is text in the making.
type assembly struct {
	b      []byte
	labels map[string]int
	jumps  map[int]string // where a jump's distance is to be
}

func (t *assembly) add(b ...byte) { t.b = append(t.b, b...) }

func (t *assembly) offset() uint64 { return uint64(len(t.b)) }

// at appends an instruction, whose last byte is a register's number, that uses what is at an address of the stub.
func (t *assembly) at(addr uint64, b ...byte) {
	last := len(b) - 1
	t.add(b[:last]...)
	t.add(b[last]<<3|4, 0x25)
	t.b = le.AppendUint32(t.b, uint32(addr))
}

func (t *assembly) jump(opcode byte, label string) {
	t.add(opcode, 0)
	if t.jumps == nil {
		t.jumps = make(map[int]string)
	}
	t.jumps[len(t.b)-1] = label
}

func (t *assembly) label(name string) {
	if t.labels == nil {
		t.labels = make(map[string]int)
	}
	t.labels[name] = len(t.b)
}

// done returns the text with its jumps.
func (t *assembly) done() []byte {
	for at, label := range t.jumps {
		t.b[at] = byte(t.labels[label] - at - 1)
	}
	return t.b
}
