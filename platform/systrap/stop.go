package systrap

import (
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"

	"golang.org/x/sys/unix"
)

const (
	siKernel   = 0x80 // SI_KERNEL
	segvMapErr = 1    // SEGV_MAPERR
	sysSeccomp = 1    // SYS_SECCOMP

	sysUretprobe = 335

	vsyscallStart = 0xffffffffff600000
	vsyscallEnd   = vsyscallStart + 4096

	// Bits of a page fault's error code.
	faultWrite = 1 << 1
	faultFetch = 1 << 4
	trapPage   = 14
)

// decode says what the thread reports. done is false for what is none of the guest's doing. A guest
// that forges reports gets what it could have had by making calls or faults.
func (c *context) decode(s *seat, regs *arch.Registers) (ev platform.Event, done bool, err error) {
	message := atomic.LoadUint32(&s.message)
	same := c.same
	c.same = false
	switch kind := message & (1<<messageFlags - 1); kind {
	case kindSignal, kindBroken:
		return c.decodeSignal(s, regs)
	case kindCall, kindSame:
		flags := message >> messageFlags
		if kind == kindSame && same {
			s.getSame(&c.called, flags)
		} else {
			s.getCall(&c.called, flags)
		}
		*regs = c.called
		s.live, c.fresh = true, true
		return platform.Event{Kind: platform.Syscall}, true, nil
	case kindAborted:
		s.last = nil // its segment registers may not be loaded
	}
	return ev, false, nil
}

// decodeSignal is decode for a signal that came in guest code.
func (c *context) decodeSignal(s *seat, regs *arch.Registers) (ev platform.Event, done bool, err error) {
	frame, ok := s.frameNow()
	if !ok {
		return ev, true, c.died(errForged)
	}
	s.getRegisters(&frame, regs)
	sig := unix.Signal(atomic.LoadUint32(&s.signal))
	if sig == kickSignal {
		return ev, false, nil
	}
	if frame.code <= 0 {
		return ev, false, nil // sent by a process
	}
	switch sig {
	case unix.SIGSYS:
		if frame.code != sysSeccomp {
			return ev, false, nil
		}
		ev.Kind = platform.Syscall
		if frame.arch != unix.AUDIT_ARCH_X86_64 {
			ev.Kind = platform.Syscall32
		}
		undoRestart(&frame, regs)
		return ev, true, nil
	case unix.SIGILL:
		// Linux answers uretprobe(2) before it asks any filter, with this signal.
		if frame.code == siKernel && regs.Rcx == regs.Rip {
			regs.Rax = sysUretprobe
			return platform.Event{Kind: platform.Syscall}, true, nil
		}
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGTRAP:
	default:
		return ev, false, nil
	}
	return faultEvent(sig, &frame, regs), true, nil
}

// undoRestart takes back what the host does when the number of a trapped call looks to it like the result of one
// that is to be restarted.
func undoRestart(frame *sigframe, regs *arch.Registers) {
	if int32(regs.Rax) != frame.number {
		regs.Rax = uint64(int64(frame.number))
	}
	if frame.addr == regs.Rip+2 {
		regs.Rip += 2
	}
}

// faultEvent is the event of a signal that the processor caused.
func faultEvent(sig unix.Signal, frame *sigframe, regs *arch.Registers) platform.Event {
	ev := platform.Event{Kind: platform.Fault, Signal: sig, Code: frame.code, Addr: frame.addr}
	if ev.Code == siKernel {
		ev.Addr = 0
	}
	if frame.trap == trapPage {
		switch {
		case frame.err&faultFetch != 0:
			ev.Access = platform.Exec
		case frame.err&faultWrite != 0:
			ev.Access = platform.Write
		default:
			ev.Access = platform.Read
		}
	}
	// A host that emulates the vsyscall page says nothing of use when it cannot read the return address.
	if sig == unix.SIGSEGV && ev.Code == siKernel && regs.Rip >= vsyscallStart && regs.Rip < vsyscallEnd {
		switch regs.Rip - vsyscallStart {
		case 0, 0x400, 0x800:
			ev.Code, ev.Addr, ev.Access = segvMapErr, regs.Rsp, platform.Read
		}
	}
	return ev
}

// errForged is the end of a guest that wrote nonsense into its areas.
var errForged = blank.ErrDead

// frameNow reads the frame that the report names, if it lies in the area.
func (s *seat) frameNow() (f sigframe, ok bool) { return s.frameAt(atomic.LoadUint64(&s.frame)) }

// findState finds the extended state that a thread had in the processor when it was summoned. If it was at a kick just then, that is in the frame of the
// kick: the host lets signals begin without any. The frame is where the stack pointer was, which is aligned otherwise where the thread waits.
func (s *seat) findState() {
	const entry, aligned = 16, 16 // bytes of code that push something
	f, ok := s.frameNow()
	for range nested {
		at := f.regs.rip - codeAt
		if !ok || at >= pageSize || f.regs.rsp%aligned == 0 && at >= entry {
			return
		}
		f, ok = s.frameAt((f.regs.rsp + aligned) &^ (aligned - 1))
	}
}

// frameAt reads the frame at an address, if it lies in the area.
func (s *seat) frameAt(addr uint64) (f sigframe, ok bool) {
	at := addr - s.base()
	if at < stackOffset || at > areaSize-frameSize || at%8 != 0 {
		return f, false
	}
	f = s.readFrame(at)
	fpu := f.fpu - s.base()
	if fpu < stackOffset || fpu > areaSize-uint64(arch.FPUSize()) || fpu%64 != 0 {
		return f, false
	}
	s.fpu, s.live = fpu, false
	return f, true
}
