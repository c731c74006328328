package systrap

import (
	"slices"
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
		if p := testPlatform(t); p.turns.free > 0 {
			return p, p.turns.free
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Skip("one processor")
	return nil, 0
}

// TestTurnsInOrder has places given to those that wait in the order in which they came, with the processors; whoever gives up
// does not hold up the others.
func TestTurnsInOrder(t *testing.T) {
	var q turns
	q.free = 1
	if !q.take() || q.take() {
		t.Fatal("there is one place")
	}
	var mu sync.Mutex
	var got []pairs.Split
	var group sync.WaitGroup
	var waiters []*waiter
	for i := range 4 {
		w := newWaiter()
		waiters = append(waiters, w)
		group.Go(func() {
			if at, ok := q.wait(w, time.Minute); ok {
				mu.Lock()
				got = append(got, at)
				mu.Unlock()
				q.give(pairs.Split{Guest: i, Thread: at.Guest})
			}
		})
		soon(t, "queue", func() bool { return q.queued.Load() == int32(i+1) })
	}
	waiters[1].end()
	soon(t, "leaving the queue", func() bool { return q.queued.Load() == 3 })
	q.give(pairs.Split{Guest: 7, Thread: 8})
	group.Wait()
	if want := []pairs.Split{{Guest: 7, Thread: 8}, {Guest: 0, Thread: 7}, {Guest: 2, Thread: 0}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if q.free != 1 || q.queued.Load() != 0 || len(q.waiting) != 0 {
		t.Errorf("%d free, %d and %d wait", q.free, q.queued.Load(), len(q.waiting))
	}
	q.take()
	if _, ok := q.wait(newWaiter(), time.Millisecond); ok || q.queued.Load() != 0 {
		t.Error("a turn that nobody gave")
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
	if p.turns.free != places || p.turns.queued.Load() != 0 {
		t.Errorf("%d of %d places free, %d wait", p.turns.free, places, p.turns.queued.Load())
	}
}

// TestInterruptInQueue interrupts a context that waits for its turn.
func TestInterruptInQueue(t *testing.T) {
	p := testPlatform(t)
	for p.turns.take() {
	}
	const before = 1000 // that wait longer than the test
	for range before {
		p.turns.join(newWaiter())
	}
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
		soon(t, "queue", func() bool { return p.turns.queued.Load() == before+1 })
		begin := time.Now()
		g.Interrupt()
		if ev := <-done; ev.Kind != platform.Interrupted {
			t.Fatalf("%+v", ev)
		}
		if n, took := p.turns.queued.Load(), time.Since(begin); n != before || took > 20*time.Second {
			t.Fatalf("%d wait, after %v", n, took)
		}
	}
}

// TestNoPlaceForWhoComputes has a guest that is apart compute without end: its place is another's, and it goes on without when that is
// taken.
func TestNoPlaceForWhoComputes(t *testing.T) {
	p, places := placesForTest(t)
	free := func() int {
		p.turns.mu.Lock()
		defer p.turns.mu.Unlock()
		return p.turns.free
	}
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
		soon(t, "moving apart", func() bool { return g.running.Load() != nil })
		soon(t, "giving the place up", func() bool { return free() == places })
		for taken && p.turns.take() {
		}
		g.Interrupt()
		if apart := <-done; apart == taken {
			t.Errorf("apart: %v, with its place taken: %v", apart, taken)
		}
	}
	if free() != 0 {
		t.Errorf("%d places free", free())
	}
}

// TestYieldEndsTurn has a context yield in its turn, which others wait for: it ends sooner.
func TestYieldEndsTurn(t *testing.T) {
	for _, yields := range []bool{false, true} {
		p, places := placesForTest(t)
		for range places {
			p.turns.take()
		}
		w := newWaiter()
		p.turns.join(w)
		c := p.NewContext(nil).(*context)
		c.tr = p.pairs.Enter(c)
		c.pace.spin, c.pace.calls, c.pace.since = spinCycles, window-1, time.Now().Add(-2*yieldQuantum)
		if yields {
			c.Yield()
		}
		c.pace.note(c, false)
		if over := len(w.turn) > 0; over != yields || over != (c.pace.wish == wishTurn) || c.pace.yielded {
			t.Errorf("yields: %v; over: %v, %+v", yields, over, c.pace)
		}
		c.Leave()
	}
}
