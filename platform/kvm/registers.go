package kvm

import (
	"gosentry/platform/arch"
	"gosentry/platform/kvm/kvmapi"
)

// Flags that user code can set; the others are what they always are in user mode.
const (
	userFlags  = 0x254dd5 // ID AC RF NT OF DF TF SF ZF AF PF CF
	fixedFlags = 0x202    // IF and the bit that is always set
)

// canonicalEnd is the first address that is not canonical.
const canonicalEnd = 1 << 47

// canonical tells whether the processor takes addr as an address.
func canonical(addr uint64) bool { return addr+canonicalEnd < 2*canonicalEnd }

// sanitize brings registers into the form that the processor enters ring 3 with. A guest can hold other values
// by way of sigreturn.
func sanitize(r *arch.Registers) {
	if r.Cs != arch.UserCS && r.Cs != arch.UserCS32 {
		r.Cs = arch.UserCS
	}
	r.Ss = arch.UserDS
	if r.Cs == arch.UserCS32 {
		r.Rip = uint64(uint32(r.Rip))
	}
	for _, s := range []*uint64{&r.Ds, &r.Es, &r.Fs, &r.Gs} {
		if *s&0xffff|3 == arch.UserDS {
			*s = arch.UserDS
		} else {
			*s = 0
		}
	}
	if r.Fs_base >= taskSize {
		r.Fs_base = 0
	}
	if r.Gs_base >= taskSize {
		r.Gs_base = 0
	}
	r.Eflags = r.Eflags&userFlags | fixedFlags
}

// load gives v a guest's registers, in the address space with its tables at root.
func (v *vcpu) load(r *arch.Registers, root uint64) {
	g := &v.state.Regs
	g.Rax, g.Rbx, g.Rcx, g.Rdx = r.Rax, r.Rbx, r.Rcx, r.Rdx
	g.Rsi, g.Rdi, g.Rbp, g.Rsp = r.Rsi, r.Rdi, r.Rbp, r.Rsp
	g.R8, g.R9, g.R10, g.R11 = r.R8, r.R9, r.R10, r.R11
	g.R12, g.R13, g.R14, g.R15 = r.R12, r.R13, r.R14, r.R15
	g.Rip, g.Rflags = r.Rip, r.Eflags
	v.state.DirtyRegs |= kvmapi.SyncRegs // what the last Run did not get to load stays due
	s := &v.state.Sregs
	changed := loadCode(s, uint16(r.Cs))
	changed = loadData(&s.DS, uint16(r.Ds), 0) || changed
	changed = loadData(&s.ES, uint16(r.Es), 0) || changed
	changed = loadData(&s.FS, uint16(r.Fs), r.Fs_base) || changed
	gs := r.Gs_base
	if gs == 0 {
		gs = v.gsBase
	}
	changed = loadData(&s.GS, uint16(r.Gs), gs) || changed
	if s.CR3 != root {
		s.CR3 = root
		changed = true
	}
	if changed {
		v.state.DirtyRegs |= kvmapi.SyncSregs
	}
}

// loadCode puts the processor into ring 3, 64-bit or 32-bit. It returns false if it is there already.
func loadCode(s *kvmapi.Sregs, cs uint16) bool {
	if s.CS.Selector == cs && s.CS.DPL == 3 && s.SS.DPL == 3 {
		return false
	}
	s.CS, s.SS = segment(cs, true, cs == arch.UserCS), segment(arch.UserDS, false, false)
	return true
}

// loadData loads a data segment register. It returns false if that is what it holds.
func loadData(s *kvmapi.Segment, selector uint16, base uint64) bool {
	if s.Selector == selector && s.Base == base {
		return false
	}
	if *s = emptySegment(selector); selector != 0 {
		*s = segment(selector, false, false)
	}
	s.Base = base
	return true
}

// save stores the registers with which v left ring 3, but for those that the way out of it has changed.
func (v *vcpu) save(r *arch.Registers) {
	g, s := &v.state.Regs, &v.state.Sregs
	r.Rax, r.Rbx, r.Rcx, r.Rdx = g.Rax, g.Rbx, g.Rcx, g.Rdx
	r.Rsi, r.Rdi, r.Rbp, r.Rsp = g.Rsi, g.Rdi, g.Rbp, g.Rsp
	r.R8, r.R9, r.R10, r.R11 = g.R8, g.R9, g.R10, g.R11
	r.R12, r.R13, r.R14, r.R15 = g.R12, g.R13, g.R14, g.R15
	r.Rip, r.Eflags = g.Rip, g.Rflags
	r.Cs, r.Ss = uint64(s.CS.Selector), uint64(s.SS.Selector)
	r.Ds, r.Es = uint64(s.DS.Selector), uint64(s.ES.Selector)
	r.Fs, r.Gs = uint64(s.FS.Selector), uint64(s.GS.Selector)
	if r.Fs_base, r.Gs_base = s.FS.Base, s.GS.Base; r.Gs_base == v.gsBase {
		r.Gs_base = 0
	}
}

// saveSyscall stores the registers of a guest that executed SYSCALL.
func (v *vcpu) saveSyscall(r *arch.Registers) {
	v.save(r)
	r.Rip, r.Eflags = r.Rcx, r.R11
	r.Cs, r.Ss = arch.UserCS, arch.UserDS
}

// frame is what the processor stores on a stack of ring 0.
type frame struct{ code, rip, cs, flags, rsp, ss uint64 }

// hasCode tells whether an exception stores an error code.
func hasCode(vector int) bool {
	switch vector {
	case vectorDoubleFault, 10, vectorNotPresent, vectorStack, vectorProtection, vectorPageFault, vectorAlignment, 21:
		return true
	}
	return false
}

// frame reads the frame of vector from v's stack. ok is false if there is none.
func (v *vcpu) frame(vector int) (f frame, ok bool) {
	at := v.state.Regs.Rsp - vcpuPage(v.id)
	if hasCode(vector) {
		if at > pageSize-48 {
			return f, false
		}
		f.code = le.Uint64(v.page[at:])
		at += 8
	}
	if at > pageSize-40 {
		return f, false
	}
	b := v.page[at:]
	f.rip, f.cs, f.flags = le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
	f.rsp, f.ss = le.Uint64(b[24:]), le.Uint64(b[32:])
	return f, true
}
