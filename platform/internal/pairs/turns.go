package pairs

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Turns are the places where both sides of a pair can be awake, one for each two processors. Those that wait get them in the order in
// which they came, with what the one before leaves behind: where its two sides were, say. The two sides of the next pair then wake up where those of the
// last one go to sleep, and stay there from turn to turn.
type Turns[T any] struct {
	any    T            // for a place that nobody left
	queued atomic.Int32 // who waits, for those who do not want the lock

	mu      sync.Mutex
	free    int
	waiting []*Waiter[T]
}

// NewTurns returns that many places. any goes with one that nobody left.
func NewTurns[T any](places int, any T) *Turns[T] { return &Turns[T]{free: places, any: any} }

// Waiter waits for its turn.
type Waiter[T any] struct {
	turn chan T        // has room for one
	stop chan struct{} // has room for one
}

// NewWaiter returns what Wait waits with, once.
func NewWaiter[T any]() *Waiter[T] { return &Waiter[T]{make(chan T, 1), make(chan struct{}, 1)} }

// End has Wait end without a place. Any goroutine may call it.
func (w *Waiter[T]) End() {
	select {
	case w.stop <- struct{}{}:
	default:
	}
}

// Free is how many places nobody has.
func (t *Turns[T]) Free() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.free
}

// Queued is how many wait.
func (t *Turns[T]) Queued() int { return int(t.queued.Load()) }

// Take takes a place if one is free.
func (t *Turns[T]) Take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return false
	}
	t.free--
	return true
}

// Give gives a place back, with what is there.
func (t *Turns[T]) Give(at T) {
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

// Wait waits for a place, for so long for each one that waits already and once more.
func (t *Turns[T]) Wait(w *Waiter[T], each time.Duration) (at T, ok bool) {
	if t.Take() {
		return t.any, true
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
func (t *Turns[T]) join(w *Waiter[T]) int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 { // since a moment ago
		t.free--
		w.turn <- t.any
		return 1
	}
	t.waiting = append(t.waiting, w)
	return t.queued.Add(1)
}

// quit takes w out of the queue, unless its turn has come meanwhile.
func (t *Turns[T]) quit(w *Waiter[T]) (at T, ok bool) {
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
