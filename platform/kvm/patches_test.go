package kvm

import (
	"slices"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch/patchtest"

	"golang.org/x/sys/unix"
)

const (
	siteAt  = 64  // in the page of code
	asked   = 39  // the number of the call there
	marker  = 999 // of the one behind it
	told    = 4242
	enough  = 100 // calls for a site to be patched
	textEnd = siteAt + 17
)

// patchGuest is a guest whose code, from a file that cannot change, makes the calls asked, whose result goes to rbx, and marker
// forever; both are patched.
func patchGuest(t *testing.T, p *Platform) *testGuest {
	t.Helper()
	if p.patches == nil {
		t.Skip("calls are not patched on this host")
	}
	return callGuest(t, p)
}

// callGuest is patchGuest on a host where calls need not be patched to be answered or passed over, too.
func callGuest(t *testing.T, p *Platform) *testGuest {
	t.Helper()
	return siteGuest(t, p, 0xb8, asked, 0, 0, 0) // mov $asked,%eax
}

// siteGuest is patchGuest whose first call is site and SYSCALL.
func siteGuest(t *testing.T, p *Platform, site ...byte) *testGuest {
	t.Helper()
	if p.patches == nil && !p.ring0 {
		t.Skip("calls are neither patched nor looked at in ring 0 on this host")
	}
	code := slices.Repeat([]byte{0x90}, siteAt)
	code = append(append(code, site...), 0x0f, 0x05, 0x48, 0x89, 0xc3) // syscall; mov %rax,%rbx
	code = append(code, 0xb8, marker&0xff, marker>>8, 0, 0, 0x0f, 0x05, 0xeb, 0xed)
	g := textGuest(t, p, code)
	g.hot()
	return g
}

// textGuest is a guest whose code is mapped from a file that cannot change.
func textGuest(t *testing.T, p *Platform, code []byte) *testGuest {
	t.Helper()
	fd := patchtest.Open(t, append(code, make([]byte, 2*pageSize-len(code))...))
	g := newGuest(t, p)
	g.text = platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: fd, Addr: codeAt, Length: pageSize}
	g.apply(g.text)
	g.regs.Rip = codeAt
	return g
}

// hot makes calls until both sites are patched.
func (g *testGuest) hot() {
	g.Helper()
	for range enough {
		g.regs.Rax = asked
		g.next(asked)
		g.next(marker)
	}
	if !g.p.ring0 && (!g.as.text.Active() || !g.patched()) {
		g.Fatal("the sites are not patched")
	}
}

// patched tells whether what the guest executes is patched.
func (g *testGuest) patched() bool {
	b, ok := g.as.peek(codeAt+siteAt, 1)
	return ok && b[0] == 0xff
}

// next goes on until the next event and fails the test unless it is the call number.
func (g *testGuest) next(number uint64) {
	g.Helper()
	ev, err := g.c.Run(g.as, &g.regs)
	if err != nil || ev.Kind != platform.Syscall || g.regs.Rax != number {
		g.Fatalf("%+v %v, call %d at %#x, want %d", ev, err, g.regs.Rax, g.regs.Rip, number)
	}
}

// TestPatched compares the registers at a patched call with those at a plain one.
func TestPatched(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := patchGuest(t, p)
	fill := func() {
		g.regs = arch.Registers{
			R15: 1, R14: 2, R13: 3, R12: 4, Rbp: 5, Rbx: 6, R10: 7, R9: 8, R8: 9, Rdx: 10, Rsi: 11, Rdi: 12, Rsp: 1 << 63,
			Rip: codeAt, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0xcd7, Fs_base: 0x123456000,
		}
	}
	fill()
	g.next(asked)
	got := g.regs
	g.apply(g.at(0x050f0000, 2, platform.Read)) // where the table lies
	if g.patched() {
		t.Error("the sites are patched where the guest has mapped something over their table")
	}
	fill()
	g.next(asked)
	want := g.regs
	got.Rcx, got.R11, want.Rcx, want.R11 = 0, 0, 0, 0 // what SYSCALL stores is the kernel's to say
	if got != want {
		t.Errorf("at the patched call\n%+v, want\n%+v", got, want)
	}
}

// TestPatchedAgain has the thread go on in another address space, as exec does, with text at the same addresses.
func TestPatchedAgain(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := patchGuest(t, p)
	g.space()
	g.apply(g.text)
	g.regs.Rip = codeAt
	g.hot()
}

// TestPatchedAny makes calls through the end of the C library's syscall(2): each by the number in rax, with the sixth argument from the
// stack, where there is one.
func TestPatchedAny(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := siteGuest(t, p, 0x4c, 0x8b, 0x4c, 0x24, 0x08) // mov 8(%rsp),%r9
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told}, {Number: 255, Value: 7}})
	le.PutUint64(g.mem[pageSize+4000:], 0x123456789abc)
	call := func(number uint64) {
		t.Helper()
		g.regs = arch.Registers{Rip: codeAt, Rsp: stackAt - pageSize + 4000 - 8, Rax: number, Eflags: 0xcd7, R12: 12, Rdi: 13}
	}
	for _, number := range []uint64{0, asked + 1, 254, 256, asked + 256, 1 << 20, 1<<40 | asked, 1<<64 - 1} {
		call(number)
		if g.next(number); g.regs.R9 != 0x123456789abc || g.regs.Eflags != 0xed7 || g.regs.R12 != 12 || g.regs.Rdi != 13 {
			t.Errorf("call %#x: %+v", number, g.regs)
		}
		if g.regs.Rip != codeAt+siteAt+7 {
			t.Errorf("call %#x goes back to %#x", number, g.regs.Rip)
		}
	}
	for number, value := range map[uint64]uint64{asked: told, 255: 7} {
		call(number)
		if g.next(marker); g.regs.Rbx != value || g.regs.R9 != 0x123456789abc || g.regs.Eflags != 0xed7 {
			t.Errorf("call %d is answered %d: %+v", number, g.regs.Rbx, g.regs)
		}
	}
	call(asked)
	g.regs.Rsp = 0x10000
	ev, err := g.c.Run(g.as, &g.regs)
	if err != nil || ev.Kind != platform.Fault || ev.Addr != 0x10008 || g.regs.Rip != codeAt+siteAt || g.regs.Rax != asked {
		t.Errorf("without a stack: %+v %v, %+v", ev, err, g.regs)
	}
}

// TestPatchedOdds makes patched calls from the middle of a site, with a GS of the guest's own, after the address space was emptied, and
// while it is single-stepped.
func TestPatchedOdds(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := patchGuest(t, p)
	g.regs.Rip, g.regs.Rax = codeAt+siteAt+5, 555
	g.next(555)
	g.regs.Rip, g.regs.Gs_base = codeAt, 0x123000
	if g.next(asked); g.regs.Gs_base != 0x123000 {
		t.Errorf("the base of GS has become %#x", g.regs.Gs_base)
	}
	g.next(marker)
	g.regs.Gs_base = 0
	if g.next(asked); g.regs.Gs_base != 0 {
		t.Errorf("the base of GS is %#x", g.regs.Gs_base)
	}
	g.next(marker)
	g.apply(platform.Change{Op: platform.Unmap, Addr: userLow, Length: userHigh - userLow}, g.text)
	if g.next(asked); !g.patched() {
		t.Error("a page that is mapped again is not patched any more")
	}
	g.regs.Eflags |= arch.FlagTF
	for range 20 {
		ev, err := g.c.Run(g.as, &g.regs)
		if err != nil || g.regs.Rip < codeAt || g.regs.Rip > codeAt+textEnd {
			t.Fatalf("%+v %v at %#x", ev, err, g.regs.Rip)
		}
	}
	if g.patched() {
		t.Error("a guest that is stepped through sees the patch")
	}
}

// TestAnswers has a call answered, then not, by each of two threads that take turns at one processor.
func TestAnswers(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := callGuest(t, p)
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told}})
	for range 3 {
		if g.next(marker); g.regs.Rbx != told {
			t.Fatalf("the answer is %d", g.regs.Rbx)
		}
	}
	first := g.c.v
	g.c.Leave()
	other := &testGuest{T: t, p: p, as: g.as, c: p.NewContext(nil).(*context), regs: arch.Registers{Rip: codeAt}}
	defer other.c.Release()
	other.next(asked)
	if other.c.v != first {
		t.Error("the second thread has another processor: this shows less than it is meant to")
	}
	other.c.Leave()
	if g.next(marker); g.regs.Rbx != told {
		t.Errorf("the first thread's answer has become %d", g.regs.Rbx)
	}
	g.c.SetAnswers(nil)
	g.next(asked)
	g.next(marker)
}

// TestAnswersInterrupted interrupts and takes back while the guest does little but ask: each interrupt comes through, a
// call that was hit begins anew, and none gets an answer that was taken back.
func TestAnswersInterrupted(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := callGuest(t, p)
	answers := []platform.Answer{{Number: asked, Value: told}, {Number: 510, Value: told}}
	g.next(asked) // marker is no number that has an answer, so the guest asks between two exits
	for range 100 {
		g.c.SetAnswers(answers)
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(50 * time.Microsecond)
			g.c.SetAnswers(nil)
			g.c.Interrupt()
		})
		for ev := (platform.Event{Kind: platform.Syscall}); ev.Kind != platform.Interrupted; {
			var err error
			if ev, err = g.c.Run(g.as, &g.regs); err != nil || ev.Kind == platform.Fault {
				t.Fatalf("%+v %v at %#x", ev, err, g.regs.Rip)
			}
			if g.regs.Rip < codeAt || g.regs.Rip > codeAt+textEnd {
				t.Fatalf("%+v at %#x", ev, g.regs.Rip)
			}
		}
		group.Wait()
		g.regs.Rip, g.regs.Rax = codeAt, 0
		g.next(asked)
	}
}

// TestAnswersKept has the guest write to its page of answers.
func TestAnswersKept(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	g := callGuest(t, p)
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told}})
	g.next(marker)
	copy(g.mem[3*pageSize:], storeText)
	g.apply(g.at(dataAt, 3, platform.Read|platform.Exec))
	at := g.c.v.gsBase
	if p.ring0 {
		at = ring0Answers(g.c.v.id)
	}
	g.regs.Rip, g.regs.Rax, g.regs.Rbx = dataAt, 1, at+8*asked
	ev, err := g.c.Run(g.as, &g.regs)
	if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV || ev.Access != platform.Write {
		t.Errorf("%+v %v", ev, err)
	}
	g.regs.Rip = codeAt
	if g.next(marker); g.regs.Rbx != told {
		t.Errorf("the answer has become %d", g.regs.Rbx)
	}
}
