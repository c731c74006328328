package platformtest

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"

	"gosentry/platform"
	"gosentry/platform/arch"
)

// Offsets in XSAVE's standard format.
const (
	xmmOffset    = 160
	xmmLength    = 256
	mxcsrOffset  = 24
	headerOffset = 512
	ymmOffset    = 576
)

// hasAVX tells whether the extended state has the upper halves of ymm.
func hasAVX() bool { return arch.FPUFeatures()&4 != 0 }

// testFPU changes state from outside and has the guest show it, over several Runs, Leaves and OS threads.
func testFPU(t *testing.T, e *env) {
	as := e.space(store()...)
	c := e.context(nil)
	regs := start()
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		want := randomVectors(c, rng)
		for again := range 4 {
			clear(e.mem[dataPage*page : dataPage*page+1024])
			run := func() { e.want(c, as, regs, platform.Syscall) }
			switch {
			case again == 3:
				onOtherThread(c, run)
			case again == 2:
				run()
				c.Leave()
			default:
				run()
			}
			if got := e.mem[dataPage*page : dataPage*page+len(want)]; !bytes.Equal(got, want) {
				t.Fatalf("round %d.%d: the guest has\n%x, want\n%x", round, again, got, want)
			}
			if got := vectorsOf(c.FPU()); !bytes.Equal(got, want) {
				t.Fatalf("round %d.%d: FPU returns\n%x, want\n%x", round, again, got, want)
			}
		}
	}
}

// store is a program that forever stores xmm0 to xmm7, or ymm0 to ymm7, at dataAt, and calls.
func store() program {
	p := program{}.set(rbx, dataAt)
	for r := range byte(8) {
		if hasAVX() {
			p = p.raw(0xc5, 0xfe, 0x7f, 0x83|r<<3, r<<5, 0, 0, 0) // vmovdqu %ymm, disp32(%rbx)
		} else {
			p = p.raw(0xf3, 0x0f, 0x7f, 0x83|r<<3, r<<4, 0, 0, 0) // movdqu %xmm, disp32(%rbx)
		}
	}
	return p.syscall().back(10)
}

// load is a program that loads what store stores, and calls, forever.
func load() program {
	p := program{}.set(rbx, dataAt)
	for r := range byte(8) {
		if hasAVX() {
			p = p.raw(0xc5, 0xfe, 0x6f, 0x83|r<<3, r<<5, 0, 0, 0)
		} else {
			p = p.raw(0xf3, 0x0f, 0x6f, 0x83|r<<3, r<<4, 0, 0, 0)
		}
	}
	return p.syscall().back(10)
}

// randomVectors gives c random vector registers and returns them as store would.
func randomVectors(c platform.Context, rng *rand.Rand) []byte {
	f := c.FPU()
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	fill(f[xmmOffset : xmmOffset+xmmLength])
	f[headerOffset] |= 3
	if hasAVX() {
		fill(f[ymmOffset : ymmOffset+xmmLength])
		f[headerOffset] |= 4
	}
	c.FPUChanged()
	return vectorsOf(f)
}

// vectorsOf returns the first eight vector registers in f as store would.
func vectorsOf(f []byte) []byte {
	var out []byte
	for r := range 8 {
		if f[headerOffset]&2 != 0 {
			out = append(out, f[xmmOffset+16*r:xmmOffset+16*r+16]...)
		} else {
			out = append(out, make([]byte, 16)...)
		}
		switch {
		case hasAVX() && f[headerOffset]&4 != 0:
			out = append(out, f[ymmOffset+16*r:ymmOffset+16*r+16]...)
		case hasAVX():
			out = append(out, make([]byte, 16)...)
		}
	}
	return out
}

// onOtherThread runs f, and then Leave, on a goroutine that is for certain on another OS thread.
func onOtherThread(c platform.Context, f func()) {
	c.Leave()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer c.Leave()
		f()
	}()
	<-done
}

// testFPUShared has contexts with different state take turns in the same and in different address spaces.
func testFPUShared(t *testing.T, e *env) {
	one, two := e.space(store()...), e.space(store()...)
	rng := rand.New(rand.NewPCG(3, 4))
	type guest struct {
		c    platform.Context
		regs *arch.Registers
		want []byte
	}
	var guests []guest
	for range 8 {
		c := e.context(nil)
		guests = append(guests, guest{c, start(), randomVectors(c, rng)})
	}
	for i := range 200 {
		g := &guests[rng.IntN(len(guests))]
		as := one
		if i%3 == 0 {
			as = two
		}
		if i%7 == 0 {
			g.want = randomVectors(g.c, rng)
		}
		e.want(g.c, as, g.regs, platform.Syscall)
		if got := e.mem[dataPage*page : dataPage*page+len(g.want)]; !bytes.Equal(got, g.want) {
			t.Fatalf("turn %d: the guest has\n%x, want\n%x", i, got, g.want)
		}
		if i%5 != 0 {
			g.c.Leave()
		}
	}
}

// testFPUFresh looks at the state of a new context and of a copy.
func testFPUFresh(t *testing.T, e *env) {
	// stmxcsr (%rbx); fnstcw 4(%rbx); then the vectors behind
	as := e.space(program{}.set(rbx, dataAt+512).raw(0x0f, 0xae, 0x1b, 0xd9, 0x7b, 0x04).
		raw(store()...)...)
	dirty := e.context(nil)
	randomVectors(dirty, rand.New(rand.NewPCG(5, 6)))
	dirty.FPU()[mxcsrOffset+1] = 0x7f
	dirty.FPUChanged()
	e.want(dirty, as, start(), platform.Syscall)
	if got := uint32(e.peek(dataPage*page + 512)); got != 0x7f80 {
		t.Errorf("mxcsr is %#x, want what was set", got)
	}
	parent := bytes.Clone(dirty.FPU())
	dirty.Leave()

	e.want(e.context(nil), as, start(), platform.Syscall)
	if got := e.peek(dataPage*page+512) & 0xffffffffffff; got != 0x037f00001f80 {
		t.Errorf("fresh mxcsr and fcw: %#x", got)
	}
	if got := e.mem[dataPage*page : dataPage*page+256]; !bytes.Equal(got, make([]byte, 256)) {
		t.Errorf("fresh vector registers: %x", got)
	}
	e.want(e.context(parent), as, start(), platform.Syscall)
	want := vectorsOf(parent)
	if got := e.mem[dataPage*page : dataPage*page+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("copied vector registers: %x, want %x", got, want)
	}
}

// testFPUHostile loads garbage, which must not fail, and then state that the guest made itself.
func testFPUHostile(t *testing.T, e *env) {
	as := e.space(load()...)
	c := e.context(nil)
	regs := start()
	rng := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		f := c.FPU()
		for i := range f {
			f[i] = byte(rng.Uint32())
		}
		c.FPUChanged()
		e.want(c, as, regs, platform.Syscall)
		want := e.mem[dataPage*page : dataPage*page+len(vectorsOf(f))]
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		e.want(c, as, regs, platform.Syscall)
		if got := vectorsOf(c.FPU()); !bytes.Equal(got, want) {
			t.Fatalf("FPU returns\n%x, the guest loaded\n%x", got, want)
		}
	}
}
