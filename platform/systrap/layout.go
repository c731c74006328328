package systrap

import (
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"

	"golang.org/x/sys/unix"
)

// Where things lie in a blank process, besides the stub's pages. The handler knows the same
// numbers (handler_amd64.s).
const (
	pageSize = 4096

	// userHigh is the end of what a guest may map.
	userHigh = 0x7fff00000000
	// areasAt is where the areas of threads lie, each at a multiple of its size.
	areasAt  = 0x7fff10000000
	areaSize = 0x10000
	maxSeats = 4096
	// stateSize is the length of the state, with which an area begins.
	stateSize = 4

	// trampolinesAt is where the trampolines of patched calls lie.
	trampolinesAt = 0x7fffffe00000
	// trapsAt is where the page lies that says where breakpoints stand for CPUID, and what that leaves.
	trapsAt = trampolinesAt - pageSize
	// codeAt is the handler's page of code, and behind it a page of data that belongs to it.
	codeAt   = 0x7fffffffa000
	codeSize = 2 * pageSize
	dataAt   = pageSize // from codeAt

	// In an area: a block, room for extended state, a page of answers that the guest cannot write, and the alternative stack. The topmost
	// frameRoom bytes are for the frame that a signal leaves when it comes in guest code; signals that
	// come in the handler itself leave theirs below.
	fpuOffset   = 0x1000
	answersAt   = 0x4000 // from the area's beginning
	stackOffset = 0x5000
	frameRoom   = 0x2000
	// frameMargin is more than a frame takes besides the extended state.
	frameMargin = 1024
	// nested is for how many frames of the usual size there is room below frameRoom, of which a frameRoom is for the first. A kick that comes as the thread begins
	// to wait, another one and a summons are what it has at the most; one that has more of them dies.
	nested = 6
)

// part is a part of an area, by its offset.
type part struct{ at, length uint64 }

// parts are those of an area that the guest can write. Of the rest only the page of answers is mapped in its process: what there is has to
// be cleared for the next guest.
func parts() [2]part {
	const top = areaSize - frameRoom
	fpu := pages(arch.FPUSize())
	stack := min(pages(nested*(arch.FPUSize()+frameMargin)), top-stackOffset) + frameRoom
	return [2]part{{0, fpuOffset + fpu}, {areaSize - stack, stack}}
}

// pages is n rounded up to whole pages.
func pages(n int) uint64 { return (uint64(n) + pageSize - 1) &^ (pageSize - 1) }

// The state of a thread: whose turn it is, and whether the other side sleeps, or is about to.
const (
	stateGuest  = 0 // the thread runs guest code, or is about to
	stateSentry = 1 // the thread waits for the sentry
	stateAsleep = 2
)

// Kinds of what the handler reports.
const (
	kindSignal  = 1 // a signal in guest code; frame and signal tell the rest
	kindAborted = 2 // a kick before the guest's first instruction
	kindBroken  = 3 // a fault in the handler's own page
	kindReady   = 4 // a new thread
	kindCall    = 5 // a call from a patched site; its registers are in the block
	kindSaved   = 6 // the extended state, as asked for
	kindSame    = 7 // a call from a patched site like the last event, all registers but those in the first line as they were then
)

// What the handler is asked to do when it is its turn.
const (
	loadSegments = 1 // to load the segment registers too
	saveState    = 2 // to store the extended state and report, instead of running the guest
	plainReturn  = 4 // to go back from a patched call with rax as its result and nothing else changed
)

// messageFlags is the first bit of the guest's flags in a message about a patched call.
const messageFlags = 8

// liveSaved is the value of live when the room for extended state holds what the processor does.
const liveSaved = 2

// block is the head of an area. The guest can write all of it. A line of 64 bytes that one processor has written costs the other one
// a tenth of a call to fetch, so a patched call's number, its arguments, the registers that loops count in and the result are in the line
// of the state, and the rest is written only where it has changed.
type block struct {
	state   uint32 // futex
	message uint32 // of whoever gives the turn: a kind, or what the handler is asked to do; with a patched call its flags, from messageFlags on

	rax, rdi, rsi, rdx, r10, rbx, rbp uint64

	r8, r9, rip, rsp, eflags, r12, r13, r14 uint64

	r15, fsBase, gsBase uint64

	segs   [4]uint16 // ds, es, fs, gs
	frame  uint64    // address of the ucontext
	signal uint32
	live   uint32 // the extended state: 0 is in the frame, 1 in the processor, liveSaved also in the room for it

	rcx, r11, cs, ss uint64

	restore uint64 // address of the extended state to load; 0: it is in the processor
	spin    uint32 // cycles that the thread spins before it sleeps
	waits   uint32 // not 0: the sentry sleeps until token changes
	token   uint64 // that the thread was last summoned with; futex, by its first half
	late    uint32 // not 0: a kick has come while the handler was busy with another signal of this turn

	_     [68]byte
	stack sigaltstack
}

// gregs are general registers in the order of the kernel's struct sigcontext.
type gregs struct {
	r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags uint64
}

type sigaltstack struct {
	sp    uint64
	flags uint32
	_     uint32
	size  uint64
}

// sigframe is the kernel's struct ucontext with the siginfo that follows it.
type sigframe struct {
	_              [40]byte
	regs           gregs
	cs, gs, fs, ss uint16
	err            uint64
	trap           uint64
	_              uint64
	cr2            uint64
	fpu            uint64
	_              [72]byte
	signo          int32
	_              int32
	code           int32
	_              int32
	addr           uint64 // of the fault, or behind the system call
	number         int32  // of the system call
	arch           uint32
}

// kickSignal brings a thread out of guest code.
const kickSignal = blank.KickSignal

// entrySignals are those that the handler takes.
func entrySignals() []unix.Signal {
	return []unix.Signal{unix.SIGSYS, unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, kickSignal}
}
