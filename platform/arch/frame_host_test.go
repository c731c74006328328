package arch

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What testdata/frame.c uses.
const (
	hostStack     = 0x10000000
	hostStackSize = 0x10000
	hostFPUMax    = 16384
)

// hostFrame compiles the C program and starts it.
func hostFrame(t *testing.T, mode string) (in io.WriteCloser, out io.Reader) {
	t.Helper()
	prog := filepath.Join(t.TempDir(), "frame")
	if b, err := exec.Command("cc", "-O1", "-Wall", "-o", prog, "testdata/frame.c").CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v\n%s", err, b)
	}
	cmd := exec.Command(prog, mode, fmt.Sprint(testFeatures()))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the C program: %v", err)
		}
	})
	return in, out
}

// testFeatures are the components that a test may fill with anything: not the
// protection keys, which would take memory away.
func testFeatures() uint64 { return FPUFeatures() &^ (1 << 9) }

// hostFPU returns a state with random contents in every component, and zeros between them. Of x87 one bit is enough: some processors mark
// as not in use what is as it is initially.
func hostFPU(r *rand.Rand) []byte {
	b, full := NewFPU(), randomFPU(r)
	le.PutUint16(b[fpuControl:], initialFCW&^0x100) // another precision
	copy(b[160:416], full[160:416])
	for i := uint32(2); i < 63; i++ {
		if testFeatures()&(1<<i) != 0 {
			length, offset, _, _ := cpuid(0xd, i)
			copy(b[offset:offset+length], full[offset:])
		}
	}
	le.PutUint64(b[xsaveFeatures:], testFeatures())
	return b
}

func receive(t *testing.T, r io.Reader, n uint64) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFrameIsTheHosts has the host's kernel build a frame, parses it, and builds the same
// one again.
func TestFrameIsTheHosts(t *testing.T) {
	in, out := hostFrame(t, "deliver")
	fpu := hostFPU(rand.New(rand.NewPCG(5, 6)))
	in.Write(append(le.AppendUint64(nil, uint64(len(fpu))), fpu...))
	head := receive(t, out, 16)
	addr := le.Uint64(head)
	host := receive(t, out, le.Uint64(head[8:]))
	s := &stack{addr, shorten(host, addr)}

	got := make([]byte, FPUSize())
	saved, err := ParseFrame(&Registers{Rsp: addr + 8, Eflags: 0x202}, got, s.read)
	if err != nil || saved.Bad {
		t.Fatalf("bad %v, %v", saved.Bad, err)
	}
	if !bytes.Equal(got, fpu) {
		t.Error("extended state differs")
	}
	uc := host[frameUcontext:]
	want := Registers{
		R8: 0xa08, R9: 0xa09, R10: 0xa0a, R11: 0xa0b, R12: 0xa0c, R13: 0xa0d, R14: 0xa0e, R15: 0xa0f,
		Rdi: 0xa10, Rsi: 0xa11, Rbp: 0xa12, Rbx: 0xa13, Rdx: 0xa14, Rax: 0xa15, Rcx: 0xa16,
		Rsp: saved.Regs.Rsp, Rip: saved.Regs.Rip, Eflags: saved.Regs.Eflags, Cs: UserCS, Ss: UserDS,
	}
	if d := cmp.Diff(want, saved.Regs); d != "" {
		t.Error(d)
	}
	if st := (AltStack{SP: hostStack, Size: hostStackSize}); saved.Stack != st {
		t.Errorf("stack %+v", saved.Stack)
	}

	f := FrameArgs{
		Signal: int32(unix.SIGILL), Mask: saved.Mask, Stack: saved.Stack,
		Flags: saRestorer | saSiginfo | saOnStack, Restorer: le.Uint64(host),
		ErrorCode: le.Uint64(uc[ucMcontext+mcFault:]), TrapNo: le.Uint64(uc[ucMcontext+mcFault+8:]), CR2: le.Uint64(uc[ucMcontext+mcFault+24:]),
	}
	copy(f.Info[:], host[frameInfo:])
	want.Eflags = le.Uint64(uc[ucMcontext+17*8:])
	ours, at, _, err := BuildFrame(&want, fpu, &f)
	if err != nil {
		t.Fatal(err)
	}
	compareFrames(t, ours, at, host, addr)
}

// shorten returns a copy of the host's frame at addr in which the extended state has the length that
// guests have: the host may keep more in it.
func shorten(host []byte, addr uint64) []byte {
	b := bytes.Clone(host)
	fp := b[le.Uint64(b[frameUcontext+ucMcontext+mcFpstate:])-addr:]
	le.PutUint32(fp[fpuSoftware+16:], uint32(FPUSize()))
	le.PutUint32(fp[FPUSize():], fpXstateMagic2)
	return b
}

// compareFrames compares frames that lie at two addresses and need not give their extended state
// the same length.
func compareFrames(t *testing.T, ours []byte, at uint64, host []byte, addr uint64) {
	t.Helper()
	field := frameUcontext + ucMcontext + mcFpstate
	ourFP, hostFP := le.Uint64(ours[field:])-at, le.Uint64(host[field:])-addr
	swap := func(b []byte, fp uint64) (marks []byte, length uint64) {
		le.PutUint64(b[field:], fp)
		marks = bytes.Clone(b[fp+fpuSoftware:][:fxsaveEnd-fpuSoftware])
		clear(b[fp+fpuSoftware:][:fxsaveEnd-fpuSoftware])
		return marks, uint64(le.Uint32(marks[16:]))
	}
	ourMarks, ourLength := swap(ours, ourFP)
	hostMarks, hostLength := swap(host, hostFP)
	if end := ourFP + ourLength; end+magic2Size != uint64(len(ours)) || le.Uint32(ours[end:]) != fpXstateMagic2 {
		t.Errorf("extended state of %d bytes at %d of %d", ourLength, ourFP, len(ours))
	}
	if ourFP != hostFP || !bytes.Equal(ours[:ourFP+ourLength], host[:ourFP+ourLength]) {
		t.Errorf("frames differ (-ours +host):\n%s", cmp.Diff(ours, host))
	}
	if at-addr != hostLength-ourLength || le.Uint64(ourMarks[8:])&^le.Uint64(hostMarks[8:]) != 0 {
		t.Errorf("frame at %#x, marks %x; the host's at %#x, %x", at, ourMarks, addr, hostMarks)
	}
	if ourLength == hostLength && !bytes.Equal(ourMarks, hostMarks) {
		t.Errorf("marks %x, the host's %x", ourMarks, hostMarks)
	}
}

// TestHostTakesFrame has the host's rt_sigreturn take a frame.
func TestHostTakesFrame(t *testing.T) {
	in, out := hostFrame(t, "return")
	landing := le.Uint64(receive(t, out, 8))
	fpu := hostFPU(rand.New(rand.NewPCG(7, 8)))
	regs := someRegisters(hostStack + hostStackSize - 256)
	regs.Rip = landing
	regs.Eflags = flagReserved | flagIF | flagDF | 0x8d5 // all but TF, AC and RF
	frame, addr, _, err := BuildFrame(&regs, fpu, &FrameArgs{Signal: 1, Flags: saRestorer, Stack: AltStack{Flags: SSDisable}})
	if err != nil {
		t.Fatal(err)
	}
	msg := le.AppendUint64(le.AppendUint64(nil, addr), uint64(len(frame)))
	in.Write(append(msg, frame...))
	got := receive(t, out, 18*8)
	for i, r := range mcontextOrder(&regs) {
		if v := le.Uint64(got[i*8:]); v != *r && r != &regs.Rip {
			t.Errorf("register %d: %#x, want %#x", i, v, *r)
		}
	}
	gotFPU := receive(t, out, hostFPUMax)[:FPUSize()]
	if !bytes.Equal(gotFPU, fpu) {
		t.Error("extended state differs")
	}
}

// TestMinSigStackSize compares with the auxiliary vector of this process.
func TestMinSigStackSize(t *testing.T) {
	const atMinsigstksz = 51
	b, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		t.Skip(err)
	}
	for ; len(b) >= 16; b = b[16:] {
		if v := le.Uint64(b[8:]); le.Uint64(b) == atMinsigstksz && v != minSigStack(host().hostSize) {
			t.Errorf("%d, the host says %d", minSigStack(host().hostSize), v)
		}
	}
}
