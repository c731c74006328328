package pairs

import (
	"slices"
	"sync"
	"testing"
	"time"
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

// TestTurnsInOrder has places given to those that wait in the order in which they came, with the processors; whoever gives up
// does not hold up the others.
func TestTurnsInOrder(t *testing.T) {
	q := NewTurns(1, AnySplit())
	if !q.Take() || q.Take() {
		t.Fatal("there is one place")
	}
	var mu sync.Mutex
	var got []Split
	var group sync.WaitGroup
	var waiters []*Waiter[Split]
	for i := range 4 {
		w := NewWaiter[Split]()
		waiters = append(waiters, w)
		group.Go(func() {
			if at, ok := q.Wait(w, time.Minute); ok {
				mu.Lock()
				got = append(got, at)
				mu.Unlock()
				q.Give(Split{Guest: i, Thread: at.Guest})
			}
		})
		soon(t, "queue", func() bool { return q.Queued() == i+1 })
	}
	waiters[1].End()
	soon(t, "leaving the queue", func() bool { return q.Queued() == 3 })
	q.Give(Split{Guest: 7, Thread: 8})
	group.Wait()
	if want := []Split{{Guest: 7, Thread: 8}, {Guest: 0, Thread: 7}, {Guest: 2, Thread: 0}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if q.Free() != 1 || q.Queued() != 0 || len(q.waiting) != 0 {
		t.Errorf("%d free, %d and %d wait", q.Free(), q.Queued(), len(q.waiting))
	}
	q.Take()
	if _, ok := q.Wait(NewWaiter[Split](), time.Millisecond); ok || q.Queued() != 0 {
		t.Error("a turn that nobody gave")
	}
}
