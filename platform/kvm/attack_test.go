package kvm

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// scribbleText writes to the area at (%rbx) for ever: words are changed by multiples of rdx, and the state gets all its values and others.
var scribbleText = []byte{
	0x49, 0xff, 0xc0, // again: inc %r8
	0x4c, 0x89, 0xc1, // mov %r8,%rcx
	0x83, 0xe1, 0x1f, // and $31,%ecx
	0x44, 0x89, 0xc0, // mov %r8d,%eax
	0xc1, 0xe8, 0x05, // shr $5,%eax
	0x83, 0xe0, 0x0f, // and $15,%eax
	0x83, 0xf9, 0x13, // cmp $19,%ecx
	0x77, 0x08, // ja state
	0x48, 0x0f, 0xaf, 0xc2, // imul %rdx,%rax
	0x48, 0x31, 0x04, 0xcb, // xor %rax,(%rbx,%rcx,8)
	0x87, 0x03, // state: xchg %eax,(%rbx)
	0xeb, 0xdd, // jmp again
}

// runFor runs the guest, which is interrupted after some time. An interrupt that comes too late for that is none of the next run's.
func (g *testGuest) runFor(limit time.Duration) (platform.Event, error) {
	g.Helper()
	late := make(chan struct{})
	timer := time.AfterFunc(limit, func() {
		g.c.Interrupt()
		close(late)
	})
	begin := time.Now()
	ev, err := g.c.Run(g.as, &g.regs)
	if !timer.Stop() {
		<-late
		g.c.interrupted.Store(false)
	}
	if took := time.Since(begin); took > time.Minute {
		g.Fatalf("%+v %v after %v", ev, err, took)
	}
	return ev, err
}

// TestAttackArea has a thread of the guest write all over the area by which another one passes its calls over: whatever comes of that is an event of
// the guest's own, and interrupts come through.
func TestAttackArea(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if p.ring0 {
		t.Skip("guests do not reach areas on this host")
	}
	g := passGuest(t, p)
	copy(g.mem[3*pageSize:], scribbleText)
	g.apply(g.at(dataAt, 3, platform.Read|platform.Exec))
	g.passed(asked, func() { g.regs.Rip = codeAt })
	other := p.NewContext(nil).(*context)
	var group sync.WaitGroup
	area := g.c.v.gsBase + areaOffset
	group.Go(func() {
		defer other.Release()
		for round := range 40 {
			regs := arch.Registers{Rip: dataAt, Rbx: area, Rdx: rand.Uint64(), R8: rand.Uint64()}
			if round%4 == 0 {
				regs.Rdx = 0
			}
			time.AfterFunc(20*time.Millisecond, other.Interrupt)
			if ev, err := other.Run(g.as, &regs); err != nil || ev.Kind == platform.Syscall {
				t.Errorf("%+v %v", ev, err)
			}
		}
	})
	over := make(chan struct{})
	go func() {
		group.Wait()
		close(over)
	}()
	events := make(map[platform.EventKind]int)
	for running := true; running; {
		select {
		case <-over:
			running = false
		default:
		}
		ev, err := g.runFor(5 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if events[ev.Kind]++; ev.Kind != platform.Syscall || g.regs.Rip-codeAt > textEnd {
			g.regs = arch.Registers{Rip: codeAt, Eflags: fixedFlags}
		}
		g.regs.Rax = 0
	}
	t.Log(events)
	g.regs = arch.Registers{Rip: codeAt}
	g.next(asked)
	g.next(marker)
}

// TestAttackMeeting jumps into every byte of the code by which calls are passed over, and into the trampolines, with registers of the guest's choice.
func TestAttackMeeting(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := passGuest(t, p)
	g.passed(asked, func() { g.regs.Rip = codeAt })
	base := g.c.v.gsBase
	m := g.c.v.meeting
	for at := range uint64(len(m.text)) + 128 {
		to := m.at + at
		if n := uint64(len(m.text)); at >= n {
			to = trampolinesAt + at - n
		}
		for _, r11 := range []uint64{0, base, codeAt, dataAt, base + areaOffset, 1 << 63, meetingAt} {
			g.regs = arch.Registers{Rip: to, R11: r11, Rcx: codeAt, Rax: asked, Rsp: r11, Rbx: base}
			ev, err := g.runFor(20 * time.Millisecond)
			if err != nil {
				t.Fatalf("%#x with %#x: %v", to, r11, err)
			}
			if p.ring0 && ev.Kind != platform.Interrupted && (ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV || ev.Addr != to) {
				t.Fatalf("%#x with %#x: %+v", to, r11, ev)
			}
		}
	}
	g.regs = arch.Registers{Rip: codeAt}
	g.next(asked)
	g.next(marker)
}

// TestAttackCompat makes 32-bit calls by SYSCALL, which AMD's processors take to ring 0: with stack pointers that lead to what ring 0 alone can
// write, and with memory of the guest's at each address that 32 bits of the stub's make.
func TestAttackCompat(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, 0x0f, 0x05)
	text := g.mem[2*pageSize : 3*pageSize]
	for i := range text {
		text[i] = 0x90 // nop
	}
	copy(text[pageSize-8:], []byte{0x0f, 0x20, 0xd8, 0xe6, exitPort, halt}) // mov %cr3,%rax; out %al,$exitPort; hlt
	for at := uint32(kernelBase & (1<<32 - 1)); at < kernelBase&(1<<32-1)+0x10*pageSize; at += pageSize {
		g.apply(g.at(uint64(at), 2, platform.Read|platform.Write|platform.Exec))
	}
	g.want(syscallEvent) // takes a processor
	const frameBits = 1<<52 - 1<<12
	gdt := bytesOf(p.pool.Table(p.kernel[(gdtAddr-kernelBase)/pageSize] & frameBits))
	own := vcpuPage(g.c.v.id)
	wantGDT, wantTSS := bytes.Clone(gdt), bytes.Clone(g.c.v.page[:tssSize])
	var first platform.Event
	for i, rsp := range []uint64{
		stackAt - 64, gdtAddr + 0x40, own + 0x40, own + tssSize, own + mainStack, idtAddr + pageSize, vectorsAddr + pageSize, 0, codeAt + pageSize, 1 << 63,
	} {
		for _, flags := range []uint64{0, arch.FlagTF, 1 << 18, 1 << 10} { // none, TF, AC, DF
			clear(g.mem[pageSize : 2*pageSize])
			g.regs = arch.Registers{Rip: codeAt, Rsp: rsp, Cs: arch.UserCS32, Eflags: flags, Rbx: 7}
			ev, err := g.c.Run(g.as, &g.regs)
			if err != nil {
				t.Fatalf("stack pointer %#x, flags %#x: %v", rsp, flags, err)
			}
			if i == 0 && flags == 0 {
				first = ev
				t.Logf("%+v", ev)
			}
			called := ev == platform.Event{Kind: platform.Syscall32}
			if ev != first || !called && ev != fault(unix.SIGILL, illIllOpn, codeAt) { // as on Intel
				t.Errorf("stack pointer %#x, flags %#x: %+v", rsp, flags, ev)
			}
			if r := g.regs; called && r.Rip != codeAt+2 || r.Cs != arch.UserCS32 || r.Rsp != rsp || r.Rbx != 7 || r.Eflags&^0x10000 != flags|fixedFlags {
				t.Errorf("stack pointer %#x, flags %#x: %+v", rsp, flags, r)
			}
			if !bytes.Equal(gdt, wantGDT) || !bytes.Equal(g.c.v.page[:tssSize], wantTSS) {
				t.Fatalf("stack pointer %#x, flags %#x: the processor's tables were written to", rsp, flags)
			}
			if slices.Max(g.mem[pageSize:2*pageSize]) != 0 {
				t.Fatalf("stack pointer %#x, flags %#x: the guest's stack was written to", rsp, flags)
			}
		}
	}
	g.regs = arch.Registers{}
	g.want(syscallEvent)
}
