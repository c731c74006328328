package kvm

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/pairs"
)

// TestAllGetTurns has more guests that only call than there are places at staying awake: each has several turns.
func TestAllGetTurns(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if p.places == nil {
		t.Skip("calls are not passed over on this host")
	}
	const turnsEach = 3
	n := 2*p.places.Free() + 2
	var lacking atomic.Int32
	lacking.Store(int32(n))
	var group sync.WaitGroup
	end := time.Now().Add(time.Minute)
	for range n {
		g := callGuest(t, p)
		g.c.Leave()
		group.Go(func() {
			defer g.c.Leave()
			had, was := 0, false
			for lacking.Load() > 0 && time.Now().Before(end) {
				if ev, err := g.c.Run(g.as, &g.regs); err != nil || ev.Kind != platform.Syscall {
					t.Errorf("%+v %v", ev, err)
					return
				}
				awake := g.c.pass.pace.awake
				if awake && !was {
					if had++; had == turnsEach {
						lacking.Add(-1)
					}
				}
				was = awake
			}
		})
	}
	group.Wait()
	if lacking.Load() > 0 {
		t.Errorf("%d of %d guests did not have %d turns", lacking.Load(), n, turnsEach)
	}
	if p.places.Free() != n/2-1 || p.places.Queued() != 0 {
		t.Errorf("%d places free, %d wait", p.places.Free(), p.places.Queued())
	}
}

// TestInterruptInQueue interrupts a context that waits for its turn.
func TestInterruptInQueue(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if p.places == nil {
		t.Skip("calls are not passed over on this host")
	}
	g := callGuest(t, p)
	g.c.Leave()
	for p.places.Take() {
	}
	const before = 1000 // that wait longer than the test
	var group sync.WaitGroup
	var waiters []*pairs.Waiter[int]
	for range before {
		w := pairs.NewWaiter[int]()
		waiters = append(waiters, w)
		group.Go(func() { p.places.Wait(w, time.Hour) })
	}
	queued := func(n int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); p.places.Queued() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d wait for their turns, want %d", p.places.Queued(), n)
			}
		}
	}
	queued(before) // how long a context waits depends on how many are before it
	for range 20 {
		g.c.pass.pace.next = stepTurn
		done := make(chan platform.Event)
		go func() {
			ev, _ := g.c.Run(g.as, &g.regs)
			g.c.Leave()
			done <- ev
		}()
		queued(before + 1)
		begin := time.Now()
		g.c.Interrupt()
		if ev := <-done; ev.Kind != platform.Interrupted {
			t.Fatalf("%+v", ev)
		}
		if n, took := p.places.Queued(), time.Since(begin); n != before || took > 20*time.Second {
			t.Fatalf("%d wait, after %v", n, took)
		}
	}
	for _, w := range waiters {
		w.End()
	}
	group.Wait()
}

// TestYieldEndsTurn has a context yield in its turn, which others wait for: it ends sooner.
func TestYieldEndsTurn(t *testing.T) {
	for _, others := range []int{0, 1} {
		for _, yields := range []bool{false, true} {
			c := &context{}
			c.pass.pace = pace{awake: true, calls: lookAt - 1, since: time.Now().Add(-2 * yieldQuantum)}
			if yields {
				c.Yield()
			}
			p := &c.pass.pace
			if p.note(exitPassed, others); (p.next == stepYield) != (yields && others > 0) || p.yielded || p.calls != 0 {
				t.Errorf("%d wait, yields: %v; %+v", others, yields, *p)
			}
		}
	}
}

// TestWish has a context call more and less often.
func TestWish(t *testing.T) {
	runtime.LockOSThread() // as contexts are
	defer runtime.UnlockOSThread()
	for _, test := range []struct {
		each  time.Duration // between calls
		until time.Duration
		want  step
	}{{0, 0, stepTurn}, {2 * quickCall, 0, stepTurn}, {0, time.Minute, stepNone}} {
		p := pace{quick: quickCall, busy: busyCall, until: time.Now().Add(test.until)}
		for range firstLook {
			p.note(exitPatched, 0)
			time.Sleep(test.each) // takes no processor time
		}
		if p.next != test.want {
			t.Errorf("a call each %v: %d, want %d", test.each, p.next, test.want)
		}
	}
	p := pace{quick: quickCall, busy: busyCall, until: time.Now()}
	for range firstLook {
		p.note(exitPatched, 0)
		for begin := threadTime(); threadTime()-begin < 2*busyCall; {
		}
	}
	if p.next == stepTurn {
		t.Error("a context that computes waits for its turn")
	}
}
