package kvm

import (
	"gosentry/platform/arch"
	"gosentry/platform/kvm/kvmapi"
)

// out leaves the machine from ring 0: out %al, $exitPort.
func out() []byte { return []byte{0xe6, exitPort} }

// halt follows what never comes back.
const halt = 0xf4

// vectorsPage are the handlers of all vectors. A handler leaves the machine; which it was, its
// address tells. The processor has stored what happened on the main or the alternate stack.
func vectorsPage() []byte {
	b := make([]byte, pageSize)
	for i := range b {
		b[i] = halt
	}
	for v := range pageSize / vectorSize {
		copy(b[v*vectorSize:], out())
	}
	return b
}

// syscallPage is where SYSCALL goes in ring 0. It needs no stack: all registers leave as they are.
func syscallPage() []byte {
	b := make([]byte, pageSize)
	for i := range b {
		b[i] = halt
	}
	copy(b[syscallAddr&(pageSize-1):], out())
	return b
}

// userEntryStore is the length of the one instruction at userEntry.
const userEntryStore = 7

// leaveByStore leaves the machine from ring 3, by a store where no memory is: mov %eax, exitAddr.
func leaveByStore() []byte {
	addr := uint64(exitAddr)
	return []byte{0x89, 0x04, 0x25, byte(addr), byte(addr >> 8), byte(addr >> 16), byte(addr >> 24)}
}

// userEntryPage is where SYSCALL goes when it stays in ring 3. User code may execute it.
func userEntryPage() []byte {
	b := make([]byte, pageSize)
	for i := range b {
		b[i] = halt
	}
	copy(b, leaveByStore())
	copy(b[meetingAt&(pageSize-1):], newMeeting().text)
	le.PutUint64(b[meetingPointer&(pageSize-1):], meetingAt)
	return b
}

// idtPage has a gate for each vector. User code may call the ones for int3, into and int 0x80 by
// instruction; what can happen while ring 0 has no stack of its own uses the alternate one.
func idtPage() []byte {
	b := make([]byte, pageSize)
	for v := range pageSize / 16 {
		const interruptGate, presentBit = 0x0e, 0x80
		g := b[v*16:]
		addr := uint64(vectorsAddr) + uint64(v)*vectorSize
		le.PutUint16(g, uint16(addr))
		le.PutUint16(g[2:], kernelCS)
		g[5] = presentBit | interruptGate
		le.PutUint16(g[6:], uint16(addr>>16))
		le.PutUint32(g[8:], uint32(addr>>32))
		switch v {
		case vectorBreakpoint, vectorOverflow, vectorCall:
			g[5] |= 3 << 5
		case vectorDebug, vectorNMI, vectorDoubleFault, vectorMachine, vectorPageFault: // the latter at compatAddr
			g[4] = 1
		}
	}
	return b
}

// gdtPage has the segments that Linux has, at the same places.
func gdtPage() []byte {
	b := make([]byte, pageSize)
	for selector, entry := range map[int]uint64{
		kernelCS:           0x00af9b000000ffff,
		kernelDS:           0x00cf93000000ffff,
		arch.UserCS32 &^ 3: 0x00cffb000000ffff,
		arch.UserDS &^ 3:   0x00cff3000000ffff,
		arch.UserCS &^ 3:   0x00affb000000ffff,
	} {
		le.PutUint64(b[selector:], entry)
	}
	return b
}

// gdtLimit is the offset of the GDT's last byte.
const gdtLimit = arch.UserCS | 7

// tssPage fills the page of processor id with its TSS.
func tssPage(b []byte, id int) {
	clear(b)
	base := vcpuPage(id)
	le.PutUint64(b[tssRSP0:], base+mainStack)
	le.PutUint64(b[tssIST1:], base+alternateStack)
	le.PutUint16(b[tssIOMap:], tssSize) // beyond the limit: no ports
}

// vcpuPage is the virtual address of the page of processor id.
func vcpuPage(id int) uint64 { return vcpuAddr + uint64(id)*pageSize }

// segment returns a flat segment: code or data, of a privilege level.
func segment(selector uint16, code, long bool) kvmapi.Segment {
	s := kvmapi.Segment{
		Limit: 0xffffffff, Selector: selector, Type: 3, Present: 1, DPL: uint8(selector & 3), DB: 1, S: 1, G: 1,
	}
	if code {
		s.Type = 11
	}
	if long {
		s.L, s.DB = 1, 0
	}
	return s
}

// emptySegment is a data segment register that holds a null selector.
func emptySegment(selector uint16) kvmapi.Segment {
	s := segment(selector, false, false)
	s.DPL, s.Unusable = 3, 1
	s.Present = 0
	return s
}
