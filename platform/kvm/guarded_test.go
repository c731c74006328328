package kvm

import (
	"slices"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// TestGuardedRead makes the C library's read, which depends on a byte of memory: with it, without it, and with nothing mapped there.
func TestGuardedRead(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	if p.patches == nil {
		t.Skip("calls are not patched on this host")
	}
	const guardAt, readEnd = codeAt + 16*pageSize, codeAt + siteAt + 13
	to := uint32(guardAt - (codeAt + siteAt + 7))
	g := textGuest(t, p, append(slices.Repeat([]byte{0x90}, siteAt),
		0x80, 0x3d, byte(to), byte(to>>8), byte(to>>16), byte(to>>24), 0, // cmpb $0,guard(%rip)
		0x74, 4, // je otherwise
		0x31, 0xc0, 0x0f, 0x05, // xor %eax,%eax; syscall
		0xb8, marker&0xff, marker>>8, 0, 0, 0x0f, 0x05, // otherwise: mov $marker,%eax; syscall
		0xeb, 0xea, // jmp back
	))
	data := g.at(guardAt, 2, platform.Read|platform.Write)
	guard := &g.mem[2*pageSize]
	g.apply(data)
	*guard = 1
	for range enough {
		g.next(0)
		g.next(marker)
	}
	if !g.patched() {
		t.Fatal("the site is not patched")
	}
	for i := range byte(4) {
		*guard = i & 1
		g.regs.Rip, g.regs.Rbx, g.regs.Eflags = codeAt, 6, 0xcd7
		if *guard != 0 {
			if g.next(0); g.regs.Rip != readEnd || g.regs.Rbx != 6 || g.regs.Eflags != 0x646 {
				t.Errorf("%+v", g.regs)
			}
		}
		g.next(marker)
	}
	*guard = 1
	for range 3 {
		g.apply(platform.Change{Op: platform.Unmap, Addr: guardAt, Length: pageSize})
		ev, err := g.c.Run(g.as, &g.regs)
		if err != nil || ev.Kind != platform.Fault || ev.Addr != guardAt || ev.Signal != unix.SIGSEGV || g.regs.Rip != codeAt+siteAt {
			t.Fatalf("%+v %v at %#x", ev, err, g.regs.Rip)
		}
		g.apply(data)
		g.next(0)
		g.next(marker)
	}
}
