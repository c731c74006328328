package platformtest

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// si_code values.
const (
	siKernel   = 0x80
	segvMapErr = 1
	segvAccErr = 2
	busAdrAln  = 1
	busAdrErr  = 2
	fpeIntDiv  = 1
	illIllOpn  = 2
	trapTrace  = 2
)

// sysUprobe is a call that Linux answers itself, with ENXIO, before it asks any filter.
const sysUprobe = 336

func testSyscall(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	regs := start()
	regs.Rax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9 = 999, 1, 2, 3, 4, 5, 6
	for i := range uint64(100) {
		e.want(c, as, regs, platform.Syscall)
		if regs.Number() != 999+i || regs.Args() != (arch.SyscallArgs{1, 2, 3, 4, 5, 6}) || regs.Rip != codeAt+2 {
			t.Fatalf("round %d: %+v", i, regs)
		}
		regs.SetResult(1000 + i)
		if i%10 == 0 {
			c.Leave()
		}
	}
	for nr := range uint64(600) { // whatever filter is on the host process
		if nr == sysUprobe {
			continue
		}
		regs.SetResult(nr)
		if e.want(c, as, regs, platform.Syscall); regs.Number() != nr {
			t.Fatalf("number %d, want %d", regs.Number(), nr)
		}
	}
}

// testRegisters checks that everything but what SYSCALL clobbers goes through a guest and comes back.
func testRegisters(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	for round := range uint64(20) {
		v := func(i uint64) uint64 { return (round*100 + i) * 0x9e3779b97f4a7c15 }
		regs := &arch.Registers{
			R15: v(1), R14: v(2), R13: v(3), R12: v(4), Rbp: v(5), Rbx: v(6), R10: v(7), R9: v(8),
			R8: v(9), Rax: v(10), Rdx: v(11), Rsi: v(12), Rdi: v(13), Rsp: v(14),
			Rip: codeAt, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0x202 | v(15)&0x8d5,
			Fs_base: v(16) >> 18, Gs_base: v(17) >> 18,
		}
		want := *regs
		e.want(c, as, regs, platform.Syscall)
		got := *regs
		want.Rip, want.Rcx, want.R11, want.Orig_rax = codeAt+2, got.Rcx, got.R11, got.Orig_rax
		if got != want {
			t.Fatalf("round %d:\n got %+v\nwant %+v", round, got, want)
		}
		if round%4 == 0 {
			c.Leave()
		}
	}
}

func testInt80(t *testing.T, e *env) {
	as := e.space(0xcd, 0x80)
	c := e.context(nil)
	regs := start()
	regs.Rax, regs.Rcx, regs.R11 = 20, 77, 88
	e.want(c, as, regs, platform.Syscall32)
	if regs.Rax != 20 || regs.Rcx != 77 || regs.Rip != codeAt+2 {
		t.Errorf("%+v", regs)
	}
}

// testCompat enters 32-bit code by a far return.
func testCompat(t *testing.T, e *env) {
	as := e.space(program{}.
		raw(0x6a, 0x23, 0x68, 0x10, 0x00, 0x40, 0x00, 0x48, 0xcb). // push $0x23; push $codeAt+16; lretq
		raw(0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc).
		raw(0x40, 0xcd, 0x80, 0x40, 0xcd, 0x80)...) // inc %eax; int $0x80, twice
	c := e.context(nil)
	regs := start()
	regs.Rax = 10
	e.want(c, as, regs, platform.Syscall32)
	if regs.Cs != arch.UserCS32 || uint32(regs.Rax) != 11 || regs.Rip != codeAt+19 {
		t.Errorf("first call: %+v", regs)
	}
	regs.SetResult(50)
	c.Leave()
	e.want(c, as, regs, platform.Syscall32)
	if uint32(regs.Rax) != 51 || regs.Cs != arch.UserCS32 {
		t.Errorf("second call: %+v", regs)
	}
}

// testVsyscall calls the three entries of the vsyscall page, with a stack that
// is there and with one that is not yet.
func testVsyscall(t *testing.T, e *env) {
	as := e.space(0xff, 0xd0) // call *%rax
	c := e.context(nil)
	for entry, number := range []uint64{unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_GETCPU} {
		regs := start()
		regs.Rax = 0xffffffffff600000 + uint64(entry)*0x400
		regs.Rdi, regs.Rsi = 1, 2
		sp := regs.Rsp
		e.want(c, as, regs, platform.Syscall)
		if regs.Rax != number || regs.Rip != codeAt+2 || regs.Rsp != sp || regs.Rdi != 1 || regs.Rsi != 2 {
			t.Errorf("entry %d: %+v", entry, regs)
		}
		regs.SetResult(7)
		if ev := e.want(c, as, regs, platform.Fault); ev.Signal != unix.SIGTRAP || regs.Rax != 7 {
			t.Errorf("entry %d afterwards: %+v %+v", entry, ev, regs)
		}
	}
	regs := start()
	regs.Rip, regs.Rsp = 0xffffffffff600400, dataAt+64*page
	ev := e.want(c, as, regs, platform.Fault)
	if ev.Signal != unix.SIGSEGV || ev.Addr != dataAt+64*page {
		t.Errorf("no stack: %+v", ev)
	}
	e.apply(as, e.file(dataAt+64*page, page, dataPage*page, rw))
	e.poke(dataPage*page, codeAt+1000)
	e.want(c, as, regs, platform.Syscall)
	if regs.Rax != unix.SYS_TIME || regs.Rip != codeAt+1000 || regs.Rsp != dataAt+64*page+8 {
		t.Errorf("after the fault: %+v", regs)
	}
}

func testFaults(t *testing.T, e *env) {
	const nowhere = 0x66600000
	for _, test := range []struct {
		name   string
		code   program
		signal unix.Signal
		code2  int32
		addr   uint64
		rip    uint64 // from codeAt
	}{
		{"read", program{}.set(rbx, nowhere).load(), unix.SIGSEGV, segvMapErr, nowhere, 10},
		{"write", program{}.set(rbx, nowhere+8).store(), unix.SIGSEGV, segvMapErr, nowhere + 8, 10},
		{"write to code", program{}.set(rbx, codeAt).store(), unix.SIGSEGV, segvAccErr, codeAt, 10},
		{"jump nowhere", program{}.set(rbx, nowhere).raw(0xff, 0xe3), unix.SIGSEGV, segvMapErr, nowhere, nowhere - codeAt},
		{"jump to data", program{}.set(rbx, dataAt).raw(0xff, 0xe3), unix.SIGSEGV, segvAccErr, dataAt, dataAt - codeAt},
		{"non-canonical", program{}.set(rbx, 1<<63).load(), unix.SIGSEGV, siKernel, 0, 10},
		{"kernel address", program{}.set(rbx, 0xffff880000000000).load(), unix.SIGSEGV, segvMapErr, 0xffff880000000000, 10},
		{"beyond the end", program{}.set(rbx, dataAt+0x100000).load(), unix.SIGBUS, busAdrErr, dataAt + 0x100000, 10},
		{"divide", program{}.raw(0x31, 0xc9, 0xf7, 0xf1), unix.SIGFPE, fpeIntDiv, codeAt + 2, 2},
		{"ud2", program{}.raw(0x0f, 0x0b), unix.SIGILL, illIllOpn, codeAt, 0},
		{"int3", program{}.raw(0xcc), unix.SIGTRAP, siKernel, 0, 1},
		{"hlt", program{}.raw(0xf4), unix.SIGSEGV, siKernel, 0, 0},
		{"int 0x81", program{}.raw(0xcd, 0x81), unix.SIGSEGV, siKernel, 0, 0},
		{"alignment", program{}.set(rbx, dataAt+1).
			raw(0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d).load(), unix.SIGBUS, busAdrAln, 0, 19}, // pushf; orl $AC,(%rsp); popf
	} {
		t.Run(test.name, func(t *testing.T) {
			e := e.with(t)
			as := e.space(test.code...)
			defer as.Release()
			e.apply(as, e.file(dataAt+0x100000, page, filePages*page, rw))
			c := e.context(nil)
			regs := start()
			ev := e.want(c, as, regs, platform.Fault)
			ev.Access = 0
			want := platform.Event{Kind: platform.Fault, Signal: test.signal, Code: test.code2, Addr: test.addr}
			if ev != want || regs.Rip != codeAt+test.rip {
				t.Errorf("got %+v at %#x, want %+v at %#x", ev, regs.Rip, want, codeAt+test.rip)
			}
		})
	}
}

// testResume lets a faulting instruction run again after the fault is mended.
func testResume(t *testing.T, e *env) {
	const at = 0x30000000
	as := e.space(program{}.set(rbx, at).load().store().syscall()...)
	c := e.context(nil)
	regs := start()
	e.poke(100*page, 0x1234)
	e.want(c, as, regs, platform.Fault)
	e.apply(as, e.file(at, page, 100*page, platform.Read))
	ev := e.want(c, as, regs, platform.Fault)
	if ev.Code != segvAccErr || ev.Addr != at || regs.Rax != 0x1234 {
		t.Fatalf("write: %+v, rax %#x", ev, regs.Rax)
	}
	regs.Rax = 0x5678
	e.apply(as, platform.Change{Op: platform.Protect, Addr: at, Length: page, Prot: rw})
	e.want(c, as, regs, platform.Syscall)
	if got := e.peek(100 * page); got != 0x5678 {
		t.Errorf("stored %#x", got)
	}
}

func testSingleStep(t *testing.T, e *env) {
	as := e.space(0x90, 0x90, 0x90, 0x90, 0x0f, 0x05)
	c := e.context(nil)
	regs := start()
	regs.Eflags |= arch.FlagTF
	for i := uint64(1); i <= 4; i++ {
		ev := e.want(c, as, regs, platform.Fault)
		if ev.Signal != unix.SIGTRAP || ev.Code != trapTrace || regs.Rip != codeAt+i {
			t.Fatalf("step %d: %+v at %#x", i, ev, regs.Rip)
		}
	}
	if regs.Eflags&arch.FlagTF == 0 {
		t.Errorf("TF got lost")
	}
	regs.Eflags &^= arch.FlagTF
	e.want(c, as, regs, platform.Syscall)
}
