// Package platform says what a way of running guest code must offer: types only.
//
// A platform runs a guest's user-mode instructions on a host address space of
// its own until the guest needs the kernel: a system call, a fault, or an
// interrupt. Everything the kernel knows of guest memory lives in package mm;
// what a platform holds is a cache of it. A platform may drop an address space's
// host side at any time (idle, host short of memory or mappings): the guest then
// faults, and mm maps again what it touches.
//
// Changes to an address space are lists, since each costs a switch on two of the
// platforms. Apply may delay a list as long as no guest instruction runs in that
// address space before the list has taken effect; when Apply returns, no context
// runs guest code with a translation that the list removed.
//
// Lock order: Apply may be called with mm's locks held; a platform's own locks
// come after them, and a platform never calls back.
package platform

import (
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// Prot is a set of access rights: PROT_READ, PROT_WRITE and PROT_EXEC as in mmap(2).
type Prot uint8

// Access rights.
const (
	Read  Prot = unix.PROT_READ
	Write Prot = unix.PROT_WRITE
	Exec  Prot = unix.PROT_EXEC
)

// Op is the kind of a Change.
type Op uint8

// Kinds of Change.
const (
	Map     Op = iota // map File at Offset, shared, replacing what was there
	Unmap             // nothing is mapped there afterwards; need not have been. Of all that the guest may use: in a time that does not grow with what was mapped
	Protect           // change the rights of what is mapped; holes are skipped
)

// Change is one step of a list given to AddressSpace.Apply. Addr, Length and
// Offset are multiples of the page size, in bytes.
type Change struct {
	Op     Op
	Prot   Prot   // Map and Protect
	Fill   bool   // Map: a hint that the pages exist and will be used: no fault on each
	File   int32  // Map: host descriptor, open for as long as the mapping may be used
	FileID uint32 // Map: with File, tells what that is open to from all that it was or will be open to; 0: unknown
	Addr   uint64
	Length uint64
	Offset uint64 // Map: offset in File
}

// PermanentID is the FileID of descriptors that are never open to anything else.
const PermanentID = 1

// AddressSpace is the host's side of one guest address space.
type AddressSpace interface {
	// Apply carries out the changes in order. ENOMEM when the host refuses; the
	// affected ranges are then unmapped.
	Apply(changes []Change) error
	// Release gives everything back. No Run uses the address space then or later.
	Release()
}

// Sharer is an AddressSpace that another can begin as a copy of, at a cost that does not grow with what is mapped.
type Sharer interface {
	AddressSpace
	// ShareFrom is from how many bytes mapped for writing on Share costs less than to withdraw that right by Apply.
	ShareFrom() uint64
	// Share gives child, an empty address space of the same platform that no context runs in, all that is mapped here, and
	// takes the right to write to any of it from both. When it returns, no context runs guest code with
	// that right. ENOMEM: the host refuses, nothing has changed. Where an address space has a method Drops, the
	// child's count goes on from this one's.
	Share(child AddressSpace) error
}

// Keeper is an AddressSpace that can go on without what is mapped, and come back to that.
type Keeper interface {
	AddressSpace
	// KeepFrom is from how many bytes mapped for writing on SetAside costs less than to withdraw that right by Apply.
	KeepFrom() uint64
	// SetAside forgets everything, in a time that does not grow with what was mapped, and keeps that for GoBack in place of what was kept
	// before. No context runs guest code with it when it returns. It returns false when it cannot, or when everything was forgotten since the method
	// Drops returned drops: then nothing is kept, and nothing else has changed.
	SetAside(drops uint64) bool
	// GoBack forgets what was mapped since SetAside and maps what that kept, with changes made to it before any guest code runs. What is kept is
	// not told of other changes, so these must withdraw whatever is not to be there any more, and map all that is executable or
	// of another file than the sandbox's memory anew. What is kept may be gone: it returns false when it cannot, and nothing has changed then, or
	// everything was forgotten.
	GoBack(changes []Change) bool
}

// EventKind tells why Run returned.
type EventKind uint8

// Kinds of Event.
const (
	// Interrupted: Interrupt was called; nothing else happened.
	Interrupted EventKind = iota
	// Syscall: the guest executed SYSCALL; registers are as at entry to a Linux
	// kernel (number in Rax, Rip behind the instruction, Rcx and R11 clobbered
	// or not as the platform has it: the kernel sets them).
	Syscall
	// Syscall32: the guest executed int 0x80.
	Syscall32
	// Fault: an exception; Signal, Code and Addr are what Linux would put in the
	// siginfo. For SIGSEGV and SIGBUS the kernel asks mm first.
	Fault
)

// Event is why the guest stopped.
type Event struct {
	Kind   EventKind
	Signal unix.Signal // Fault
	Code   int32       // Fault: si_code
	Access Prot        // Fault: what was tried, 0 when the host does not tell
	Addr   uint64      // Fault: si_addr
}

// Died is the error of Run when the host side of the address space was killed
// from outside (the OOM killer, say): that guest process gets SIGKILL.
type Died struct{ Reason string }

func (d *Died) Error() string { return "the host process of the address space died: " + d.Reason }

// Context is the host's side of one guest thread.
type Context interface {
	// Run runs guest code in as with regs until an Event. It is called by one
	// goroutine at a time; an error other than *Died means that the host failed.
	Run(as AddressSpace, regs *arch.Registers) (Event, error)
	// FPU returns the thread's extended state in XSAVE's standard format, as of
	// the last Run. It stays valid and may be written until the next Run or
	// Release; after writing call FPUChanged.
	FPU() []byte
	// FPUChanged says that the bytes returned by FPU were written to.
	FPUChanged()
	// Interrupt makes a running or the next Run return Interrupted soon (if
	// nothing else stops it first). Any goroutine may call it.
	Interrupt()
	// Leave says that the goroutine will not call Run soon (it blocks or
	// ends): thread state held by the host is brought home and an OS thread
	// held for it is let go. Run undoes it.
	Leave()
	// Release ends the context; no other method runs then or later.
	Release()
}

// Platform is a way to run guest code.
type Platform interface {
	// NewAddressSpace returns an empty address space. parent, which may be nil,
	// is the one a forking process runs in: what can be shared with it may be.
	NewAddressSpace(parent AddressSpace) (AddressSpace, error)
	// NewContext returns the context of a new thread with fresh extended state,
	// or a copy of fpu if that is not nil.
	NewContext(fpu []byte) Context
	// UserRange tells which addresses a guest may use: [lo, hi).
	UserRange() (lo, hi uint64)
	// Release ends every host process and thread of the platform.
	Release()
}
