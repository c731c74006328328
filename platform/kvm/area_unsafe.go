package kvm

import (
	"sync/atomic"
	"unsafe"

	"gosentry/platform/arch"
)

// area is where a processor passes its calls over: a page of the address space's for each. The guest can write to all of it at any
// time, so what is read is read once, and then checked.
type area struct {
	state  uint32
	_      uint32
	result uint64

	rax, rdi, rsi, rdx, r10, r8, r9, back uint64

	rsp, flags, fsBase, rbx, rbp, r12, r13, r14, r15 uint64

	ds, es, fs, gs uint16

	gsBase uint64 // of a call in ring 0
}

// newArea is b, a page outside of Go's heap, as an area.
func newArea(b []byte) *area { return (*area)(unsafe.Pointer(&b[:pageSize][0])) }

// move changes the state, if it is from.
func (a *area) move(from, to uint32) bool { return atomic.CompareAndSwapUint32(&a.state, from, to) }

// get stores the registers of the call in the area, as sane as those of an exit are.
func (a *area) get(r *arch.Registers) {
	r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = a.rax, a.rdi, a.rsi, a.rdx, a.r10, a.r8, a.r9
	r.Rbx, r.Rbp, r.R12, r.R13, r.R14, r.R15 = a.rbx, a.rbp, a.r12, a.r13, a.r14, a.r15
	r.Rip, r.Rsp, r.Eflags = a.back, a.rsp, a.flags
	r.Rcx, r.R11 = r.Rip, r.Eflags
	r.Ds, r.Es, r.Fs, r.Gs = uint64(a.ds), uint64(a.es), uint64(a.fs), uint64(a.gs)
	r.Fs_base, r.Gs_base, r.Cs = a.fsBase, a.gsBase, arch.UserCS
	sanitize(r)
}
