package kvm

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
)

// alone has no context of p's stay awake.
func alone(p *Platform) *Platform {
	p.places = nil
	return p
}

// passGuest is patchGuest that has come to pass its calls over.
func passGuest(t *testing.T, p *Platform) *testGuest {
	t.Helper()
	g := callGuest(t, p)
	if p.places == nil {
		t.Skip("calls are not passed over on this host")
	}
	for end := time.Now().Add(10 * time.Second); ; {
		for range 20 {
			g.next(asked)
			g.next(marker)
		}
		if g.c.pass.taken {
			return g
		}
		if time.Now().After(end) {
			t.Skip("the host is too busy for calls to be passed over")
		}
	}
}

// passed goes on until a call is passed over, which it is that number.
func (g *testGuest) passed(number uint64, before func()) {
	g.Helper()
	for range 1000 {
		before()
		if g.next(number); g.c.pass.taken {
			return
		}
		g.regs.Rip = codeAt
		for range 10 { // for the host to be ready again
			g.next(asked)
			g.next(marker)
		}
	}
	g.Skip("the host is too busy for calls to be passed over")
}

// TestPassed compares the registers at a call that is passed over with those it was entered with, and afterwards.
func TestPassed(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := passGuest(t, p)
	want := arch.Registers{
		R15: 1, R14: 2, R13: 3, R12: 4, Rbp: 5, Rbx: 6, R10: 7, R9: 8, R8: 9, Rdx: 10, Rsi: 11, Rdi: 12, Rsp: 1 << 63, Rax: asked,
		Rip: codeAt + siteAt + 7, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0xed7, Fs_base: 0x123456000,
	}
	if p.ring0 {
		want.Gs_base = 0x654321000
	}
	check := func(want arch.Registers) {
		t.Helper()
		got := g.regs
		if got.Rcx, got.R11 = 0, 0; got != want {
			t.Errorf("at the call\n%+v, want\n%+v", got, want)
		}
	}
	g.passed(asked, func() {
		g.regs = want
		g.regs.Rip = codeAt
	})
	check(want)
	g.regs.Rax = told
	if g.next(marker); !g.c.pass.gave && !g.c.pass.taken {
		t.Log("the result was not passed over")
	}
	want.Rax, want.Rbx, want.Rip = marker, told, codeAt+textEnd
	check(want)
}

// TestPassedChanges changes more than the result of a call that was passed over, reads the extended state, or leaves: the guest has all of it.
func TestPassedChanges(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := passGuest(t, p)
	for name, change := range map[string]func(){
		"register": func() { g.regs.R15 = 4711 },
		"flags":    func() { g.regs.Eflags ^= 0x400 },
		"state":    func() { g.c.FPU()[160] ^= 1; g.c.FPUChanged() },
		"leave":    func() { g.c.Leave() },
		"nothing":  func() {},
	} {
		g.passed(asked, func() { g.regs.Rip = codeAt })
		g.regs.Rax = told
		change()
		want := g.regs
		fpu := g.c.FPU()[160]
		if g.next(marker); g.regs.Rbx != told || g.regs.R15 != want.R15 || g.regs.Eflags != want.Eflags || g.c.FPU()[160] != fpu {
			t.Errorf("%s: %+v, want %+v", name, g.regs, want)
		}
	}
}

// TestPassedInterrupted interrupts a guest that does nothing but have calls passed over: each interrupt comes through, and no call is made twice
// or left out.
func TestPassedInterrupted(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := passGuest(t, p)
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		n := 0
		for ; !stop.Load(); n++ {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			g.c.Interrupt()
		}
		done <- n
	}()
	came, passed := 0, 0
	wanted, result := uint64(asked), g.regs.Rbx
	start := time.Now()
	shown := func() bool { return came > 0 && passed > 0 }
	for i := uint64(0); i < 30_000 || !shown() && time.Since(start) < time.Minute; i++ {
		ev, err := g.c.Run(g.as, &g.regs)
		switch {
		case err != nil:
			t.Fatal(err)
		case ev.Kind == platform.Interrupted:
			came++
			if at := g.regs.Rip - codeAt; at > textEnd {
				t.Fatalf("interrupted at %#x", g.regs.Rip)
			}
			continue
		case ev.Kind != platform.Syscall || g.regs.Rax != wanted || g.regs.Rbx != result:
			t.Fatalf("%+v, call %d with %d at %#x; want %d with %d", ev, g.regs.Rax, g.regs.Rbx, g.regs.Rip, wanted, result)
		}
		if g.c.pass.taken {
			passed++
		}
		g.regs.Rax = i
		if wanted = asked + marker - wanted; wanted == marker {
			result = i
		}
	}
	stop.Store(true)
	t.Logf("%d interrupts, of which %d came; %d calls passed over", <-done, came, passed)
	if !shown() {
		t.Error("this shows nothing")
	}
}

// TestPassedStale takes memory away from a guest that waits for the result of a call, in each way there is: it does not see it any more.
func TestPassedStale(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := passGuest(t, p)
	const block = 2 << 20
	for name, take := range map[string]func(){
		"a page":      func() { g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt, Length: pageSize}) },
		"a table":     func() { g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt, Length: block}) },
		"many tables": func() { g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt - block, Length: 2 << 30}) },
		"the right to write": func() {
			g.apply(platform.Change{Op: platform.Protect, Prot: platform.Read, Addr: dataAt, Length: pageSize})
		},
		"sharing": func() {
			child := p.newSpace()
			if err := g.as.Share(child); err != nil {
				t.Fatal(err)
			}
			child.Release()
		},
	} {
		for range 5 {
			g.apply(g.at(dataAt, 2, readWrite), g.at(codeAt+pageSize, 3, platform.Read|platform.Exec))
			copy(g.mem[3*pageSize:], storeText)
			run := func() { g.regs.Rip, g.regs.Rbx, g.regs.Rax = codeAt+pageSize, dataAt, 7 }
			run()
			g.next(7) // has the translation
			g.passed(asked, func() { g.regs.Rip = codeAt })
			g.word(2).Store(0)
			take()
			g.regs.Rax = told
			if name != "sharing" && g.c.v.runner.in() {
				g.next(marker) // went on where it waited
			}
			run()
			ev, err := g.c.Run(g.as, &g.regs)
			if err != nil || ev.Kind != platform.Fault || ev.Addr != dataAt || g.word(2).Load() != 0 {
				t.Fatalf("%s: %+v %v, the page has %d", name, ev, err, g.word(2).Load())
			}
		}
	}
}

// TestPassedReleased releases the address space that a guest waits in, as exec does, and the platform while another one waits.
func TestPassedReleased(t *testing.T) {
	p := testPlatform(t)
	g := passGuest(t, p)
	g.passed(asked, func() { g.regs.Rip = codeAt })
	g.as.Release()
	if g.c.v.runner.in() {
		t.Error("a processor runs in an address space that was released")
	}
	g.c.Leave()
	g.space()
	g.apply(g.text)
	g.regs.Rip = codeAt
	g.passed(asked, func() { g.regs.Rip = codeAt })
	p.Release()
	if _, err := g.c.Run(g.as, &g.regs); err == nil {
		t.Error("a guest runs after the platform was released")
	}
}
