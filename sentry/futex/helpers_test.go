package futex

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// word is a word of memory whose page can be missing: it fails until it is
// brought in, as often as missing says.
type word struct {
	v       atomic.Uint32
	missing atomic.Int32
	faults  atomic.Int32
	gone    bool
}

func newWord(v uint32) *word {
	w := new(word)
	w.v.Store(v)
	return w
}

func (w *word) Load() (uint32, error) {
	if w.gone || w.missing.Load() > 0 {
		return 0, unix.EFAULT
	}
	return w.v.Load(), nil
}

func (w *word) CompareAndSwap(old, new uint32) (uint32, error) {
	if w.gone || w.missing.Load() > 0 {
		return 0, unix.EFAULT
	}
	for {
		if w.v.CompareAndSwap(old, new) {
			return old, nil
		}
		if v := w.v.Load(); v != old {
			return v, nil
		}
	}
}

func (w *word) Fault(bool) error {
	w.faults.Add(1)
	if w.gone {
		return unix.EFAULT
	}
	w.missing.Add(-1)
	return nil
}

// queueUp makes n waiters wait for key, in order.
func queueUp(t *testing.T, m *Manager[int], key, n int, bitset uint32) []*Waiter[int] {
	t.Helper()
	list := make([]*Waiter[int], n)
	for i := range list {
		list[i] = NewWaiter[int](nil)
		if err := m.Wait(list[i], key, newWord(1), 1, bitset); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// told tells whether w's channel has received.
func told(w *Waiter[int]) bool {
	select {
	case <-w.C:
		return true
	default:
		return false
	}
}

// checkTold compares which waiters were told.
func checkTold(t *testing.T, what string, list []*Waiter[int], want ...int) {
	t.Helper()
	expected := make(map[int]bool)
	for _, i := range want {
		expected[i] = true
	}
	for i, w := range list {
		if got := told(w); got != expected[i] {
			t.Errorf("%s: waiter %d told: %v", what, i, got)
		}
	}
}

// await fails the test when w is not told soon.
func await(t *testing.T, w *Waiter[int]) {
	t.Helper()
	select {
	case <-w.C:
	case <-time.After(time.Minute):
		t.Fatal("lost wake-up")
	}
}
