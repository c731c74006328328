package systrap

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform/internal/pairs"
)

// turns are the places where contexts can be apart from their threads, one for each two processors. Those that wait get them in the order in
// which they came, and with the processors of the context before: the two sides of the next pair then wake up where those of the
// last one go to sleep, and stay there from turn to turn.
type turns struct {
	queued atomic.Int32 // contexts that wait, for who does not want the lock

	mu      sync.Mutex
	free    int
	waiting []*waiter
}

// waiter is a context that waits for its turn.
type waiter struct {
	turn chan pairs.Split // has room for one
	stop chan struct{}    // has room for one
}

func newWaiter() *waiter {
	return &waiter{make(chan pairs.Split, 1), make(chan struct{}, 1)}
}

// end has wait end without a place.
func (w *waiter) end() {
	select {
	case w.stop <- struct{}{}:
	default:
	}
}

// take takes a place if one is free.
func (t *turns) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return false
	}
	t.free--
	return true
}

// give gives a place back that was at these processors.
func (t *turns) give(at pairs.Split) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	w := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	t.queued.Add(-1)
	w.turn <- at
}

// wait waits for a place, for so long for each context that waits already and once more.
func (t *turns) wait(w *waiter, each time.Duration) (at pairs.Split, ok bool) {
	if t.take() {
		return pairs.AnySplit(), true
	}
	timer := time.NewTimer(time.Duration(t.join(w)) * each)
	defer timer.Stop()
	select {
	case at = <-w.turn:
		return at, true
	case <-timer.C:
	case <-w.stop:
	}
	return t.quit(w)
}

// join puts w at the end of the queue and tells how long that is.
func (t *turns) join(w *waiter) int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 { // since a moment ago
		t.free--
		w.turn <- pairs.AnySplit()
		return 1
	}
	t.waiting = append(t.waiting, w)
	return t.queued.Add(1)
}

// quit takes w out of the queue, unless its turn has come meanwhile.
func (t *turns) quit(w *waiter) (at pairs.Split, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, w)
	if i < 0 {
		return <-w.turn, true
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	t.queued.Add(-1)
	return at, false
}
