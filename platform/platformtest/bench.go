package platformtest

import (
	"runtime"
	"sync"
	"testing"

	"gosentry/platform"
)

// Bench runs the benchmarks.
func Bench(b *testing.B, newPlatform New) {
	b.Run("New", func(b *testing.B) {
		for b.Loop() {
			newPlatform(b).Release()
		}
	})
	for _, bench := range []struct {
		name string
		f    func(b *testing.B, e *env)
	}{
		{"Syscall", benchSyscall},
		{"SyscallLeave", benchLeave},
		{"SyscallParallel", benchParallel},
		{"PingPong", benchPingPong},
		{"Fault", benchFault},
		{"Apply", benchApply},
		{"NewSpace", benchNewSpace},
	} {
		b.Run(bench.name, func(b *testing.B) { bench.f(b, newEnv(b, newPlatform(b))) })
	}
}

// benchSyscall is a call that the kernel answers at once.
func benchSyscall(b *testing.B, e *env) {
	as, c, regs := e.space(calls...), e.context(nil), start()
	for b.Loop() {
		e.want(c, as, regs, platform.Syscall)
		regs.Rax = 39
	}
}

// benchLeave is a call that blocks for no time.
func benchLeave(b *testing.B, e *env) {
	as, c, regs := e.space(calls...), e.context(nil), start()
	for b.Loop() {
		e.want(c, as, regs, platform.Syscall)
		c.Leave()
	}
}

// benchParallel is benchSyscall by as many guests as there are processors; the time is of all calls.
func benchParallel(b *testing.B, e *env) {
	n := runtime.NumCPU()
	var group sync.WaitGroup
	as := e.space(calls...)
	spaces := []platform.AddressSpace{as}
	for len(spaces) < n {
		spaces = append(spaces, e.space(calls...))
	}
	b.ResetTimer()
	for i := range n {
		group.Go(func() {
			c, regs := e.p.NewContext(nil), start()
			defer c.Release()
			for range b.N / n {
				if _, err := c.Run(spaces[i], regs); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// benchPingPong has two guests in two address spaces wake each other and block; an operation is there and back.
func benchPingPong(b *testing.B, e *env) {
	ping, pong := make(chan struct{}), make(chan struct{})
	turn := func(c platform.Context, as platform.AddressSpace, from, to chan struct{}) {
		regs := start()
		defer c.Release()
		defer close(to)
		for range from {
			if _, err := c.Run(as, regs); err != nil { // read(2) came back, write(2)
				b.Error(err)
				return
			}
			to <- struct{}{}
			if _, err := c.Run(as, regs); err != nil { // read(2)
				b.Error(err)
				return
			}
			c.Leave()
		}
	}
	one, two := e.space(calls...), e.space(calls...)
	go turn(e.p.NewContext(nil), one, ping, pong)
	back := make(chan struct{})
	go turn(e.p.NewContext(nil), two, pong, back)
	for b.Loop() {
		ping <- struct{}{}
		<-back
	}
	close(ping)
	for range back {
	}
}

// benchFault is a fault of a page, a Map, and the way back.
func benchFault(b *testing.B, e *env) {
	const at, pages = 0x100000000, 1 << 14
	// mov (%rbx),%rax; add $4096,%rbx; jmp back
	as := e.space(program{}.load().raw(0x48, 0x81, 0xc3, 0, 0x10, 0, 0).back(0)...)
	c, regs := e.context(nil), start()
	regs.Rbx = at
	for i := uint64(0); b.Loop(); i++ {
		ev := e.want(c, as, regs, platform.Fault)
		if regs.Rbx == at+pages*page {
			e.apply(as, unmap(at, pages*page))
			regs.Rbx = at
		}
		e.apply(as, e.file(regs.Rbx, page, i%filePages*page, rw))
		_ = ev
	}
}

// benchApply is a Map and an Unmap while a context runs in the address space.
func benchApply(b *testing.B, e *env) {
	as, c := e.space(loop...), e.context(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(as, start())
		c.Leave()
	}()
	for b.Loop() {
		e.apply(as, e.file(0x50000000, page, 0, rw), unmap(0x50000000, page))
	}
	c.Interrupt()
	<-done
}

// benchNewSpace is a new address space, its first call, and its end.
func benchNewSpace(b *testing.B, e *env) {
	c := e.context(nil)
	for b.Loop() {
		as := e.space(calls...)
		e.want(c, as, start(), platform.Syscall)
		c.Leave()
		as.Release()
	}
}
