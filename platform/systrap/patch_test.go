package systrap

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/patch/patchtest"

	"golang.org/x/sys/unix"
)

const (
	siteAt = 64  // in the code page
	enough = 100 // calls for a site to be patched
)

// siteCode is code at the beginning of a page that makes call number forever at siteAt.
func siteCode(number uint32) []byte {
	code := make([]byte, siteAt)
	for i := range code {
		code[i] = 0x90
	}
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), number)
	return append(code, 0x0f, 0x05, 0xeb, 0xf7) // syscall; jmp back
}

// textGuest is a guest whose code is mapped from a file that cannot change.
func textGuest(t testing.TB, p *Platform, code []byte) *guest {
	t.Helper()
	g := newGuest(t, p)
	fd := patchtest.Open(t, append(code, make([]byte, 2*pageSize-len(code))...))
	g.text(t, fd)
	return g
}

// text maps the first page of fd as the guest's code.
func (g *guest) text(t testing.TB, fd int32) {
	t.Helper()
	g.textFD = fd
	if err := g.as.Apply([]platform.Change{g.plain()}); err != nil {
		t.Fatal(err)
	}
}

// hot calls until the site is patched, and fails the test if it is not.
func (g *guest) hot(t testing.TB) {
	t.Helper()
	for range enough {
		if g.call(t); g.s.live {
			return
		}
	}
	t.Fatal("the site is not patched")
}

// TestPatched compares registers and extended state at a patched call with those at a plain one.
func TestPatched(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	fill := func() {
		*g.regs = arch.Registers{
			R15: 1, R14: 2, R13: 3, R12: 4, Rbp: 5, Rbx: 6, R10: 7, R9: 8, R8: 9, Rdx: 10, Rsi: 11, Rdi: 12, Rsp: 1 << 63,
			Rip: guestAt, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0xcd7, Fs_base: 0x123456000,
		}
		copy(g.FPU()[160:], "sixteen bytes...")
		g.FPUChanged()
	}
	fill()
	g.call(t)
	want := *g.regs
	g.hot(t)
	fill()
	g.call(t)
	if !g.s.live {
		t.Fatal("not patched any more")
	}
	if *g.regs != want {
		t.Errorf("at the patched call\n%+v, want\n%+v", *g.regs, want)
	}
	if s := string(g.FPU()[160:176]); s != "sixteen bytes..." {
		t.Errorf("extended state %q", s)
	}
	g.Leave()
	g.call(t)
	if s := string(g.FPU()[160:176]); s != "sixteen bytes..." {
		t.Errorf("extended state %q after Leave", s)
	}
}

// TestPatchedAgain has the thread go on in another address space, as exec does, with text at the same addresses.
func TestPatchedAgain(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	as, err := p.NewAddressSpace(nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Leave()
	g.as.Release()
	g.as, g.regs = as.(*addressSpace), startRegs()
	g.text(t, g.textFD)
	g.hot(t)
}

// TestIntoTheMiddle jumps to the SYSCALL of a patched site.
func TestIntoTheMiddle(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	g.regs.Rip, g.regs.Rax = guestAt+siteAt+5, 555
	g.call(t)
	if g.regs.Rax != 555 || g.regs.Rip != guestAt+siteAt+patch.SiteLength {
		t.Errorf("%+v", g.regs)
	}
}

// TestOwnGS gives the guest a GS of its own: patched sites of both forms still work, and GS is the guest's.
func TestOwnGS(t *testing.T) {
	p := testPlatform(t)
	any := append(siteCode(0)[:siteAt], 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xeb, 0xf7) // mov 8(%rsp),%r9; syscall; jmp back
	for _, code := range [][]byte{siteCode(999), any} {
		g := textGuest(t, p, code)
		g.regs.Rax, g.regs.Rsp = 999, guestAt
		g.hot(t)
		for _, base := range []uint64{guestAt, 0, 0x7ffe00000000} {
			g.regs.Gs_base = base
			for range 3 {
				g.regs.Rax = 999
				if g.call(t); g.regs.Gs_base != base || g.regs.Rax != 999 {
					t.Fatalf("%+v, want the base %#x", g.regs, base)
				}
			}
		}
	}
}

// TestTableTaken maps something where the table of a patched address space lies, while threads make calls there.
func TestTableTaken(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			c, regs := p.NewContext(nil), startRegs()
			defer c.Release()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if ev, err := c.Run(g.as, regs); err != nil || ev.Kind != platform.Syscall || regs.Rax != 999 {
					t.Errorf("%+v %v %+v", ev, err, regs)
					return
				}
			}
		})
	}
	time.Sleep(5 * time.Millisecond)
	binary.LittleEndian.PutUint64(g.mem[pageSize:], 0x1234)
	table := platform.Change{Op: platform.Map, File: int32(p.areasFD), Addr: patch.TableAt, Length: pageSize, Prot: platform.Read, Offset: 0}
	if err := g.as.Apply([]platform.Change{table}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	close(stop)
	group.Wait()
	for range enough {
		if g.call(t); g.regs.Rax != 999 {
			t.Fatalf("%+v", g.regs)
		}
	}
	if g.s.live {
		t.Error("it is patched still")
	}
}

// TestRacingPatches has threads run through a site while it is patched, replaced, unmapped and patched again.
func TestRacingPatches(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	other := textGuest(t, p, siteCode(777))
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			c, regs := p.NewContext(nil), startRegs()
			defer c.Release()
			for {
				select {
				case <-stop:
					return
				default:
				}
				ev, err := c.Run(g.as, regs)
				switch {
				case err != nil:
					t.Errorf("Run: %v", err)
					return
				case ev.Kind == platform.Syscall && (regs.Rax == 999 || regs.Rax == 777):
				case ev.Kind == platform.Fault && ev.Signal == unix.SIGSEGV && ev.Addr == regs.Rip:
					regs = startRegs() // unmapped just now
				default:
					t.Errorf("%+v %+v", ev, regs)
					return
				}
			}
		})
	}
	files := []platform.Change{g.plain(), other.plain()}
	for round := range 100 {
		time.Sleep(300 * time.Microsecond)
		c := files[round%2]
		if round%5 == 4 {
			g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: guestAt, Length: pageSize}})
		}
		if err := g.as.Apply([]platform.Change{c}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	group.Wait()
}

// plain is the change that maps the guest's text.
func (g *guest) plain() platform.Change {
	return platform.Change{Op: platform.Map, File: g.textFD, Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec}
}

// TestWritableText makes patched text writable: what is mapped then is the file, not the patch that others share.
func TestWritableText(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	if err := g.as.Apply([]platform.Change{{Op: platform.Protect, Addr: guestAt, Length: pageSize, Prot: platform.Read}}); err != nil {
		t.Fatal(err)
	}
	// mov guestAt+siteAt, %rax; syscall: what stands there
	copy(g.mem, []byte{0x48, 0x8b, 0x04, 0x25, siteAt, 0, 0x40, 0, 0x0f, 0x05})
	at := uint64(0x900000)
	g.regs = startRegs()
	g.regs.Rip = at
	g.as.Apply([]platform.Change{{Op: platform.Map, File: g.codeFD, Addr: at, Length: pageSize, Prot: platform.Read | platform.Exec}})
	g.call(t)
	if byte(g.regs.Rax) != 0xb8 {
		t.Errorf("the text reads %#x", g.regs.Rax)
	}
}

func BenchmarkPatched(b *testing.B) {
	p := testPlatform(b)
	g := textGuest(b, p, siteCode(39))
	g.hot(b)
	for b.Loop() {
		g.call(b)
	}
}
