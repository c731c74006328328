package systrap

import (
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch/patchtest"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// Offsets in cpuidCode.
const (
	cpuidAt   = 0  // CPUID and a call
	cpuidLoop = 9  // CPUID for ever
	ownBreak  = 20 // a breakpoint of the guest's
	ownStep   = 23 // CPUID that the guest steps over by itself
)

// cpuidCode is cpuid; mov %ecx,%r8d; syscall; jmp back; and mov $4,%eax; xor %ecx,%ecx; cpuid; jmp back; and int3; jmp back;
// and push $TF; popf; cpuid; nop; jmp back.
var cpuidCode = []byte{0x0f, 0xa2, 0x41, 0x89, 0xc8, 0x0f, 0x05, 0xeb, 0xf7, 0xb8, 4, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0xeb, 0xf5, 0xcc, 0xeb, 0xfd,
	0x68, 2, 1, 0, 0, 0x9d, 0x0f, 0xa2, 0x90, 0xeb, 0xfd}

// cpuidGuest is a guest whose code is cpuidCode in a program that has been executed so often that its CPUID is caught.
func cpuidGuest(t *testing.T) *guest {
	t.Helper()
	p, err := newPlatform(pool.MaxProcesses, maxRunning, true, trapsAt)
	if err != nil {
		t.Skipf("the host cannot run it: %v", err)
	}
	t.Cleanup(p.Release)
	g := newGuest(t, p)
	g.textFD = patchtest.Open(t, patchtest.Program(cpuidCode))
	soon(t, "breakpoints", func() bool {
		g.Leave()
		g.as.Release()
		as, err := p.NewAddressSpace(nil)
		if err != nil {
			t.Fatal(err)
		}
		g.as = as.(*addressSpace)
		stack := platform.Change{Op: platform.Map, File: g.codeFD, Addr: guestAt + pageSize, Length: pageSize, Offset: pageSize, Prot: platform.Read | platform.Write}
		if err := g.as.Apply([]platform.Change{g.program(), stack}); err != nil {
			t.Fatal(err)
		}
		return g.as.text.TrapsMapped()
	})
	return g
}

// program is the change that maps the guest's code.
func (g *guest) program() platform.Change {
	c := g.plain()
	c.Offset = patchtest.CodeAt
	return c
}

// cpuid has the guest execute CPUID, and returns what that leaves.
func (g *guest) cpuid(t *testing.T, leaf, sub uint32) (r [4]uint32) {
	t.Helper()
	g.regs.Rip, g.regs.Rax, g.regs.Rcx = guestAt+cpuidAt, 0xabcd<<32|uint64(leaf), 0xabcd<<32|uint64(sub)
	g.call(t)
	for i, v := range []uint64{g.regs.Rax, g.regs.Rbx, g.regs.R8, g.regs.Rdx} {
		if v>>32 != 0 {
			t.Errorf("leaf %#x, %d: %#x in register %d", leaf, sub, v, i)
		}
		r[i] = uint32(v)
	}
	return r
}

// TestCPUID compares what guests find with what the processor says, at first and when it is known.
func TestCPUID(t *testing.T) {
	g := cpuidGuest(t)
	for _, leaf := range []uint32{0, 2, 4, 7, 0x80000000, 0x80000008, 0x12345678} {
		for sub := range uint32(4) {
			want := arch.CPUID(leaf, sub)
			for range 3 {
				if got := g.cpuid(t, leaf, sub); got != want {
					t.Errorf("leaf %#x, %d: %#x, want %#x", leaf, sub, got, want)
				}
			}
		}
	}
	one := arch.CPUID(1, 0)
	if got := g.cpuid(t, 1, 0); got[0] != one[0] || got[1]&0xffffff != one[1]&0xffffff || got[2] != one[2] || got[3] != one[3] {
		t.Errorf("leaf 1: %#x, want %#x but for the processor's own number", got, one)
	}
}

// TestCPUIDOnTheSpot changes what the sentry knows: guests do not ask for what is the same for all processors, and do for the rest.
func TestCPUIDOnTheSpot(t *testing.T) {
	g := cpuidGuest(t)
	bad := [4]uint32{1, 2, 3, 4}
	for leaf, asked := range map[uint32]bool{4: false, 1: true, 0x12345678: true, 0xc0000000: true} {
		g.cpuid(t, leaf, 0)
		for key := range g.p.cpuid.results {
			if key.leaf == leaf {
				g.p.cpuid.results[key] = bad
			}
		}
		if got := g.cpuid(t, leaf, 0); got == bad != asked {
			t.Errorf("leaf %d: %#x", leaf, got)
		}
	}
}

// TestOfProcessor asks which leaves differ between processors, where there are many.
func TestOfProcessor(t *testing.T) {
	c := cpuid{results: make(map[cpuidKey][4]uint32)}
	for cpu := range 1 << 12 {
		c.results[cpuidKey{cpu, 0, 0}], c.results[cpuidKey{cpu, 1 << 31, 0}] = [4]uint32{0x1f}, [4]uint32{0x80000028}
	}
	for leaf, want := range map[uint32]bool{
		0: false, 1: true, 4: false, 0xb: true, 0x1f: true, 0x20: true, 0x40000000: true, 0x40000001: true,
		1 << 31: false, 0x8000001d: false, 0x8000001e: true, 0x80000026: true, 0x80000028: false, 0x80000029: true, 0xc0000000: true,
	} {
		if got := c.ofProcessor(leaf); got != want {
			t.Errorf("leaf %#x: %v", leaf, got)
		}
	}
}

// TestCPUIDKeeps looks at what CPUID must not change.
func TestCPUIDKeeps(t *testing.T) {
	g := cpuidGuest(t)
	for range 3 { // by the sentry at first
		*g.regs = arch.Registers{
			R15: 1, R14: 2, R13: 3, R12: 4, Rbp: 5, R10: 7, R9: 8, Rsi: 11, Rdi: 12, Rsp: 1 << 63, Rax: 4, Rcx: 1,
			Rip: guestAt, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0xcd7, Fs_base: 0x123456000, Gs_base: 0x234567000,
		}
		want := *g.regs
		copy(g.FPU()[160:], "sixteen bytes...")
		g.FPUChanged()
		g.call(t)
		want.Eflags |= 1 << 9 // interrupts, which the host has on
		want.Rip, want.R11, want.Orig_rax = guestAt+7, g.regs.R11, g.regs.Orig_rax
		want.Rax, want.Rbx, want.Rcx, want.Rdx, want.R8 = g.regs.Rax, g.regs.Rbx, g.regs.Rcx, g.regs.Rdx, g.regs.R8
		if *g.regs != want {
			t.Errorf("%+v, want\n%+v", *g.regs, want)
		}
		if s := string(g.FPU()[160:176]); s != "sixteen bytes..." {
			t.Errorf("extended state %q", s)
		}
	}
}

// TestOwnBreakpoint meets breakpoints of the guest's own: elsewhere, and in text that took the place of a program whose CPUID is caught.
func TestOwnBreakpoint(t *testing.T) {
	g := cpuidGuest(t)
	own := func(at uint64) {
		t.Helper()
		g.regs.Rip = guestAt + at
		ev, err := g.Run(g.as, g.regs)
		if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGTRAP || ev.Code != siKernel || g.regs.Rip != guestAt+at+1 {
			t.Errorf("%+v %v, at %#x", ev, err, g.regs.Rip)
		}
	}
	own(ownBreak)
	g.cpuid(t, 4, 0)
	copy(g.mem, []byte{0xcc, 0xa2})
	anew := g.program()
	anew.File, anew.Offset = g.codeFD, 0
	if err := g.as.Apply([]platform.Change{anew}); err != nil {
		t.Fatal(err)
	}
	own(cpuidAt)
	if err := g.as.Apply([]platform.Change{g.program()}); err != nil {
		t.Fatal(err)
	}
	if got, want := g.cpuid(t, 4, 0), arch.CPUID(4, 0); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

// TestCPUIDStepped steps over CPUID, which stands there plain then.
func TestCPUIDStepped(t *testing.T) {
	g := cpuidGuest(t)
	g.cpuid(t, 4, 0)
	g.regs.Rip, g.regs.Rax, g.regs.Rcx = guestAt, 4, 0
	g.regs.Eflags |= arch.FlagTF
	const trace = 2 // TRAP_TRACE
	ev, err := g.Run(g.as, g.regs)
	if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGTRAP || ev.Code != trace || g.regs.Rip != guestAt+2 {
		t.Errorf("%+v %v, at %#x", ev, err, g.regs.Rip)
	}
	if want := arch.CPUID(4, 0); uint32(g.regs.Rbx) != want[1] || g.as.text.Patched() {
		t.Errorf("%#x, want %#x", g.regs.Rbx, want[1])
	}
}

// TestCPUIDStepsItself has the guest set the trap flag just before CPUID.
func TestCPUIDStepsItself(t *testing.T) {
	g := cpuidGuest(t)
	g.cpuid(t, 4, 0)
	g.regs.Rip, g.regs.Rax, g.regs.Rcx, g.regs.Rsp = guestAt+ownStep, 4, 0, guestAt+2*pageSize
	ev, err := g.Run(g.as, g.regs)
	const behind = guestAt + ownStep + 8
	if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGTRAP || g.regs.Rip != behind {
		t.Errorf("%+v %v, at %#x, want %#x", ev, err, g.regs.Rip, uint64(behind))
	}
	if want := arch.CPUID(4, 0); uint32(g.regs.Rbx) != want[1] {
		t.Errorf("%#x, want %#x", g.regs.Rbx, want[1])
	}
}

// TestCPUIDInterrupted interrupts a guest that does little but execute CPUID.
func TestCPUIDInterrupted(t *testing.T) {
	g := cpuidGuest(t)
	g.regs.Rip = guestAt + cpuidLoop
	for range 200 {
		timer := time.AfterFunc(100*time.Microsecond, g.Interrupt)
		begin := time.Now()
		ev, err := g.Run(g.as, g.regs)
		if took := time.Since(begin); err != nil || ev.Kind != platform.Interrupted || took > 20*time.Second {
			t.Fatalf("%+v %v after %v", ev, err, took)
		}
		timer.Stop()
		if at := g.regs.Rip - guestAt; at < cpuidLoop || at >= ownBreak {
			t.Fatalf("at %#x", g.regs.Rip)
		}
	}
}

// TestRacingBreakpoints has threads execute CPUID while its page is made plain, unmapped, and mapped again.
func TestRacingBreakpoints(t *testing.T) {
	g := cpuidGuest(t)
	want := arch.CPUID(4, 0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			c, regs := g.p.NewContext(nil), startRegs()
			defer c.Release()
			for {
				select {
				case <-stop:
					return
				default:
				}
				*regs = *startRegs()
				regs.Rax = 4
				ev, err := c.Run(g.as, regs)
				switch {
				case err != nil:
					t.Errorf("Run: %v", err)
					return
				case ev.Kind == platform.Syscall && uint32(regs.Rbx) == want[1]:
				case ev.Kind == platform.Fault && ev.Signal == unix.SIGSEGV && ev.Addr == regs.Rip: // unmapped just now
				default:
					t.Errorf("%+v %+v", ev, regs)
					return
				}
			}
		})
	}
	plain := g.program()
	copy(g.mem, cpuidCode)
	for round := range 200 {
		time.Sleep(300 * time.Microsecond)
		var c platform.Change
		switch round % 4 {
		case 3: // as a write to the page does
			c = g.program()
			c.File, c.Offset = g.codeFD, 0
		case 0:
			c = platform.Change{Op: platform.Protect, Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec}
		case 1:
			c = platform.Change{Op: platform.Unmap, Addr: guestAt, Length: pageSize}
		case 2:
			c = plain
		}
		g.as.Lock()
		g.as.text.CatchCPUID() // again, though guest code runs
		g.as.Unlock()
		if err := g.as.Apply([]platform.Change{c}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	group.Wait()
}
