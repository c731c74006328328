package systrap

import (
	"sync/atomic"

	"gosentry/platform/arch"
)

const (
	// addressEnd is the least address that is not a user's, nor canonical as far as canonicalStart.
	addressEnd     = 0x800000000000
	canonicalStart = 0xffff800000000000

	// flagsGuest are the flags that a guest may have: all but the interrupt flag, the privilege level, VM and the virtual
	// interrupts; flagsFixed are always set.
	flagsGuest = 0x254dd5
	flagsFixed = 0x202

	userRPL = 3 // bits of a selector that name user mode
)

// runnable tells whether IRETQ can go to regs.Rip.
func runnable(regs *arch.Registers) bool {
	return regs.Rip < addressEnd || regs.Rip >= canonicalStart
}

// selector returns v if a guest may load it into a data segment register, else 0.
func selector(v uint64) uint16 {
	switch v &= 0xffff; v {
	case 1, 2, 3, arch.UserDS, arch.UserCS, arch.UserCS32:
		return uint16(v)
	}
	return 0
}

// base returns v if a guest may have it as a segment base, else 0.
func base(v uint64) uint64 {
	if v >= userHigh {
		return 0
	}
	return v
}

// setRegisters writes regs, made harmless, for the handler to load. A guest, with instructions
// of its own or by way of sigreturn, can hold values on which loading would fault. With hidesGS set, trampolines
// find the area by the base of GS where the guest has none.
func (s *seat) setRegisters(regs *arch.Registers, hidesGS bool) {
	s.rax, s.rdi, s.rsi, s.rdx, s.r10, s.r8, s.r9 = regs.Rax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9
	s.rip, s.rsp, s.eflags = regs.Rip, regs.Rsp, regs.Eflags&flagsGuest|flagsFixed
	s.rbx, s.rbp, s.r12, s.r13, s.r14, s.r15 = regs.Rbx, regs.Rbp, regs.R12, regs.R13, regs.R14, regs.R15
	s.rcx, s.r11 = regs.Rcx, regs.R11
	s.cs, s.ss = arch.UserCS, arch.UserDS
	if regs.Cs == arch.UserCS32 {
		s.cs = arch.UserCS32
	}
	s.segs = [4]uint16{selector(regs.Ds), selector(regs.Es), selector(regs.Fs), selector(regs.Gs)}
	s.fsBase, s.gsBase = base(regs.Fs_base), base(regs.Gs_base)
	if hidesGS && s.gsBase == 0 {
		s.gsBase = s.base()
	}
}

// getSame reads into regs, those of the call before, what can differ from them.
func (s *seat) getSame(regs *arch.Registers, flags uint32) {
	b := s.block
	regs.Eflags = uint64(flags)
	regs.Rax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.Rbx, regs.Rbp = b.rax, b.rdi, b.rsi, b.rdx, b.r10, b.rbx, b.rbp
	regs.Rcx, regs.R11, regs.Orig_rax = regs.Rip, regs.Eflags, ^uint64(0)
}

// getCall reads what the guest had at a patched call.
func (s *seat) getCall(regs *arch.Registers, flags uint32) {
	b := s.block
	rip, eflags := b.rip, uint64(flags)
	*regs = arch.Registers{
		R8: b.r8, R9: b.r9, R10: b.r10, R11: eflags, R12: b.r12, R13: b.r13, R14: b.r14, R15: b.r15,
		Rdi: b.rdi, Rsi: b.rsi, Rbp: b.rbp, Rbx: b.rbx, Rdx: b.rdx, Rax: b.rax, Rcx: rip,
		Rsp: b.rsp, Rip: rip, Eflags: eflags, Cs: arch.UserCS, Ss: arch.UserDS, Orig_rax: ^uint64(0),
		Ds: uint64(b.segs[0]), Es: uint64(b.segs[1]), Fs: uint64(b.segs[2]), Gs: uint64(b.segs[3]), Fs_base: b.fsBase,
	}
}

// getRegisters reads what the guest had when the frame was made.
func (s *seat) getRegisters(f *sigframe, regs *arch.Registers) {
	g := &f.regs
	*regs = arch.Registers{
		R8: g.r8, R9: g.r9, R10: g.r10, R11: g.r11, R12: g.r12, R13: g.r13, R14: g.r14, R15: g.r15,
		Rdi: g.rdi, Rsi: g.rsi, Rbp: g.rbp, Rbx: g.rbx, Rdx: g.rdx, Rax: g.rax, Rcx: g.rcx,
		Rsp: g.rsp, Rip: g.rip, Eflags: g.eflags, Cs: uint64(f.cs), Ss: uint64(f.ss), Orig_rax: ^uint64(0),
		Ds: uint64(s.segs[0]), Es: uint64(s.segs[1]), Fs: uint64(s.segs[2]), Gs: uint64(s.segs[3]),
		Fs_base: atomic.LoadUint64(&s.fsBase), Gs_base: atomic.LoadUint64(&s.gsBase),
	}
	if regs.Gs_base == s.base() {
		regs.Gs_base = 0 // what trampolines find the area by
	}
}
