package kvmapi

import "sync/atomic"

// Regs is struct kvm_regs.
type Regs struct {
	Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	Rip, Rflags                            uint64
}

// Segment is struct kvm_segment.
type Segment struct {
	Base                         uint64
	Limit                        uint32
	Selector                     uint16
	Type, Present, DPL, DB       uint8
	S, L, G, AVL, Unusable, _pad uint8
}

// Table is struct kvm_dtable: GDT or IDT.
type Table struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

// Sregs is struct kvm_sregs.
type Sregs struct {
	CS, DS, ES, FS, GS, SS  Segment
	TR, LDT                 Segment
	GDT, IDT                Table
	CR0, CR2, CR3, CR4, CR8 uint64
	EFER                    uint64
	APICBase                uint64
	Interrupts              [4]uint64
}

// Events is struct kvm_vcpu_events, of which only exceptions matter here.
type Events struct {
	ExceptionInjected, ExceptionNumber, ExceptionHasCode, ExceptionPending uint8
	ExceptionCode                                                          uint32
	_                                                                      [47]byte
	ExceptionHasPayload                                                    uint8
	ExceptionPayload                                                       uint64
}

// Run is struct kvm_run: what a VCPU shares with the kernel. Fields of the union
// that depend on ExitReason are decoded by methods.
type Run struct {
	control    atomic.Uint32 // its second byte is immediate_exit
	_          uint32
	ExitReason uint32
	_          [20]uint8
	exit       [256]uint8
	ValidRegs  uint64 // what the kernel stores below at each exit
	DirtyRegs  uint64 // what it loads from below at the next entry
	Regs       Regs
	Sregs      Sregs
	Events     Events
}

// Bits of ValidRegs and DirtyRegs.
const (
	SyncRegs   = 1 << 0
	SyncSregs  = 1 << 1
	SyncEvents = 1 << 2
)

// Values of ExitReason.
const (
	ExitIO            = 2
	ExitHLT           = 5
	ExitMMIO          = 6
	ExitShutdown      = 8
	ExitFailEntry     = 9
	ExitIntr          = 10
	ExitInternalError = 17
)

// Region is struct kvm_userspace_memory_region: a slot. MemorySize 0 deletes it.
type Region struct {
	Slot          uint32
	Flags         uint32
	GuestPhysAddr uint64 // bytes, as are the rest
	MemorySize    uint64
	UserspaceAddr uint64
}

// MemReadOnly is the flag of a Region that guests may only read.
const MemReadOnly = 1 << 1

// MSR is struct kvm_msr_entry.
type MSR struct {
	Index uint32
	_     uint32
	Data  uint64
}

// maxMSRs is how many are set at a time.
const maxMSRs = 16

type msrs struct {
	count   uint32
	_       uint32
	entries [maxMSRs]MSR
}

// CPUID is struct kvm_cpuid_entry2.
type CPUID struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
	_                      [3]uint32
}

// maxCPUID is more entries than any host has.
const maxCPUID = 256

type cpuids struct {
	count   uint32
	_       uint32
	entries [maxCPUID]CPUID
}

// XSaveSize is the length in bytes of struct kvm_xsave.
const XSaveSize = 4096

type xcrs struct {
	count, flags uint32
	entries      [16]struct {
		xcr, _ uint32
		value  uint64
	}
	_ [16]uint64
}

type deviceAttr struct {
	flags, group uint32
	attr, addr   uint64
}

// Capabilities that CheckExtension knows.
const (
	CapUserMemory    = 3
	CapNRVCPUs       = 9
	CapNRMemslots    = 10
	CapXSave         = 55
	CapXCRs          = 56
	CapMaxVCPUs      = 66
	CapSyncRegs      = 74
	CapReadOnlyMem   = 81
	CapImmediateExit = 136
	CapXSave2        = 208
)
