package systrap

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// countCode is incl (%rdi), without end.
var countCode = []byte{0xff, 0x07, 0xeb, 0xfc}

// newCounter is a guest with a thread that counts in its page of data while the sentry takes it for stopped. held tells whether its
// context still has the thread.
func newCounter(t *testing.T, p *Platform, held bool) *guest {
	t.Helper()
	for range 20 {
		g := newGuest(t, p, countCode...)
		g.regs.Rdi = guestAt + pageSize
		g.forge(t, func(*seat) {
			for end := time.Now().Add(time.Second); !g.counts(time.Millisecond) && time.Now().Before(end); {
			}
		})
		if !g.counts(100 * time.Millisecond) {
			g.Leave()
			continue // a kick came first
		}
		if !held {
			g.Leave()
		}
		return g
	}
	t.Fatal("it does not run on")
	return nil
}

// counts tells whether the page of data changes within d.
func (g *guest) counts(d time.Duration) bool {
	first := binary.LittleEndian.Uint32(g.mem[pageSize:])
	for begin := time.Now(); time.Since(begin) < d; {
		if now := binary.LittleEndian.Uint32(g.mem[pageSize:]); now != first {
			return true
		}
	}
	return false
}

// addMuch maps so much that the address space gives its process up rather than unmap it.
func (g *guest) addMuch(t *testing.T) {
	t.Helper()
	const size = 16 << 20
	fd, err := unix.MemfdCreate("much", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	unix.Ftruncate(fd, size)
	if err := g.as.Apply([]platform.Change{
		{Op: platform.Map, File: int32(fd), Addr: 0x10000000, Length: size, Prot: platform.Read | platform.Write},
	}); err != nil {
		t.Fatal(err)
	}
}

// change has c done to the page of data.
func (g *guest) change(t *testing.T, c platform.Change) {
	t.Helper()
	c.Addr, c.Length = guestAt+pageSize, pageSize
	if err := g.as.Apply([]platform.Change{c}); err != nil {
		t.Fatal(err)
	}
}

// forgetAll has the address space unmap everything, as a fork may.
func (g *guest) forgetAll(t *testing.T) {
	t.Helper()
	if err := g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: blank.Low, Length: userHigh - blank.Low}}); err != nil {
		t.Fatal(err)
	}
}

// setAside has the address space set everything aside, as a fork may.
func (g *guest) setAside(t *testing.T) {
	t.Helper()
	g.as.Lock()
	g.as.Process().CarryOut(g.as.Queue(), func() { t.Error("the host refused") })
	g.as.Unlock()
	if !g.as.SetAside(g.as.Drops()) {
		t.Fatal("it cannot be set aside")
	}
}

// codeAnew maps the page of code.
func (g *guest) codeAnew() platform.Change {
	return platform.Change{Op: platform.Map, File: g.codeFD, Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec}
}

// TestRogueMemory takes an address space's memory away while a thread of it that has forged its report runs on. When the call has
// returned the memory may be anybody's, so it is not written to any more.
func TestRogueMemory(t *testing.T) {
	for name, take := range map[string]func(*testing.T, *guest){
		"released":       func(_ *testing.T, g *guest) { g.as.Release() },
		"released, much": func(t *testing.T, g *guest) { g.addMuch(t); g.as.Release() },
		"abandoned":      func(t *testing.T, g *guest) { g.addMuch(t); g.forgetAll(t) },
		"set aside":      func(t *testing.T, g *guest) { g.addMuch(t); g.setAside(t) },
		"gone back": func(t *testing.T, g *guest) {
			g.addMuch(t)
			g.setAside(t)
			g.Leave()
			if !g.as.GoBack([]platform.Change{g.codeAnew(), {Op: platform.Unmap, Addr: guestAt + pageSize, Length: pageSize}}) {
				t.Error("it does not go back")
			}
		},
		"unmapped": func(t *testing.T, g *guest) { g.change(t, platform.Change{Op: platform.Unmap}) },
		"replaced": func(t *testing.T, g *guest) {
			g.change(t, platform.Change{Op: platform.Map, File: g.codeFD, Prot: platform.Read})
		},
		"died, then gone": func(_ *testing.T, g *guest) { g.as.GiveUp(unix.EIO); g.as.Release() },
	} {
		for kind, held := range map[string]bool{"": false, ", held": true} {
			t.Run(name+kind, func(t *testing.T) {
				p := testPlatform(t)
				for range 5 {
					g := newCounter(t, p, held)
					take(t, g)
					if g.counts(20 * time.Millisecond) {
						t.Fatal("a thread of it still writes to the memory")
					}
					g.Leave()
				}
				other := newGuest(t, p, callCode...)
				other.call(t)
			})
		}
	}
}

// TestRogueEvicted has the process of an address space taken by another one while a thread runs on there.
func TestRogueEvicted(t *testing.T) {
	p, err := newPlatform(1, maxRunning, true, 0)
	if err != nil {
		t.Skipf("the host cannot run it: %v", err)
	}
	t.Cleanup(p.Release)
	g := newCounter(t, p, false)
	g.as.Lock()
	proc := g.as.Process()
	g.as.Unlock()
	other := newGuest(t, p, callCode...)
	evicted := make(chan bool)
	go func() {
		for {
			g.as.Lock()
			gone := g.as.Process() != proc
			g.as.Unlock()
			if gone {
				evicted <- !g.counts(time.Millisecond)
				return
			}
		}
	}()
	other.call(t)
	if !<-evicted {
		t.Error("a thread of it still writes to the memory")
	}
}

// TestHaltAtOnce halts a thread that runs on on another processor: it executes nothing more from the moment on when that returns.
func TestHaltAtOnce(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := testPlatform(t)
	g := newCounter(t, p, true)
	s, other, known := g.s, pairs.AnyCPU, 0
	for cpu := range p.pairs.Loads() {
		if cpu != p.pairs.Here() {
			other = cpu
		}
	}
	for range 300 {
		p.pairs.Pin(&s.Guest, other)
		if s.halted.Load() {
			g.unhalt(t)
		}
		if !g.counts(20 * time.Second) {
			t.Fatal("it does not run on")
		}
		halt([]*seat{s})
		if g.counts(50 * time.Microsecond) {
			t.Fatal("it has not stopped")
		}
		if p.pairs.Interrupt(s.TID) {
			known++
		}
	}
	if known == 0 && p.pairs.CPUs() > 1 {
		t.Error("the sentry never had its processor")
	}
	t.Logf("%d times without a wait", known)
}

// TestHaltedOften halts a thread time and again that does not run in between: each time it enters the handler from the handler.
func TestHaltedOften(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	proc := g.s.proc
	g.Leave()
	seats := proc.Idle()
	for range 40 {
		halt(seats)
		if seats = rouse(seats); len(seats) != 1 {
			t.Fatal("it has died")
		}
	}
	proc.Keep(seats...)
	g.call(t)
	if g.s != seats[0] {
		t.Error("another thread runs")
	}
}

// unhalt has the thread go on where it was.
func (g *guest) unhalt(t *testing.T) {
	t.Helper()
	s := g.s
	s.recall()
	if !s.entered() {
		t.Fatal("it is not in the handler")
	}
	frame, ok := s.frameNow()
	if !ok {
		t.Fatal("there is no frame")
	}
	s.getRegisters(&frame, g.regs)
	s.setRegisters(g.regs, false)
	s.restore, s.message, s.secret = s.base()+s.fpu, 0, 0
	s.halted.Store(false)
	if s.give() {
		s.wake()
	}
}

// TestKickedState has a thread, whose extended state is in the processor, take a kick just before it is halted: the state is there all the same.
func TestKickedState(t *testing.T) {
	const state = "sixteen bytes..."
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	copy(g.FPU()[160:], state)
	g.FPUChanged()
	g.hot(t)
	found := 0
	for round := range 1000 {
		s := g.s
		g.pace.spin, g.pace.poor = 1<<22, 0
		if g.call(t); !s.live || s.block.live == liveSaved {
			continue
		}
		unix.Tgkill(s.TID, s.TID, kickSignal)
		for begin := time.Now(); time.Since(begin) < time.Duration(round%200)*50*time.Nanosecond; {
		}
		halt([]*seat{s})
		if got := string(g.FPU()[160:176]); got != state {
			t.Fatalf("round %d: xmm0 is %q", round, got)
		}
		if !s.entered() {
			t.Fatal("it is not in the handler")
		}
		g.FPUChanged()
		s.secret = 0
		s.halted.Store(false)
		found++
	}
	if t.Logf("%d times", found); found == 0 {
		t.Skip("the thread does not stay awake")
	}
}

// TestAbandonedState has the process of a thread given up while the thread's extended state is in the processor: it comes along.
func TestAbandonedState(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.addMuch(t)
	copy(g.FPU()[160:], "sixteen bytes...")
	g.FPUChanged()
	g.hot(t)
	for deadline := time.Now().Add(time.Minute); g.s.block.live == liveSaved; {
		g.pace.spin, g.pace.poor = 1<<26, 0
		if g.call(t); time.Now().After(deadline) {
			t.Skip("the thread does not stay awake")
		}
	}
	old := g.s.proc
	g.forgetAll(t)
	if err := g.as.Apply([]platform.Change{g.plain()}); err != nil {
		t.Fatal(err)
	}
	g.call(t)
	if g.s.proc == old {
		t.Error("it goes on in the same process")
	}
	if s := string(g.FPU()[160:176]); s != "sixteen bytes..." {
		t.Errorf("xmm0 is %q", s)
	}
}
