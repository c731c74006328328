package systrap

import (
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

const (
	guardAt   = guestAt + pageSize + 16 // a byte of the data
	readEnd   = guestAt + siteAt + 13
	otherwise = 777
)

// readCode is code that makes forever, at siteAt, the C library's read where the byte at guardAt is not 0, else the call otherwise.
func readCode() []byte {
	to := uint32(guardAt - (guestAt + siteAt + 7))
	return append(siteCode(0)[:siteAt],
		0x80, 0x3d, byte(to), byte(to>>8), byte(to>>16), byte(to>>24), 0, // cmpb $0,guard(%rip)
		0x74, 6, // je otherwise
		0x31, 0xc0, 0x0f, 0x05, // xor %eax,%eax; syscall
		0xeb, 0xf1, // jmp back
		0xb8, otherwise&0xff, otherwise>>8, 0, 0, 0x0f, 0x05, // otherwise: mov $otherwise,%eax; syscall
		0xeb, 0xe8, // jmp back
	)
}

// readGuest is a guest with readCode whose read is patched.
func readGuest(t *testing.T, p *Platform) *guest {
	g := textGuest(t, p, readCode())
	g.mem[pageSize+16] = 1
	g.hot(t)
	return g
}

// TestGuardedRead compares a patched read of the C library with a plain one, and has its guard change.
func TestGuardedRead(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, readCode())
	fill := func() {
		*g.regs = arch.Registers{
			R15: 1, R14: 2, R13: 3, R12: 4, Rbp: 5, Rbx: 6, R10: 7, R9: 8, R8: 9, Rdx: 10, Rsi: 11, Rdi: 12, Rsp: 1 << 63, Rax: 13,
			Rip: guestAt, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0xcd7, Fs_base: 0x123456000,
		}
	}
	g.mem[pageSize+16] = 1
	fill()
	g.call(t)
	want := *g.regs
	g.hot(t)
	fill()
	if g.call(t); !g.s.live || *g.regs != want || g.regs.Rip != readEnd {
		t.Errorf("at the patched call (%v)\n%+v, want\n%+v", g.s.live, *g.regs, want)
	}
	g.mem[pageSize+16] = 0
	fill()
	if g.call(t); g.regs.Rax != otherwise || g.regs.Rdx != 10 || g.regs.Rip != readEnd+9 {
		t.Errorf("without the guard: %+v", *g.regs)
	}
	g.mem[pageSize+16] = 255
	for _, gs := range []uint64{guestAt, 0} {
		fill()
		g.regs.Gs_base = gs
		if g.call(t); g.regs.Rax != 0 || g.regs.Rip != readEnd || g.regs.Gs_base != gs {
			t.Errorf("with a GS of %#x: %+v", gs, *g.regs)
		}
	}
	g.regs.Rip, g.regs.Rax = guestAt+siteAt+11, 555
	if g.call(t); g.regs.Rax != 555 || g.regs.Rip != readEnd {
		t.Errorf("from the SYSCALL on: %+v", *g.regs)
	}
	g.regs.Rip, g.regs.Rax = guestAt+siteAt+9, 555
	if g.call(t); g.regs.Rax != 0 || g.regs.Rip != readEnd {
		t.Errorf("from the number on: %+v", *g.regs)
	}
}

// TestGuardGone has the byte that a patched read looks at unmapped: the fault is that of the instruction, which is made again.
func TestGuardGone(t *testing.T) {
	p := testPlatform(t)
	g := readGuest(t, p)
	data := platform.Change{Op: platform.Map, File: g.codeFD, Offset: pageSize, Prot: platform.Read | platform.Write}
	for range 3 {
		g.change(t, platform.Change{Op: platform.Unmap})
		ev, err := g.Run(g.as, g.regs)
		if err != nil || ev.Kind != platform.Fault || ev.Addr != guardAt || ev.Signal != unix.SIGSEGV || g.regs.Rip != guestAt+siteAt {
			t.Fatalf("%+v %v at %#x", ev, err, g.regs.Rip)
		}
		g.change(t, data)
		if g.call(t); g.regs.Rax != 0 || g.regs.Rip != readEnd {
			t.Fatalf("%+v", *g.regs)
		}
	}
}

// TestGuardRace changes the byte, and kicks, while the guest reads: each call is one of the two, whole.
func TestGuardRace(t *testing.T) {
	p := testPlatform(t)
	g := readGuest(t, p)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(i%50) * time.Microsecond):
				g.mem[pageSize+16] = byte(i & 1)
				g.Interrupt()
			}
		}
	}()
	defer done.Wait()
	defer close(stop)
	reads, others := 0, 0
	for range 5000 {
		g.regs.Rax, g.regs.Rbx = 99, 6
		ev, err := g.Run(g.as, g.regs)
		switch {
		case err != nil || g.regs.Rbx != 6:
			t.Fatalf("%v %+v", err, *g.regs)
		case ev.Kind == platform.Interrupted:
		case ev.Kind == platform.Syscall && g.regs.Rax == 0 && g.regs.Rip == readEnd:
			reads++
		case ev.Kind == platform.Syscall && g.regs.Rax == otherwise && g.regs.Rip == readEnd+9:
			others++
		default:
			t.Fatalf("%+v %+v", ev, *g.regs)
		}
	}
	if reads == 0 || others == 0 {
		t.Errorf("%d reads, %d others", reads, others)
	}
}
