package kvm

import (
	"fmt"
	"os"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
	"gosentry/platform/kvm/kvmapi"

	"golang.org/x/sys/unix"
)

// kickSignal makes KVM_RUN return. Go's runtime has a handler for it, which
// does nothing when the runtime itself has not asked for it.
const kickSignal = unix.SIGURG

// Bits of control registers.
const (
	cr0 = 1<<31 | 1<<18 | 1<<16 | 1<<5 | 1<<4 | 1<<1 | 1<<0 // PG AM WP NE ET MP PE
	cr4 = 1<<5 | 1<<9 | 1<<10                               // PAE OSFXSR OSXMMEXCPT

	cr4FSGSBase = 1 << 16
	cr4OSXSave  = 1 << 18
	cr4UMIP     = 1 << 11
	cr4SMEP     = 1 << 20
	cr4SMAP     = 1 << 21

	// cr3Toggle is a bit of CR3 without meaning here: a change of it makes KVM flush.
	cr3Toggle = 1 << 3 // PWT

	efer = 1<<0 | 1<<8 | 1<<10 | 1<<11 // SCE LME LMA NXE
)

// Model-specific registers.
const (
	msrSTAR   = 0xc0000081
	msrLSTAR  = 0xc0000082
	msrCSTAR  = 0xc0000083
	msrSFMASK = 0xc0000084

	star   = uint64(kernelCS)<<32 | uint64(arch.UserCS32)<<48
	sfmask = 0x47700 // AC NT IOPL DF IF TF
)

// vcpu is a virtual processor. All but the atomics belong to the context that holds it, or to the pool.
type vcpu struct {
	id    int
	kvm   *kvmapi.VCPU
	state *kvmapi.Run
	page  []byte // its TSS and stacks

	tid   atomic.Int32 // the OS thread that ran it last
	owner *context     // whose extended state it has; see context.home

	answers   patch.Page    // what it shows of its context's answers,
	answersIn *addressSpace // here, nil: nowhere,
	gsBase    uint64        // at this address, which GS has where the guest has none of its own
	calls     *area         // where calls are passed over there, with
	looks     uint64        // what look said last

	runner  *runner // that runs it; nil: the thread of the context does
	meeting *meeting

	space *addressSpace
	flush uint64 // addressSpace.flushes when space was loaded
	// entries counts Runs, toggle is cr3Toggle or 0; both guarded by the space's lock while v runs there.
	entries uint64
	toggle  uint64

	inGuest atomic.Bool
	stop    atomic.Bool // Run is to look around
	yield   atomic.Bool // its context is to let others have a turn

	xsave [kvmapi.XSaveSize]byte
}

// newVCPU makes processor id, in ring 3 of no address space.
func (m *machine) newVCPU(id int) (*vcpu, error) {
	k, err := m.vm.CreateVCPU(id)
	if err != nil {
		return nil, err
	}
	v := &vcpu{id: id, kvm: k, state: k.State(), meeting: m.meeting}
	if v.page, err = m.addPage(vcpuPage(id), platform.Read|platform.Write); err == nil {
		tssPage(v.page, id)
		if e := k.SetCPUID(m.cpuid); e != 0 {
			err = os.NewSyscallError("ioctl KVM_SET_CPUID2", e)
		}
	}
	if err == nil && m.ring0 {
		err = m.passInRing0(v)
	}
	if err == nil {
		err = m.reset(v)
	}
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("virtual processor %d: %w", id, err)
	}
	return v, nil
}

// reset gives v the state in which it enters guests.
func (m *machine) reset(v *vcpu) error {
	var s kvmapi.Sregs
	if e := v.kvm.GetSregs(&s); e != 0 {
		return os.NewSyscallError("ioctl KVM_GET_SREGS", e)
	}
	s.CR0, s.CR4, s.EFER = cr0, m.cr4, efer
	s.CR3 = m.kernelRoot
	s.CS, s.SS = segment(arch.UserCS, true, true), segment(arch.UserDS, false, false)
	for _, r := range []*kvmapi.Segment{&s.DS, &s.ES, &s.FS, &s.GS} {
		*r = emptySegment(0)
	}
	s.TR = kvmapi.Segment{Base: vcpuPage(v.id), Limit: tssSize - 1, Selector: tssEntry, Type: 11, Present: 1}
	s.LDT = kvmapi.Segment{Type: 2, Unusable: 1} // none
	s.GDT = kvmapi.Table{Base: gdtAddr, Limit: gdtLimit}
	s.IDT = kvmapi.Table{Base: idtAddr, Limit: pageSize - 1}
	if e := v.kvm.SetSregs(&s); e != 0 {
		return os.NewSyscallError("ioctl KVM_SET_SREGS", e)
	}
	if m.cr4&cr4OSXSave != 0 {
		if e := v.kvm.SetXCR0(m.xcr0); e != 0 {
			return os.NewSyscallError("ioctl KVM_SET_XCRS", e)
		}
	}
	list := []kvmapi.MSR{
		{Index: msrSTAR, Data: star}, {Index: msrLSTAR, Data: v.landing(m.lstar)}, {Index: msrCSTAR, Data: compatAddr},
		{Index: msrSFMASK, Data: sfmask},
	}
	if n, e := v.kvm.SetMSRs(list...); n != len(list) {
		return fmt.Errorf("ioctl KVM_SET_MSRS stopped after %d: %w", n, e)
	}
	v.kvm.SetTSCOffset(0) // the probe looks what became of it
	v.state.ValidRegs = kvmapi.SyncRegs | kvmapi.SyncSregs | kvmapi.SyncEvents
	v.state.Sregs = s
	v.state.Events = kvmapi.Events{}
	v.state.DirtyRegs = kvmapi.SyncEvents
	return nil
}

// landing is where SYSCALL goes: to v's own code, if it has that.
func (v *vcpu) landing(other uint64) uint64 {
	if v.meeting.ring0 {
		return v.meeting.at
	}
	return other
}

// kick makes v leave guest code, or not enter it, once. The caller has said before why.
func (v *vcpu) kick() {
	v.state.SetImmediateExit(true)
	if v.inGuest.Load() {
		unix.Tgkill(unix.Getpid(), int(v.tid.Load()), kickSignal)
	}
}

// enter runs the guest until an exit that is not the stub's own business. wanted says, once it is too late for
// a kick to be missed, whether to run at all; ran is false if not.
func (v *vcpu) enter(wanted func() bool) (e unix.Errno, ran bool) {
	v.state.SetImmediateExit(false)
	v.inGuest.Store(true)
	defer v.inGuest.Store(false)
	if !wanted() {
		return 0, false
	}
	for {
		e := v.kvm.Run()
		if e != unix.EINTR || !v.busy() {
			return e, true
		}
		v.state.SetImmediateExit(false)
	}
}

// busy tells whether a processor that was interrupted is on the way from an instruction of the guest to an exit.
func (v *vcpu) busy() bool {
	s := v.state
	if v.meeting.ring0 && v.meets(s.Regs.Rip) {
		return false // it may wait for a result there
	}
	if s.Events.ExceptionInjected != 0 || s.Events.ExceptionPending != 0 {
		return true
	}
	return s.Sregs.CS.DPL == 0 || s.Regs.Rip == userEntry
}

// settle has KVM finish an access to no memory that the guest made itself; it would else end
// it by changing registers that are somebody else's by then.
func (v *vcpu) settle() {
	for range 64 {
		v.state.Regs.Rcx = 1 // of a repeated instruction nothing is left
		v.state.DirtyRegs |= kvmapi.SyncRegs
		v.state.SetImmediateExit(true)
		if v.kvm.Run() == unix.EINTR {
			return
		}
	}
}
