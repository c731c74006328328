package kvm

import "gosentry/platform/internal/patch"

// The code by which a patched call is passed over in shared memory lies behind userEntry, and the pointer through which trampolines
// go there at the end of that page.
const (
	meetingAt      = userEntry + 0x100
	meetingPointer = userEntry + pageSize - 8
)

// The state of an area: what is to happen to the call in it.
const (
	areaIdle     = 0
	areaAsked    = 1 // the sentry is to take it
	areaTaken    = 2 // it has
	areaAnswered = 4 // the guest is to take the result
	areaOut      = 8 // a hint that the processor has left guest code
)

// Offsets in an area; see type area.
const (
	areaState  = 0
	areaResult = 8
	areaRax    = 16
	areaRdi    = 24
	areaRsi    = 32
	areaRdx    = 40
	areaR10    = 48
	areaR8     = 56
	areaR9     = 64
	areaBack   = 72
	areaRsp    = 80
	areaFlags  = 88
	areaFSBase = 96
	areaRbx    = 104
	areaRbp    = 112
	areaR12    = 120
	areaDs     = 152
	areaGSBase = 160
)

// meeting is the code that passes a call over, and what is to be known of a processor that was stopped in it, as offsets.
type meeting struct {
	at     uint64 // where text is
	text   []byte
	ring0  bool   // of a processor's own, in ring 0
	direct uint64 // of that, where a call leaves that was not to be passed over
	kept   uint64 // from here on the return address is in the area, before in r11
	stored uint64 // from here on rax may be another
	below  uint64 // here and until above the stack pointer is another
	above  uint64
	asked  uint64 // from here on the sentry may have the call

	// Where flags have to stay as they are the call is taken back without a look at what was there, a result, say:
	tookBack uint64 // here and until tested eax has that
	tested   uint64
	result   uint64 // from here on there was one
}

// answered tells whether a processor that was stopped at an offset behind asked has its result, and is only to come out with it.
func (m *meeting) answered(at, rax uint64, state uint32) bool {
	return state == areaAnswered || !m.ring0 && (at >= m.result || at >= m.tookBack && at < m.tested && rax == areaAnswered)
}

// newMeeting assembles the code. It begins with the number in rax, the return address in r11, and the base of GS at the processor's page of
// answers, which has the number of times to look for the result. It uses these registers and rcx, but neither the stack nor
// flags: what is to be compared goes to rcx.
func newMeeting() *meeting {
	m := &meeting{at: meetingAt}
	b := []byte{0xf3, 0x48, 0x0f, 0xae, 0xc9}                             // rdgsbase %rcx
	b = le.AppendUint32(append(b, 0x4c, 0x89, 0x99), areaOffset+areaBack) // mov %r11,back(%rcx)
	m.kept = uint64(len(b))
	b = append(b, 0x49, 0x89, 0xcb) // mov %rcx,%r11
	for _, s := range []struct{ register, at uint32 }{
		{0, areaRax}, {7, areaRdi}, {6, areaRsi}, {2, areaRdx}, {10, areaR10}, {8, areaR8}, {9, areaR9}, {3, areaRbx}, {5, areaRbp},
		{12, areaR12}, {13, areaR12 + 8}, {14, areaR12 + 16}, {15, areaR12 + 24},
	} {
		b = inArea(b, byte(0x49|s.register>>3<<2), 0x89, s.register&7, s.at) // mov %register,at(%r11)
	}
	m.stored = uint64(len(b))
	b = append(b, 0xf3, 0x48, 0x0f, 0xae, 0xc0) // rdfsbase %rax
	b = inArea(b, 0x49, 0x89, 0, areaFSBase)    // mov %rax,fsbase(%r11)
	for i, segment := range []uint32{3, 0, 4, 5} {
		b = inArea(b, 0x41, 0x8c, segment, areaDs+2*uint32(i)) // mov %ds,ds(%r11) and so on
	}
	b = inArea(b, 0x49, 0x89, 4, areaRsp)     // mov %rsp,rsp(%r11)
	b = inArea(b, 0x49, 0x8d, 4, areaFlags+8) // lea flags+8(%r11),%rsp
	m.below = uint64(len(b))
	b = append(b, 0x9c)                   // pushfq
	b = inArea(b, 0x49, 0x8b, 4, areaRsp) // mov rsp(%r11),%rsp
	m.above = uint64(len(b))
	b = le.AppendUint32(append(b, 0xb8), areaAsked) // mov $asked,%eax
	b = inArea(b, 0x41, 0x87, 0, areaState)         // xchg %eax,state(%r11)
	m.asked = uint64(len(b))
	b = le.AppendUint32(append(b, 0x41, 0x8b, 0x83), patch.SpareAt) // mov looks(%r11),%eax
	m.tookBack, m.tested, m.result = uint64(len(b)+lateTookBack), uint64(len(b)+lateTested), uint64(len(b)+waitAnswered)
	m.text = append(b, wait()...)
	return m
}

// inArea appends an instruction whose operands are a register and what is at an offset in the area, behind r11.
func inArea(b []byte, rex, opcode byte, register, at uint32) []byte {
	return le.AppendUint32(append(b, rex, opcode, byte(0x83|register<<3)), areaOffset+at)
}

// Offsets in wait.
const (
	waitLate     = 23
	lateTookBack = waitLate + 12
	lateTested   = lateTookBack + 5
	waitAnswered = 63
)

// wait is the end of the code: it looks for the result as often as eax says, and then takes the call back.
func wait() []byte {
	const look, late, answered = 0, waitLate, waitAnswered
	b := []byte{
		0x89, 0xc1, // look: mov %eax,%ecx
		0xe3, late - 4, // jrcxz late
		0xf3, 0x90, // pause
	}
	b = inArea(b, 0x41, 0x8b, 1, areaState) // mov state(%r11),%ecx
	b = append(b,
		0x8d, 0x49, 0x100-areaAnswered, // lea -answered(%rcx),%ecx
		0xe3, answered-18, // jrcxz answered
		0x8d, 0x40, 0xff, // lea -1(%rax),%eax
		0xeb, 0x100+look-23, // jmp look
		0xb8, areaIdle, 0, 0, 0, // late: mov $idle,%eax
	)
	b = inArea(b, 0x41, 0x87, 0, areaState) // xchg %eax,state(%r11)
	b = append(b,
		0x8d, 0x48, 0x100-areaAnswered, // lea -answered(%rax),%ecx
		0xe3, answered-40, // jrcxz answered
	)
	b = inArea(b, 0x49, 0x8b, 0, areaRax)  // mov rax(%r11),%rax
	b = inArea(b, 0x49, 0x8b, 1, areaBack) // mov back(%r11),%rcx
	b = append(append(b, leaveByStore()...), 0x0f, 0x0b)
	b = inArea(b, 0x49, 0x8b, 0, areaResult) // answered: mov result(%r11),%rax
	b = inArea(b, 0x49, 0x8b, 1, areaBack)   // mov back(%r11),%rcx
	b = inArea(b, 0x4d, 0x8b, 3, areaFlags)  // mov flags(%r11),%r11
	return append(b, 0xff, 0xe1)             // jmp *%rcx
}

// meet is how a trampoline, which has the processor's page of answers in r11, goes on: to the meeting where looks are to be had, else it leaves
// the machine by a store where no memory is.
func meet(uint64) []byte {
	b := le.AppendUint32([]byte{0x45, 0x8b, 0x9b}, patch.SpareAt) // mov looks(%r11),%r11d
	pointer := uint64(meetingPointer)
	b = append(b,
		0x49, 0x87, 0xcb, // xchg %rcx,%r11
		0xe3, 7, // jrcxz leave
		0xff, 0x24, 0x25, byte(pointer), byte(pointer>>8), byte(pointer>>16), byte(pointer>>24), // jmp *meetingPointer
		0x4c, 0x89, 0xd9, // leave: mov %r11,%rcx
	)
	return append(append(b, leaveByStore()...), 0x0f, 0x0b) // ud2: never comes back
}
