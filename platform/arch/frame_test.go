package arch

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// stack is memory at an address, for frames to be written to and read from.
type stack struct {
	base uint64
	mem  []byte
}

func (s *stack) at(addr, n uint64) ([]byte, error) {
	if addr < s.base || addr-s.base > uint64(len(s.mem)) || n > uint64(len(s.mem))-(addr-s.base) {
		return nil, unix.EFAULT
	}
	return s.mem[addr-s.base:][:n], nil
}

func (s *stack) read(addr uint64, dst []byte) error {
	b, err := s.at(addr, uint64(len(dst)))
	copy(dst, b)
	return err
}

func newStack() *stack { return &stack{0x7ffc_1230_0000, make([]byte, 1<<16)} }

// randomFPU returns a state with random contents in every component of the
// first 512 bytes and the rest that the processor has.
func randomFPU(r *rand.Rand) []byte {
	b := NewFPU()
	for i := 160; i < 416; i++ {
		b[i] = byte(r.Uint32())
	}
	for i := xsaveHeaderEnd; i < len(b); i++ {
		b[i] = byte(r.Uint32())
	}
	le.PutUint64(b[xsaveFeatures:], FPUFeatures())
	return b
}

func someRegisters(sp uint64) Registers {
	return Registers{
		R15: 15, R14: 14, R13: 13, R12: 12, Rbp: 5, Rbx: 3, R11: 11, R10: 10, R9: 9, R8: 8,
		Rax: 1, Rcx: 2, Rdx: 4, Rsi: 6, Rdi: 7, Rip: 0x401000, Rsp: sp,
		Cs: UserCS, Ss: UserDS, Eflags: 0x10e57, Fs_base: 0x7000, Gs_base: 0x8000,
	}
}

// handlerOn puts a frame on s and returns the arguments it was built from, and the handler's registers.
func handlerOn(t *testing.T, s *stack, regs *Registers, fpu []byte, change func(*FrameArgs)) (*FrameArgs, Registers) {
	t.Helper()
	f := &FrameArgs{
		Signal: 11, Mask: 0x123456789, Handler: 0x402000, Restorer: 0x403000, Flags: saRestorer | saSiginfo,
		Stack: AltStack{Flags: SSDisable}, TrapNo: 14, ErrorCode: 6, CR2: 0xdead000,
	}
	for i := range f.Info {
		f.Info[i] = byte(i)
	}
	if change != nil {
		change(f)
	}
	frame, addr, hr, err := BuildFrame(regs, fpu, f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.at(addr, uint64(len(frame)))
	if err != nil {
		t.Fatalf("frame of %d bytes at %#x is not on the stack", len(frame), addr)
	}
	copy(b, frame)
	return f, hr
}

// afterReturn is regs as the handler's return instruction leaves them.
func afterReturn(regs Registers) *Registers {
	regs.Rsp += 8
	regs.Rax = unix.SYS_RT_SIGRETURN
	return &regs
}

func TestFrameRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, sp := range []uint64{0x7ffc_1230_8000, 0x7ffc_1230_8001, 0x7ffc_1230_7ff8, 0x7ffc_1230_803f} {
		s, fpu, regs := newStack(), randomFPU(r), someRegisters(sp)
		f, hr := handlerOn(t, s, &regs, fpu, nil)
		if hr.Rsp%16 != 8 || hr.Rsp > sp-redZone {
			t.Errorf("handler's rsp %#x for %#x", hr.Rsp, sp)
		}
		if hr.Rip != f.Handler || hr.Rdi != 11 || hr.Rsi != hr.Rsp+frameInfo || hr.Rdx != hr.Rsp+frameUcontext || hr.Rax != 0 {
			t.Errorf("handler's registers: %+v", hr)
		}
		if hr.Eflags&(flagDF|FlagTF|flagRF) != 0 {
			t.Errorf("handler's eflags %#x", hr.Eflags)
		}
		ret, _ := s.at(hr.Rsp, 8)
		info, _ := s.at(hr.Rsi, SiginfoSize)
		if le.Uint64(ret) != f.Restorer || !bytes.Equal(info, f.Info[:]) {
			t.Errorf("return address %x, siginfo %x", ret, info)
		}
		gotFPU := NewFPU()
		got, err := ParseFrame(afterReturn(hr), gotFPU, s.read)
		if err != nil {
			t.Fatal(err)
		}
		want := Saved{Regs: regs, Mask: f.Mask, Stack: f.Stack}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		if !bytes.Equal(fpu, gotFPU) {
			t.Errorf("extended state differs")
		}
	}
}

func TestFrameOnAlternateStack(t *testing.T) {
	alt := func(size uint64, flags uint32) func(*FrameArgs) {
		return func(f *FrameArgs) {
			f.Flags |= saOnStack
			f.Stack = AltStack{SP: 0x7ffc_1230_0000, Size: size, Flags: flags}
		}
	}
	s, fpu := newStack(), NewFPU()
	outside := someRegisters(0x7ffc_1230_f000)
	_, hr := handlerOn(t, s, &outside, fpu, alt(0x4000, 0))
	if hr.Rsp >= 0x7ffc_1230_4000 {
		t.Errorf("rsp %#x is not on the alternate stack", hr.Rsp)
	}
	nested := hr
	_, hr2 := handlerOn(t, s, &nested, fpu, alt(0x4000, 0))
	if hr2.Rsp >= hr.Rsp-redZone {
		t.Errorf("nested frame at %#x over that at %#x", hr2.Rsp, hr.Rsp)
	}
	_, hr3 := handlerOn(t, s, &nested, fpu, alt(0x4000, SSAutodisarm))
	if hr3.Rsp != hr.Rsp {
		t.Errorf("disarmed stack: frame at %#x, want the top one %#x", hr3.Rsp, hr.Rsp)
	}
	f := &FrameArgs{Signal: 11, Handler: 1, Flags: saRestorer}
	alt(uint64(FPUSize()), 0)(f)
	if _, _, _, err := BuildFrame(&outside, fpu, f); err != unix.EFAULT {
		t.Errorf("overflow of the alternate stack: %v", err)
	}
	for top := uint64(0); top < fpuAlign; top++ {
		alt(MinSigStackSize(), 0)(f)
		f.Stack.SP += top
		if _, _, _, err := BuildFrame(&outside, fpu, f); err != nil {
			t.Errorf("AT_MINSIGSTKSZ bytes at %#x do not hold a frame: %v", f.Stack.SP, err)
		}
	}
}

func TestFrameRefused(t *testing.T) {
	fpu, regs := NewFPU(), someRegisters(0x7ffc_1230_f000)
	if _, _, _, err := BuildFrame(&regs, fpu, &FrameArgs{Signal: 1, Handler: 1}); err != unix.EFAULT {
		t.Errorf("no restorer: %v", err)
	}
	for _, sp := range []uint64{0, 1, 8, 127, 128, 200, 600, 1000} {
		regs.Rsp = sp
		f := &FrameArgs{Signal: 1, Handler: 1, Flags: saRestorer}
		if frame, addr, _, err := BuildFrame(&regs, fpu, f); err == nil && addr+uint64(len(frame)) < addr {
			t.Errorf("rsp %d: frame at %#x wraps around", sp, addr)
		}
	}
}

// hostileFrame is a change to a good frame, and what ParseFrame is to make of it. uc is the
// ucontext, fp the extended state.
type hostileFrame struct {
	name    string
	corrupt func(uc, fp []byte)
	check   func(t *testing.T, s Saved, fpu []byte, err error)
}

func hostileFrames() []hostileFrame {
	return []hostileFrame{
		{"eflags", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+17*8:], ^uint64(0)) }, func(t *testing.T, s Saved, _ []byte, err error) {
			if want := uint64(UserFlags | flagReserved | flagIF); err != nil || s.Regs.Eflags != want {
				t.Errorf("eflags %#x, want %#x; %v", s.Regs.Eflags, want, err)
			}
		}},
		{"eflags cleared", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+17*8:], 0) }, func(t *testing.T, s Saved, _ []byte, err error) {
			if want := uint64(flagReserved | flagIF); err != nil || s.Regs.Eflags != want {
				t.Errorf("eflags %#x, want %#x; %v", s.Regs.Eflags, want, err)
			}
		}},
		{"rip not canonical", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+16*8:], 1<<47) }, wantBad},
		{"cs of the kernel", func(uc, _ []byte) { le.PutUint16(uc[ucMcontext+mcSegments:], 0x10) }, wantBad},
		{"cs null", func(uc, _ []byte) { le.PutUint16(uc[ucMcontext+mcSegments:], 0) }, wantBad},
		{"ss null, strict", func(uc, _ []byte) { le.PutUint16(uc[ucMcontext+mcSegments+6:], 0) }, wantBad},
		{"ss null, not strict", func(uc, _ []byte) {
			le.PutUint16(uc[ucMcontext+mcSegments+6:], 0)
			le.PutUint64(uc[ucFlags:], 0)
		}, func(t *testing.T, s Saved, _ []byte, err error) {
			if err != nil || s.Bad || s.Regs.Ss != UserDS {
				t.Errorf("bad %v, ss %#x, %v", s.Bad, s.Regs.Ss, err)
			}
		}},
		{"fpstate null", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+mcFpstate:], 0) }, func(t *testing.T, _ Saved, fpu []byte, err error) {
			if err != nil || !bytes.Equal(fpu, NewFPU()) {
				t.Errorf("not the initial state; %v", err)
			}
		}},
		{"fpstate garbage", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+mcFpstate:], 0xdead_0000_0000) }, wantFault},
		{"fpstate in the kernel", func(uc, _ []byte) { le.PutUint64(uc[ucMcontext+mcFpstate:], ^uint64(0)-100) }, wantFault},
		{"magic1", func(_, fp []byte) { fp[fpuSoftware] ^= 1 }, wantLegacy},
		{"magic2", func(_, fp []byte) { fp[FPUSize()] ^= 1 }, wantLegacy},
		{"size too large", func(_, fp []byte) { le.PutUint32(fp[fpuSoftware+16:], ^uint32(0)) }, wantLegacy},
		{"size too small", func(_, fp []byte) { le.PutUint32(fp[fpuSoftware+16:], 512) }, wantLegacy},
		{"size over extended size", func(_, fp []byte) { le.PutUint32(fp[fpuSoftware+4:], 0) }, wantLegacy},
		{"components cut by the marks", func(_, fp []byte) { le.PutUint64(fp[fpuSoftware+8:], 1) }, func(t *testing.T, _ Saved, fpu []byte, err error) {
			if got := le.Uint64(fpu[xsaveFeatures:]); err != nil || got != 1 {
				t.Errorf("components %#x, %v", got, err)
			}
		}},
		{"components unknown", func(_, fp []byte) { le.PutUint64(fp[xsaveFeatures:], ^uint64(0)) }, wantFault},
		{"AMX", func(_, fp []byte) { le.PutUint64(fp[xsaveFeatures:], amxComponents) }, wantFault},
		{"compacted", func(_, fp []byte) { le.PutUint64(fp[xsaveCompact:], 1<<63) }, wantFault},
		{"header reserved", func(_, fp []byte) { fp[xsaveHeaderEnd-1] = 1 }, wantFault},
		{"mxcsr", func(_, fp []byte) { le.PutUint32(fp[fpuMXCSR:], ^uint32(0)) }, wantFault},
		{"mxcsr in the legacy format", func(_, fp []byte) {
			le.PutUint32(fp[fpuMXCSR:], ^uint32(0))
			clear(fp[fpuSoftware:fxsaveEnd])
		}, wantFault},
	}
}

func TestHostileFrames(t *testing.T) {
	for _, c := range hostileFrames() {
		t.Run(c.name, func(t *testing.T) {
			s, regs := newStack(), someRegisters(0x7ffc_1230_8000)
			_, hr := handlerOn(t, s, &regs, randomFPU(rand.New(rand.NewPCG(3, 4))), nil)
			uc, _ := s.at(hr.Rdx, ucontextSize)
			fp, _ := s.at(le.Uint64(uc[ucMcontext+mcFpstate:]), uint64(FPUSize()+magic2Size))
			c.corrupt(uc, fp)
			fpu := make([]byte, FPUSize())
			got, err := ParseFrame(afterReturn(hr), fpu, s.read)
			if err == nil && !ValidFPU(fpu) {
				t.Errorf("the extended state would fault")
			}
			if err != nil && !bytes.Equal(fpu, make([]byte, FPUSize())) {
				t.Errorf("the extended state changed in spite of %v", err)
			}
			c.check(t, got, fpu, err)
		})
	}
}

func wantBad(t *testing.T, s Saved, _ []byte, err error) {
	if err != nil || !s.Bad || s.Regs.Cs != UserCS || s.Regs.Ss != UserDS {
		t.Errorf("bad %v, cs %#x, ss %#x, %v", s.Bad, s.Regs.Cs, s.Regs.Ss, err)
	}
}

func wantFault(t *testing.T, _ Saved, _ []byte, err error) {
	if err != unix.EFAULT {
		t.Errorf("error %v, want EFAULT", err)
	}
}

func wantLegacy(t *testing.T, _ Saved, fpu []byte, err error) {
	if err != nil || le.Uint64(fpu[xsaveFeatures:]) != fpsse {
		t.Errorf("components %#x, want x87 and SSE only; %v", le.Uint64(fpu[xsaveFeatures:]), err)
	}
}

func TestHostileFrameUnreadable(t *testing.T) {
	s, regs := newStack(), someRegisters(0x7ffc_1230_8000)
	_, hr := handlerOn(t, s, &regs, NewFPU(), nil)
	for _, sp := range []uint64{0, ^uint64(0) - 7, 0xffff_8000_0000_0000, s.base + uint64(len(s.mem)) - 100} {
		hr.Rsp = sp
		if _, err := ParseFrame(&hr, NewFPU(), s.read); err != unix.EFAULT {
			t.Errorf("frame at %#x: %v", sp, err)
		}
	}
}

// FuzzParseFrame takes any bytes for a stack.
func FuzzParseFrame(f *testing.F) {
	regs := someRegisters(0x7ffc_1230_8000)
	frame, addr, _, err := BuildFrame(&regs, randomFPU(rand.New(rand.NewPCG(9, 9))), &FrameArgs{Signal: 1, Handler: 1, Flags: saRestorer})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Fuzz(func(t *testing.T, mem []byte) {
		fpu := NewFPU()
		s, err := ParseFrame(&Registers{Rsp: addr + 8}, fpu, (&stack{addr, mem}).read)
		switch r := s.Regs; {
		case err != nil:
			if err != unix.EFAULT || !bytes.Equal(fpu, NewFPU()) {
				t.Errorf("%v, or the extended state changed", err)
			}
		case !ValidFPU(fpu), r.Ss != UserDS, r.Cs != UserCS && r.Cs != UserCS32, r.Eflags&^UserFlags != flagReserved|flagIF:
			t.Errorf("%+v", s)
		case !s.Bad && !Canonical(r.Rip):
			t.Errorf("rip %#x", r.Rip)
		}
	})
}
