package platformtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

func testInterrupt(t *testing.T, e *env) {
	as := e.space(loop...)
	c := e.context(nil)
	regs := start()
	c.Interrupt()
	e.want(c, as, regs, platform.Interrupted)
	for i := range 20 {
		timer := time.AfterFunc(time.Duration(i)*time.Millisecond/2, c.Interrupt)
		e.want(c, as, regs, platform.Interrupted)
		timer.Stop()
		if regs.Rip != codeAt {
			t.Fatalf("rip %#x", regs.Rip)
		}
		if i%3 == 0 {
			c.Leave()
		}
	}
	c.Leave()
	c.Interrupt()
	e.want(c, as, regs, platform.Interrupted)
}

// testInterruptStorm interrupts a guest that calls all the time: no call is lost
// nor seen twice, and the last interrupt is always seen.
func testInterruptStorm(t *testing.T, e *env) {
	as := e.space(program{}.raw(0x48, 0xff, 0xc7).syscall().back(0)...) // inc %rdi; syscall
	c := e.context(nil)
	regs := start()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.Interrupt()
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	var count, interrupts uint64
	for count < 2000 || interrupts == 0 && count < 1_000_000 {
		switch ev := e.run(c, as, regs); ev.Kind {
		case platform.Syscall:
			if count++; regs.Rdi != count {
				t.Fatalf("call %d has number %d", count, regs.Rdi)
			}
			regs.SetResult(^uint64(511)) // what a host would restart
		case platform.Interrupted:
			interrupts++
		default:
			t.Fatalf("%+v", ev)
		}
	}
	close(stop)
	group.Wait()
	if interrupts == 0 {
		t.Error("no interrupt was seen")
	}
	c.Interrupt()
	for range 3 {
		if e.run(c, as, regs).Kind == platform.Interrupted {
			return
		}
	}
	t.Error("the last interrupt got lost")
}

// hostThreads counts the threads of this process and of its children.
func hostThreads(tb testing.TB) int {
	tb.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		tb.Skip("no /proc")
	}
	n := 0
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if f[1] == strconv.Itoa(os.Getpid()) || pid == os.Getpid() {
			count, _ := strconv.Atoi(f[17])
			n += count
		}
	}
	return n
}

// testSleepers has thousands of contexts that made a call and left: none holds a thread.
func testSleepers(t *testing.T, e *env) {
	as := []platform.AddressSpace{e.space(calls...), e.space(calls...), e.space(calls...)}
	const n = 3000
	wake := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(n)
	before := hostThreads(t)
	for i := range n {
		done.Go(func() {
			c := e.p.NewContext(nil)
			defer c.Release()
			regs := start()
			for round := range 2 {
				number := 1000 + uint64(i)
				regs.Rax = number
				if ev, err := c.Run(as[i%len(as)], regs); err != nil || ev.Kind != platform.Syscall || regs.Rax != number {
					t.Errorf("context %d: %+v %v", i, ev, err)
				}
				c.Leave()
				if round == 0 {
					ready.Done()
					<-wake
				}
			}
		})
	}
	ready.Wait()
	asleep := hostThreads(t)
	close(wake)
	done.Wait()
	if asleep-before > 400 {
		t.Errorf("%d threads with %d contexts asleep, %d before", asleep, n, before)
	}
}

// testRunners has more contexts compute for ever than can run at a time: each gets its turn.
func testRunners(t *testing.T, e *env) {
	const n = 150
	as := e.space(program{}.raw(0xf0, 0x48, 0xff, 0x03).back(0)...) // lock incq (%rbx); jmp back
	var group sync.WaitGroup
	contexts := make([]platform.Context, n)
	for i := range contexts {
		c := e.p.NewContext(nil)
		contexts[i] = c
		group.Go(func() {
			defer c.Release()
			regs := start()
			regs.Rbx = dataAt + 8*uint64(i)
			if ev, err := c.Run(as, regs); err != nil || ev.Kind != platform.Interrupted {
				t.Errorf("context %d: %+v %v", i, ev, err)
			}
		})
	}
	for i := range n {
		waitFor(t, fmt.Sprintf("a turn of context %d", i), func() bool { return e.atomic(dataPage*page+8*i) != 0 })
	}
	for _, c := range contexts {
		c.Interrupt()
	}
	group.Wait()
}

// testSpaces has more address spaces than host processes are kept for; what
// was forgotten is mapped again as faults ask for it.
func testSpaces(t *testing.T, e *env) {
	const n, own = 400, 0x50000000 // each has a page of its own from there on
	type guest struct {
		as   platform.AddressSpace
		c    platform.Context
		regs *arch.Registers
	}
	// inc (%rbx); syscall; jmp back
	code := program{}.raw(0x48, 0xff, 0x03).syscall().back(0)
	guests := make([]guest, n)
	for i := range guests {
		g := &guests[i]
		*g = guest{e.space(code...), e.context(nil), start()}
		g.regs.Rbx = dataAt + uint64(i)*8
		e.apply(g.as, e.file(own+uint64(i)*page, page, 100*page, rw))
	}
	faults := 0
	for round := range uint64(3) {
		for i := range guests {
			g := &guests[i]
			for {
				ev := e.run(g.c, g.as, g.regs)
				if ev.Kind == platform.Syscall {
					break
				}
				if ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV || ev.Code != segvMapErr {
					t.Fatalf("guest %d: %+v", i, ev)
				}
				faults++
				e.apply(g.as, e.file(codeAt, codePages*page, 0, rx), e.file(dataAt, 16*page, dataPage*page, rw))
			}
			e.wantNoOther(g.c, g.as, own, i, n)
			g.c.Leave()
			if got := e.peek(dataPage*page + 8*i); got != round+1 {
				t.Fatalf("guest %d in round %d: counter %d", i, round, got)
			}
		}
	}
	t.Logf("%d spaces, %d faults, %d host threads", n, faults, hostThreads(t))
	for _, g := range guests {
		g.as.Release()
	}
}

// wantNoOther looks in an address space, the i'th of n which have a page each from addr on, for those of some others.
func (e *env) wantNoOther(c platform.Context, as platform.AddressSpace, addr uint64, i, n int) {
	e.tb.Helper()
	for range 10 {
		other := (i + 1 + rand.IntN(n-1)) % n
		if _, read, write := e.probe(c, as, addr+uint64(other)*page); read == 0 || write == 0 {
			e.tb.Fatalf("guest %d has the page of guest %d", i, other)
		}
	}
}

// testSharedSpace has contexts of one address space call at the same time while it changes.
func testSharedSpace(t *testing.T, e *env) {
	as := e.space(program{}.raw(0x48, 0xff, 0x03).syscall().back(0)...)
	var group sync.WaitGroup
	const n, rounds = 6, 300
	for i := range n {
		group.Go(func() {
			c := e.p.NewContext(nil)
			defer c.Release()
			regs := start()
			regs.Rbx = dataAt + 8*uint64(i)
			for round := range rounds {
				if ev, err := c.Run(as, regs); err != nil || ev.Kind != platform.Syscall {
					t.Errorf("context %d: %+v %v", i, ev, err)
					return
				}
				at := uint64(0x70000000 + i*page)
				if err := as.Apply([]platform.Change{e.file(at, page, 0, rw), unmap(at, page)}); err != nil {
					t.Errorf("Apply: %v", err)
				}
				if round%16 == i {
					c.Leave()
				}
			}
		})
	}
	group.Wait()
	for i := range n {
		if got := e.peek(dataPage*page + 8*i); got != rounds {
			t.Errorf("context %d counted to %d", i, got)
		}
	}
}

// testEmpty looks for what a released address space leaves behind.
func testEmpty(t *testing.T, e *env) {
	const secret = 0x7777000
	for round := range 20 {
		old := e.space(calls...)
		e.apply(old, e.file(secret, page, 0, rwx))
		c := e.context(nil)
		e.want(c, old, start(), platform.Syscall)
		c.Leave()
		old.Release()
		if round%2 == 0 {
			time.Sleep(time.Millisecond)
		}
		as := e.space(calls...)
		e.check(c, as, secret, []string{"none"}, nil)
		e.check(c, as, dataAt, []string{"rw"}, []uint64{e.peek(dataPage * page)})
		as.Release()
	}
}

// testReleaseWhileHeld releases an address space of which a context still holds state, as exec does.
func testReleaseWhileHeld(t *testing.T, e *env) {
	c := e.context(nil)
	regs := start()
	for round := range 30 {
		as := e.space(calls...)
		regs.Rip = codeAt
		e.want(c, as, regs, platform.Syscall)
		if round%2 == 0 {
			f := c.FPU()
			f[xmmOffset] = byte(round)
			f[headerOffset] |= 2 // some processors mark what is all zeros as not in use
			c.FPUChanged()
			e.want(c, as, regs, platform.Syscall)
		}
		as.Release()
		if got := c.FPU()[xmmOffset]; got != byte(round&^1) {
			t.Fatalf("round %d: state after Release is %d", round, got)
		}
	}
}

// afterMillisecond interrupts c in a millisecond unless stopped before.
func afterMillisecond(c platform.Context) (stop func() bool) {
	return time.AfterFunc(time.Millisecond, c.Interrupt).Stop
}
