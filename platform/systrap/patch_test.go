package systrap

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

const siteAt = 64 // in the code page

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
	name := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(name, append(code, make([]byte, 2*pageSize-len(code))...), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	g.text(t, fd)
	return g
}

// text maps the first page of fd as the guest's code.
func (g *guest) text(t testing.TB, fd int) {
	t.Helper()
	err := g.as.Apply([]platform.Change{{Op: platform.Map, File: int32(fd), Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec}})
	if err != nil {
		t.Fatal(err)
	}
}

// hot calls until the site is patched, and fails the test if it is not.
func (g *guest) hot(t testing.TB) {
	t.Helper()
	for range 3 * worthIt {
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

// TestIntoTheMiddle jumps to the SYSCALL of a patched site.
func TestIntoTheMiddle(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	g.regs.Rip, g.regs.Rax = guestAt+siteAt+5, 555
	g.call(t)
	if g.regs.Rax != 555 || g.regs.Rip != guestAt+siteAt+siteLength {
		t.Errorf("%+v", g.regs)
	}
}

// TestOwnGS gives the guest a GS of its own: the patched site still works, and GS is the guest's.
func TestOwnGS(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	for _, base := range []uint64{guestAt, 0, 0x7ffe00000000} {
		g.regs.Gs_base = base
		for range 3 {
			if g.call(t); g.regs.Gs_base != base || g.regs.Rax != 999 {
				t.Fatalf("%+v, want the base %#x", g.regs, base)
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
	table := platform.Change{Op: platform.Map, File: int32(p.areasFD), Addr: tableAt, Length: pageSize, Prot: platform.Read, Offset: 0}
	if err := g.as.Apply([]platform.Change{table}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	close(stop)
	group.Wait()
	for range 3 * worthIt {
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
	files := []platform.Change{g.as.plain(t), other.as.plain(t)}
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
func (as *addressSpace) plain(t *testing.T) platform.Change {
	t.Helper()
	as.mu.Lock()
	defer as.mu.Unlock()
	p, ok := as.text.find(guestAt)
	if !ok {
		t.Fatal("no text")
	}
	return platform.Change{Op: platform.Map, File: p.file, Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec}
}

// TestWritableText makes patched text writable: what is mapped then is the file, not the patch that others share.
func TestWritableText(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(999))
	g.hot(t)
	if err := g.as.Apply([]platform.Change{{Op: platform.Protect, Addr: guestAt, Length: pageSize, Prot: platform.Read}}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Mmap(p.patcher.fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != unix.EPERM {
		t.Errorf("mapping the patches writable: %v, want EPERM", err)
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

func TestPatchable(t *testing.T) {
	site := []byte{0xb8, 39, 0, 0, 0, 0x0f, 0x05}
	with := func(before ...byte) []byte { return append(append([]byte{0x90, 0x90, 0x90}, before...), site...) }
	for _, c := range []struct {
		name string
		text []byte
		nr   uint64
		want bool
	}{
		{"plain", with(0xc3), 39, true}, {"after nop", with(), 39, true}, {"after endbr64", with(0xf3, 0x0f, 0x1e, 0xfa), 39, true},
		{"another number", with(), 40, false}, {"rex.b: mov to r8d", with(0x41), 39, false}, {"rex.w: movabs", with(0x48), 39, false},
		{"operand size", with(0x66), 39, false}, {"lock", with(0xf0), 39, false}, {"bswap", with(0x0f), 39, false},
		{"movl $39,-72(%rbp)", with(0xc7, 0x45), 39, false}, {"movl $39,-72(%rsp)", with(0xc7, 0x44, 0x24), 39, false},
		{"addl $39,-72(%rdi)", with(0x81, 0x47), 39, false}, {"imul", with(0x69, 0x43), 39, false}, {"testl", with(0xf7, 0x44, 0x8e), 39, false},
		{"mov %eax,%ebx before", with(0x89, 0xc3), 39, true}, {"at the beginning", site, 39, false},
		{"syscall missing", append(with()[:8], 0x0f, 0x34), 39, false}, {"cut", with()[:8], 39, false},
	} {
		at := uint64(len(c.text) - siteLength)
		if c.name == "cut" {
			at = 3
		}
		if got := patchable(c.text, at, c.nr); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
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
