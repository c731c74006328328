package arch

import "golang.org/x/sys/unix"

// Layout of Linux's rt_sigframe on amd64, in bytes from its start: the return
// address, a ucontext, a siginfo. The extended state lies above, on a multiple
// of 64, where the ucontext's fpstate points.
const (
	frameReturn   = 0
	frameUcontext = 8
	frameInfo     = frameUcontext + ucontextSize
	frameSize     = frameInfo + SiginfoSize

	ucFlags      = 0
	ucStack      = 16 // stack_t: sp, flags (4 bytes and 4 of padding), size
	ucMcontext   = 40
	ucSigmask    = ucMcontext + mcontextSize
	ucontextSize = ucSigmask + 8

	mcontextSize = 256
	mcSegments   = 18 * 8 // cs, gs, fs, ss: 2 bytes each
	mcFault      = 19 * 8 // err, trapno, oldmask, cr2
	mcFpstate    = 23 * 8
	mcEnd        = 24 * 8 // the rest is reserved

	// SiginfoSize is the size of siginfo_t in bytes.
	SiginfoSize = 128

	redZone        = 128 // bytes below rsp that leaf functions use
	frameAlign     = 16
	fpuAlign       = 64
	magic2Size     = 4
	fpXstateMagic1 = 0x46505853
	fpXstateMagic2 = 0x46505845

	ucFPXstate        = 1 // uc_flags: the fpstate has the extended format
	ucSigcontextSS    = 2 // uc_flags: ss is saved
	ucStrictRestoreSS = 4 // uc_flags: sigreturn takes ss as it stands
)

// Selectors of user code and data in Linux.
const (
	UserCS   = 0x33
	UserCS32 = 0x23
	UserDS   = 0x2b
)

// Bits of eflags.
const (
	flagReserved = 0x2
	FlagTF       = 0x100
	flagIF       = 0x200
	flagDF       = 0x400
	flagRF       = 0x10000

	// UserFlags are the bits of eflags that a thread may choose by rt_sigreturn(2)
	// or a debugger: AC RF OF DF TF SF ZF AF PF CF.
	UserFlags = 0x50dd5
)

// Flags of an alternate signal stack and of an action, with Linux's values.
const (
	SSOnStack    = 1
	SSDisable    = 2
	SSAutodisarm = 1 << 31

	saSiginfo  = 0x4
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
)

// NewRegisters returns the registers of a new program.
func NewRegisters(entry, sp uint64) Registers {
	return Registers{Rip: entry, Rsp: sp, Cs: UserCS, Ss: UserDS, Eflags: flagReserved | flagIF}
}

// AltStack is an alternate signal stack as of sigaltstack(2). Flags has
// SSDisable where there is none, and SSAutodisarm.
type AltStack struct {
	SP    uint64
	Flags uint32
	Size  uint64
}

// Contains tells whether sp lies on s, which then counts as in use.
func (s AltStack) Contains(sp uint64) bool {
	return s.Flags&SSAutodisarm == 0 && s.holds(sp)
}

// holds looks at addresses only.
func (s AltStack) holds(sp uint64) bool {
	return s.Size != 0 && sp > s.SP && sp-s.SP <= s.Size
}

// FrameArgs says what a signal frame is built from.
type FrameArgs struct {
	Signal   int32
	Info     [SiginfoSize]byte
	Mask     uint64 // blocked signals to go back to
	Handler  uint64
	Flags    uint64 // SA_* of the action
	Restorer uint64
	Stack    AltStack // the thread's

	// The last exception of the thread, as the processor numbers them.
	TrapNo    uint64
	ErrorCode uint64
	CR2       uint64
}

// BuildFrame lays out what a thread with the registers regs and the extended
// state fpu (FPUSize bytes) finds on its stack when a handler starts: frame is to be written at
// addr, newRegs are the handler's registers, and its extended state is ResetFPU's.
// EFAULT where Linux gives the thread a SIGSEGV instead: no restorer, or
// the alternate stack would overflow.
func BuildFrame(regs *Registers, fpu []byte, f *FrameArgs) (frame []byte, addr uint64, newRegs Registers, err error) {
	if f.Flags&saRestorer == 0 {
		return nil, 0, Registers{}, unix.EFAULT
	}
	addr, fpAddr, end, ok := placeFrame(regs, f)
	if !ok {
		return nil, 0, Registers{}, unix.EFAULT
	}
	frame = make([]byte, end-addr)
	le.PutUint64(frame[frameReturn:], f.Restorer)
	putUcontext(frame[frameUcontext:], regs, f, fpAddr)
	if f.Flags&saSiginfo != 0 {
		copy(frame[frameInfo:], f.Info[:])
	}
	putFPState(frame[fpAddr-addr:], fpu)

	newRegs = *regs
	newRegs.Rdi = uint64(f.Signal)
	newRegs.Rsi = addr + frameInfo
	newRegs.Rdx = addr + frameUcontext
	newRegs.Rax = 0
	newRegs.Rip = f.Handler
	newRegs.Rsp = addr
	newRegs.Cs, newRegs.Ss = UserCS, UserDS
	newRegs.Eflags &^= flagDF | flagRF | FlagTF
	return frame, addr, newRegs, nil
}

// placeFrame finds where the frame and its extended state go; end is behind both.
func placeFrame(regs *Registers, f *FrameArgs) (addr, fpAddr, end uint64, ok bool) {
	onAlt := f.Stack.Contains(regs.Rsp)
	sp := regs.Rsp - redZone
	if f.Flags&saOnStack != 0 && f.Stack.Size != 0 && !f.Stack.Contains(sp) {
		sp = f.Stack.SP + f.Stack.Size
		onAlt = true
	}
	length := uint64(FPUSize()) + magic2Size
	fpAddr = (sp - length) &^ (fpuAlign - 1)
	addr = (fpAddr-frameSize)&^(frameAlign-1) - 8
	end = fpAddr + length
	if addr > fpAddr || fpAddr > end || onAlt && !f.Stack.holds(addr) {
		return 0, 0, 0, false
	}
	return addr, fpAddr, end, true
}

// putUcontext writes a ucontext with regs to b.
func putUcontext(b []byte, regs *Registers, f *FrameArgs, fpAddr uint64) {
	flags := uint64(ucFPXstate | ucSigcontextSS)
	if regs.Cs == UserCS {
		flags |= ucStrictRestoreSS
	}
	le.PutUint64(b[ucFlags:], flags)
	le.PutUint64(b[ucStack:], f.Stack.SP)
	le.PutUint32(b[ucStack+8:], f.Stack.Flags)
	le.PutUint64(b[ucStack+16:], f.Stack.Size)
	le.PutUint64(b[ucSigmask:], f.Mask)

	mc := b[ucMcontext:]
	for i, r := range mcontextOrder(regs) {
		le.PutUint64(mc[i*8:], *r)
	}
	le.PutUint16(mc[mcSegments:], uint16(regs.Cs))
	le.PutUint16(mc[mcSegments+6:], uint16(regs.Ss))
	for i, v := range [4]uint64{f.ErrorCode, f.TrapNo, f.Mask, f.CR2} {
		le.PutUint64(mc[mcFault+i*8:], v)
	}
	le.PutUint64(mc[mcFpstate:], fpAddr)
}

// mcontextOrder lists the registers in the order of struct sigcontext.
func mcontextOrder(r *Registers) [18]*uint64 {
	return [18]*uint64{
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15,
		&r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx, &r.Rdx, &r.Rax, &r.Rcx, &r.Rsp, &r.Rip, &r.Eflags,
	}
}

// putFPState writes fpu to b with the marks by which handlers, and rt_sigreturn,
// see how far the extended state reaches.
func putFPState(b, fpu []byte) {
	p := host()
	copy(b, fpu[:p.size])
	sw := b[fpuSoftware:fxsaveEnd]
	clear(sw)
	le.PutUint32(sw, fpXstateMagic1)
	le.PutUint32(sw[4:], uint32(p.size)+magic2Size)
	le.PutUint64(sw[8:], p.features)
	le.PutUint32(sw[16:], uint32(p.size))
	le.PutUint64(b[xsaveFeatures:], le.Uint64(b[xsaveFeatures:])|fpsse)
	le.PutUint32(b[p.size:], fpXstateMagic2)
}

// MinSigStackSize is AT_MINSIGSTKSZ: the most bytes that a frame takes of a stack.
func MinSigStackSize() uint64 { return minSigStack(FPUSize()) }

// minSigStack is the value that Linux gives for an extended state of fpuSize bytes. It allows for
// the frames of 32-bit programs, which are larger than frameSize with its alignment.
func minSigStack(fpuSize int) uint64 {
	const frameMost = 864
	n := uint64(frameMost + fpuSize + magic2Size + fpuAlign - 1)
	return (n + frameAlign - 1) &^ (frameAlign - 1)
}
