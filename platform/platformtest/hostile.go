package platformtest

import (
	"math/rand/v2"
	"testing"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// testHostileRegisters runs with registers that no sane guest has; Run returns an event for all of them.
func testHostileRegisters(t *testing.T, e *env) {
	values := []uint64{
		0, 1, 3, 0x23, 0x2b, 0x33, 0x10, 0x18, 0x63, 0x7b, 0xff, 0xffff, 0x28, 1 << 16, 0x7fffffffefff, 0x7fffffffd000,
		0x7fffffffe000, 0x7ffffffff000, 0x800000000000, 1 << 62, 1 << 63, 0xffff800000000000, 0xffffffffff600000,
		0xffffffffff600400, 0xfffffffffffff000, ^uint64(0), ^uint64(511), ^uint64(512), ^uint64(515),
		0x100, 0x3000, 0x4000, 0x20000, 0x40000, 0x200000, 0x202, 0x10202, 0x400,
	}
	as := e.space(calls...)
	c := e.context(nil)
	rng := rand.New(rand.NewPCG(9, 10))
	pick := func() uint64 { return values[rng.IntN(len(values))] }
	fields := func(r *arch.Registers) []*uint64 {
		return []*uint64{&r.Rip, &r.Eflags, &r.Rsp, &r.Cs, &r.Ss, &r.Ds, &r.Es, &r.Fs, &r.Gs,
			&r.Fs_base, &r.Gs_base, &r.Orig_rax, &r.Rax, &r.Rcx, &r.R11}
	}
	for round := range 3000 {
		regs := start()
		f := fields(regs)
		for range 1 + rng.IntN(3) {
			*f[rng.IntN(len(f))] = pick()
		}
		was := *regs
		ev, err := c.Run(as, regs)
		if err != nil {
			t.Fatalf("round %d: Run: %v with %+v", round, err, was)
		}
		if ev.Kind == platform.Interrupted {
			t.Fatalf("round %d: interrupted with %+v", round, was)
		}
		if round%64 == 0 {
			c.Leave()
		}
	}
	e.want(c, as, start(), platform.Syscall)
}

// testHostileInstructions runs what enters the host's kernel in unusual ways, each alone,
// under the trap flag, and in 32-bit mode.
func testHostileInstructions(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	const at = codeAt + 8*page
	for _, code := range []program{
		{0xf1}, {0xcd, 0x03}, {0xcd, 0x04}, {0xcd, 0x80}, {0xcd, 0x01}, {0xcd, 0x02}, {0xcd, 0x20}, {0x0f, 0x34}, {0x0f, 0x05},
		{0x0f, 0x07}, {0x0f, 0x35}, {0xcf}, {0x48, 0xcf}, {0xcb}, {0x48, 0xcb}, {0x0f, 0x01, 0xc1}, {0x0f, 0x01, 0xd9},
		{0x0f, 0x32}, {0x0f, 0x30}, {0x0f, 0x20, 0xc0}, {0x0f, 0x23, 0xf8}, {0xe4, 0x80}, {0xfa}, {0xfb}, {0xf4}, {0x0f, 0x06},
		{0x0f, 0xa2}, {0x0f, 0x31}, {0x0f, 0xff}, {0x0f, 0xb9, 0xc0}, {0x8e, 0xd0, 0xcc}, {0x8e, 0xd0, 0xcd, 0x80},
		{0x8e, 0xd0, 0x0f, 0x05}, {0xf3, 0x48, 0x0f, 0xae, 0xd3}, {0xf3, 0x48, 0x0f, 0xae, 0xdb}, {0xc7, 0xf8, 0, 0, 0, 0},
		{0x9d, 0x0f, 0x05}, {0x9d, 0xcd, 0x80}, {0x9d, 0x90}, {0x66, 0x9d, 0x0f, 0x05}, {0x0f, 0x01, 0xf8}, {0xdb, 0xe3, 0x9b},
		{0x0f, 0x0b}, {0xf0, 0x0f, 0xc7, 0xc8}, {0x48, 0x0f, 0x01, 0xca}, {0x0f, 0xae, 0xd3}, {0xf3, 0x0f, 0xc7, 0xf8},
	} {
		copy(e.mem[8*page:], append(code, 0x0f, 0x05))
		for _, mode := range []arch.Registers{
			{Cs: arch.UserCS}, {Cs: arch.UserCS, Eflags: arch.FlagTF}, {Cs: arch.UserCS32}, {Cs: arch.UserCS32, Eflags: arch.FlagTF},
		} {
			regs := start()
			regs.Rip, regs.Cs = at, mode.Cs
			regs.Eflags |= mode.Eflags
			regs.Rbx = 0xffff880000000000
			e.poke((dataPage+32)*page-256, 0x4500) // what popf finds
			for range 6 {
				stop := afterMillisecond(c)
				_, err := c.Run(as, regs)
				stop()
				if err != nil {
					t.Fatalf("% x in mode %+v: %v with %+v", code, mode, err, regs)
				}
			}
		}
	}
	fresh := start()
	c = e.context(nil)
	e.want(c, as, fresh, platform.Syscall)
}

// testHostileCode runs random bytes.
func testHostileCode(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	rng := rand.New(rand.NewPCG(11, 12))
	for range 300 {
		code := e.mem[8*page : 9*page]
		for i := range code {
			code[i] = byte(rng.Uint32())
		}
		regs := start()
		regs.Rip = codeAt + 8*page
		for range 20 {
			stop := afterMillisecond(c)
			ev, err := c.Run(as, regs)
			stop()
			if err != nil {
				t.Fatalf("Run: %v with %+v", err, regs)
			}
			if ev.Kind == platform.Interrupted {
				break
			}
			if ev.Kind == platform.Fault {
				regs.Rip = codeAt + 8*page + rng.Uint64N(page)
			}
		}
	}
	c = e.context(nil) // which no late interrupt comes to
	e.check(c, as, dataAt, []string{"rw"}, []uint64{e.peek(dataPage * page)})
}

// testNoRestart returns the results that Linux uses inside for calls to restart: to the
// platform they are numbers.
func testNoRestart(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	for _, errno := range []uint64{512, 513, 514, 516} {
		regs := start()
		e.want(c, as, regs, platform.Syscall)
		regs.Rax, regs.Orig_rax = -errno, unix.SYS_PAUSE
		c.Interrupt()
		e.want(c, as, regs, platform.Interrupted)
		if regs.Rip != codeAt+2 || regs.Rax != -errno {
			t.Fatalf("rip %#x rax %#x", regs.Rip, regs.Rax)
		}
		e.want(c, as, regs, platform.Syscall)
		if regs.Rax != -errno || regs.Rip != codeAt+2 {
			t.Fatalf("the guest saw %#x", regs.Rax)
		}
	}
}
