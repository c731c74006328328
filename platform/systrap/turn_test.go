package systrap

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/pairs"
)

// soon waits until something is so.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// placesForTest is a platform with places apart, and their number. The thread that makes it may still be where another platform
// pinned it, and that has one processor then.
func placesForTest(t *testing.T) (*Platform, int) {
	t.Helper()
	for range 20 {
		if p := testPlatform(t); p.turns.Free() > 0 {
			return p, p.turns.Free()
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Skip("one processor")
	return nil, 0
}

// crowd has n wait in the queue until the function returned is called.
func crowd(t *testing.T, q *pairs.Turns[pairs.Split], n int) (leave func()) {
	t.Helper()
	var group sync.WaitGroup
	var waiters []*pairs.Waiter[pairs.Split]
	for range n {
		w := pairs.NewWaiter[pairs.Split]()
		waiters = append(waiters, w)
		group.Go(func() { q.Wait(w, time.Hour) })
	}
	soon(t, "a crowd", func() bool { return q.Queued() == n })
	return func() {
		for _, w := range waiters {
			w.End()
		}
		group.Wait()
	}
}

// TestAllGetTurns has more guests that only call than there are places: each has several turns apart.
func TestAllGetTurns(t *testing.T) {
	p, places := placesForTest(t)
	const turnsEach = 3
	n := 2*places + 2
	var lacking atomic.Int32
	lacking.Store(int32(n))
	end := time.Now().Add(time.Minute)
	var group sync.WaitGroup
	for range n {
		g := newGuest(t, p, callCode...)
		group.Go(func() {
			had, was := 0, false
			for lacking.Load() > 0 && time.Now().Before(end) {
				g.call(t)
				apart := g.pace.spin > 0
				if apart && !was {
					if had++; had == turnsEach {
						lacking.Add(-1)
					}
				}
				was = apart
			}
			g.Leave()
		})
	}
	group.Wait()
	if lacking.Load() > 0 {
		t.Errorf("%d of %d guests did not have %d turns", lacking.Load(), n, turnsEach)
	}
	if p.turns.Free() != places || p.turns.Queued() != 0 {
		t.Errorf("%d of %d places free, %d wait", p.turns.Free(), places, p.turns.Queued())
	}
}

// TestInterruptInQueue interrupts a context that waits for its turn.
func TestInterruptInQueue(t *testing.T) {
	p := testPlatform(t)
	for p.turns.Take() {
	}
	const before = 1000 // that wait longer than the test
	defer crowd(t, p.turns, before)()
	g := newGuest(t, p, callCode...)
	g.call(t)
	done := make(chan platform.Event)
	for range 20 {
		g.pace.wish = wishTurn
		go func() {
			ev, _ := g.Run(g.as, g.regs)
			g.Leave()
			done <- ev
		}()
		soon(t, "queue", func() bool { return p.turns.Queued() == before+1 })
		begin := time.Now()
		g.Interrupt()
		if ev := <-done; ev.Kind != platform.Interrupted {
			t.Fatalf("%+v", ev)
		}
		if n, took := p.turns.Queued(), time.Since(begin); n != before || took > 20*time.Second {
			t.Fatalf("%d wait, after %v", n, took)
		}
	}
}

// TestNoPlaceForWhoComputes has a guest that is apart compute without end: its place is another's, and it goes on without when that is
// taken.
func TestNoPlaceForWhoComputes(t *testing.T) {
	p, places := placesForTest(t)
	g := newGuest(t, p, loopCode...)
	for _, taken := range []bool{false, true} {
		g.pace.wish = wishApart
		done := make(chan bool)
		go func() {
			ev, err := g.Run(g.as, g.regs)
			if err != nil || ev.Kind != platform.Interrupted {
				t.Errorf("%+v %v", ev, err)
			}
			apart := g.pace.spin > 0
			g.Leave()
			done <- apart
		}()
		soon(t, "moving apart", func() bool { return g.held.Load() != nil })
		soon(t, "giving the place up", func() bool { return p.turns.Free() == places })
		for taken && p.turns.Take() {
		}
		g.Interrupt()
		if apart := <-done; apart == taken {
			t.Errorf("apart: %v, with its place taken: %v", apart, taken)
		}
	}
	if n := p.turns.Free(); n != 0 {
		t.Errorf("%d places free", n)
	}
}

// TestYieldEndsTurn has a context yield in its turn, which others wait for: it ends sooner.
func TestYieldEndsTurn(t *testing.T) {
	for _, yields := range []bool{false, true} {
		p, places := placesForTest(t)
		for range places {
			p.turns.Take()
		}
		leave := crowd(t, p.turns, 1)
		c := p.NewContext(nil).(*context)
		c.tr = p.pairs.Enter(c)
		c.pace.spin, c.pace.calls, c.pace.since = spinCycles, window-1, time.Now().Add(-2*yieldQuantum)
		if yields {
			c.Yield()
		}
		c.pace.note(c, false, false)
		if over := p.turns.Queued() == 0; over != yields || over != (c.pace.wish == wishTurn) || c.pace.yielded {
			t.Errorf("yields: %v; over: %v, %+v", yields, over, c.pace)
		}
		c.Leave()
		leave()
	}
}

// TestFaultsStayTogether has a context fault, which being apart does not make faster: it does not wish to be, and ends it if it is.
func TestFaultsStayTogether(t *testing.T) {
	for _, test := range []struct {
		faults int
		apart  bool
	}{{maxPoor, true}, {maxPoor + 1, false}} {
		for _, spin := range []uint64{0, spinCycles} {
			p, _ := placesForTest(t)
			c := p.NewContext(nil).(*context)
			c.tr = p.pairs.Enter(c)
			if c.pace.start = time.Now(); spin > 0 {
				p.turns.Take()
				c.pace.spin = spin
			}
			for i := range minGood * window {
				if c.pace.wish != wishNone {
					t.Fatalf("it wishes to be apart after %d calls", i)
				}
				c.pace.note(c, spin == 0, i%window < test.faults)
			}
			if apart := c.pace.wish != wishNone || c.pace.spin > 0; apart != test.apart {
				t.Errorf("%d faults, spin %d: %+v", test.faults, spin, c.pace)
			}
			c.Leave()
		}
	}
}
