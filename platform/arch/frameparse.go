package arch

import "golang.org/x/sys/unix"

// Saved is what rt_sigreturn(2) finds in a frame.
type Saved struct {
	Regs  Registers
	Mask  uint64
	Stack AltStack // as it stands in the frame: to be checked as in sigaltstack(2)

	// Bad says that no processor would go on with what the frame says: a
	// code selector that user code cannot have, or an instruction pointer that is not
	// canonical. Once the rest has been taken over the thread gets SIGSEGV with
	// SI_KERNEL, before it executes anything; Regs has valid selectors.
	Bad bool
}

// ParseFrame reads the frame at which a thread that calls rt_sigreturn(2) with
// the registers regs stands. read copies guest memory in and fails with EFAULT.
// The extended state goes to fpu, FPUSize bytes, which changes only if there is no error. EFAULT also
// where the extended state is one that XRSTOR refuses: Linux gives SIGSEGV for each.
func ParseFrame(regs *Registers, fpu []byte, read func(addr uint64, dst []byte) error) (Saved, error) {
	var uc [ucontextSize]byte
	// The handler's return popped the first word of the frame.
	if err := read(regs.Rsp, uc[:]); err != nil {
		return Saved{}, err
	}
	s := Saved{
		Regs: *regs,
		Mask: le.Uint64(uc[ucSigmask:]),
		Stack: AltStack{
			SP:    le.Uint64(uc[ucStack:]),
			Flags: le.Uint32(uc[ucStack+8:]),
			Size:  le.Uint64(uc[ucStack+16:]),
		},
	}
	mc := uc[ucMcontext:]
	oldFlags := regs.Eflags
	for i, r := range mcontextOrder(&s.Regs) {
		*r = le.Uint64(mc[i*8:])
	}
	s.Regs.Eflags = MergeFlags(oldFlags, s.Regs.Eflags)
	strict := le.Uint64(uc[ucFlags:])&ucStrictRestoreSS != 0
	s.Bad = !setSelectors(&s.Regs, le.Uint16(mc[mcSegments:]), le.Uint16(mc[mcSegments+6:]), strict) ||
		!Canonical(s.Regs.Rip)
	if err := parseFPState(le.Uint64(mc[mcFpstate:]), fpu, read); err != nil {
		return Saved{}, err
	}
	return s, nil
}

// MergeFlags is old with the bits that a thread may choose taken from chosen, and
// with those that user code always has.
func MergeFlags(old, chosen uint64) uint64 {
	return old&^UserFlags&0x3fffff | chosen&UserFlags | flagReserved | flagIF
}

// Canonical tells whether addr is one that the processor's 48-bit paging accepts.
func Canonical(addr uint64) bool { return uint64(int64(addr)<<16>>16) == addr }

// setSelectors takes over selectors from a frame; false if user code cannot have them.
func setSelectors(r *Registers, cs, ss uint16, strict bool) bool {
	cs, ss = cs|3, ss|3
	r.Cs, r.Ss = UserCS, UserDS
	switch {
	case cs == UserCS && !strict:
		return true
	case cs != UserCS && cs != UserCS32:
		return false
	}
	r.Cs = uint64(cs)
	return ss == UserDS
}

// parseFPState reads the extended state at addr; none at all if that is 0. Where
// the marks that putFPState makes are missing or lie, only the legacy part counts, as in
// frames made by hand.
func parseFPState(addr uint64, fpu []byte, read func(addr uint64, dst []byte) error) error {
	if addr == 0 {
		ResetFPU(fpu)
		return nil
	}
	p := host()
	b := make([]byte, p.size)
	if addr+uint64(p.size)+magic2Size < addr {
		return unix.EFAULT
	}
	if err := read(addr, b[:fxsaveEnd]); err != nil {
		return err
	}
	length, features, err := extent(addr, b[fpuSoftware:fxsaveEnd], read)
	if err != nil {
		return err
	}
	if length > fxsaveEnd {
		if err := read(addr+fxsaveEnd, b[fxsaveEnd:length]); err != nil {
			return err
		}
		if !ValidFPU(b) {
			return unix.EFAULT
		}
		le.PutUint64(b[xsaveFeatures:], le.Uint64(b[xsaveFeatures:])&features)
	} else {
		le.PutUint64(b[xsaveFeatures:], fpsse)
		if !ValidFPU(b) {
			return unix.EFAULT
		}
	}
	clear(b[fpuSoftware:fxsaveEnd])
	le.PutUint32(b[fpuMXCSRMask:], p.mxcsrMask)
	copy(fpu, b)
	return nil
}

// extent tells from the software-reserved bytes sw how many bytes of extended
// state to read, and which components of them count.
func extent(addr uint64, sw []byte, read func(addr uint64, dst []byte) error) (length int, features uint64, err error) {
	p := host()
	extended, size := le.Uint32(sw[4:]), le.Uint32(sw[16:])
	if le.Uint32(sw) != fpXstateMagic1 || size < xsaveHeaderEnd || size > uint32(p.size) || size > extended {
		return fxsaveEnd, fpsse, nil
	}
	var magic2 [magic2Size]byte
	if err := read(addr+uint64(size), magic2[:]); err != nil {
		return 0, 0, err
	}
	if le.Uint32(magic2[:]) != fpXstateMagic2 {
		return fxsaveEnd, fpsse, nil
	}
	return int(size), le.Uint64(sw[8:]), nil
}
