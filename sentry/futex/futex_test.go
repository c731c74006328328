package futex

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWaitCompares(t *testing.T) {
	m := New[int]()
	w := NewWaiter[int](nil)
	if err := m.Wait(w, 1, newWord(5), 6, BitsetAll); err != unix.EAGAIN {
		t.Errorf("other value: %v, want EAGAIN", err)
	}
	if err := m.Wait(w, 1, newWord(5), 5, 0); err != unix.EINVAL {
		t.Errorf("empty bitset: %v, want EINVAL", err)
	}
	if err := m.Wait(w, 1, &word{gone: true}, 5, BitsetAll); err != unix.EFAULT {
		t.Errorf("no memory: %v, want EFAULT", err)
	}
	if m.Waiting(1) != 0 {
		t.Error("a refused wait is queued")
	}
	far := newWord(5)
	far.missing.Store(2)
	if err := m.Wait(w, 1, far, 5, BitsetAll); err != nil || far.faults.Load() != 2 {
		t.Errorf("page brought in: %v after %d faults", err, far.faults.Load())
	}
	m.Cancel(w)
	far.missing.Store(1 << 30)
	if err := m.Wait(w, 1, far, 5, BitsetAll); err != unix.EFAULT {
		t.Errorf("a page that is taken away for ever: %v", err)
	}
}

func TestWakeCountsInOrder(t *testing.T) {
	m := New[int]()
	list := queueUp(t, m, 1, 5, BitsetAll)
	other := queueUp(t, m, 2, 1, BitsetAll)
	for _, c := range []struct{ n, want int }{{2, 2}, {0, 1}, {-1, 1}, {100, 1}, {1, 0}} {
		if got, err := m.Wake(1, c.n, BitsetAll); got != c.want || err != nil {
			t.Errorf("wake %d: %d, %v, want %d", c.n, got, err, c.want)
		}
		if c.n == 2 {
			checkTold(t, "first two", list, 0, 1)
		}
	}
	checkTold(t, "the rest", list, 2, 3, 4)
	checkTold(t, "another futex", other)
	if _, err := m.Wake(1, 1, 0); err != unix.EINVAL {
		t.Errorf("empty bitset: %v", err)
	}
}

func TestBitsets(t *testing.T) {
	m := New[int]()
	list := append(queueUp(t, m, 1, 2, 0b01), queueUp(t, m, 1, 2, 0b10)...)
	if n, _ := m.Wake(1, 10, 0b100); n != 0 {
		t.Errorf("woke %d that wait for other bits", n)
	}
	if n, _ := m.Wake(1, 10, 0b110); n != 2 {
		t.Errorf("woke %d, want 2", n)
	}
	checkTold(t, "second bit", list, 2, 3)
	if n, _ := m.Wake(1, 10, BitsetAll); n != 2 {
		t.Errorf("woke %d, want the rest", n)
	}
}

func TestCancel(t *testing.T) {
	m := New[int]()
	list := queueUp(t, m, 1, 3, BitsetAll)
	if m.Cancel(list[1]) {
		t.Error("a waiter that was not woken says so")
	}
	m.Wake(1, 1, BitsetAll)
	if !m.Cancel(list[0]) {
		t.Error("a woken waiter does not know")
	}
	// The token of the first wait must not end the second.
	if err := m.Wait(list[0], 1, newWord(1), 1, BitsetAll); err != nil {
		t.Fatal(err)
	}
	checkTold(t, "new wait", list[:1])
	if m.Waiting(1) != 2 || m.Cancel(list[0]) || m.Cancel(list[2]) || m.Waiting(1) != 0 {
		t.Error("waiters are not where they should be")
	}
}

func TestSharedChannel(t *testing.T) {
	m := New[int]()
	ch := make(chan struct{}, 1)
	a, b := &Waiter[int]{C: ch}, &Waiter[int]{C: ch}
	m.Wait(a, 1, newWord(0), 0, BitsetAll)
	m.Wake(1, 1, BitsetAll)
	if err := m.WaitMore(b, 2, newWord(0), 0, BitsetAll); err != nil {
		t.Fatal(err)
	}
	if len(ch) != 1 {
		t.Error("the token of the first waiter is lost")
	}
	if !m.Cancel(a) || m.Cancel(b) {
		t.Error("who was woken")
	}
}

func TestRequeue(t *testing.T) {
	for _, target := range []int{2, 1} {
		m := New[int]()
		list := queueUp(t, m, 1, 6, BitsetAll)
		woken, moved, err := m.Requeue(1, target, 2, 3)
		if woken != 2 || moved != 3 || err != nil {
			t.Errorf("to %d: woken %d, moved %d, %v", target, woken, moved, err)
		}
		checkTold(t, "requeue", list, 0, 1)
		if target == 2 && (m.Waiting(1) != 1 || m.Waiting(2) != 3) {
			t.Errorf("%d and %d wait", m.Waiting(1), m.Waiting(2))
		}
		if target == 2 {
			m.Wake(2, 1, BitsetAll)
			checkTold(t, "moved", list, 2)
			if m.Cancel(list[3]) || m.Waiting(2) != 1 {
				t.Error("cancel of one that was moved")
			}
		}
	}
}

func TestRequeueToEveryBucket(t *testing.T) {
	m := New[int]()
	for target := range 500 {
		list := queueUp(t, m, -1, 3, BitsetAll)
		if _, moved, _ := m.Requeue(-1, target, 0, 9); moved != 3 {
			t.Fatalf("moved %d", moved)
		}
		if n, _ := m.Wake(target, 9, BitsetAll); n != 3 {
			t.Fatalf("target %d: woke %d", target, n)
		}
		checkTold(t, "moved", list, 0, 1, 2)
	}
}

func TestCmpRequeue(t *testing.T) {
	m := New[int]()
	list := queueUp(t, m, 1, 3, BitsetAll)
	if _, _, err := m.CmpRequeue(1, 2, newWord(7), 8, 1, 1); err != unix.EAGAIN {
		t.Errorf("other value: %v", err)
	}
	if _, _, err := m.CmpRequeue(1, 2, newWord(7), 7, -1, 1); err != unix.EINVAL {
		t.Errorf("negative count: %v", err)
	}
	if _, _, err := m.Requeue(1, 2, 1, -1); err != unix.EINVAL {
		t.Errorf("negative count: %v", err)
	}
	checkTold(t, "refused", list)
	far := newWord(7)
	far.missing.Store(1)
	if woken, moved, err := m.CmpRequeue(1, 2, far, 7, 1, 1<<30); woken != 1 || moved != 2 || err != nil {
		t.Errorf("woken %d, moved %d, %v", woken, moved, err)
	}
}

func TestNoLostWakeups(t *testing.T) {
	// A mutex as in "Futexes are tricky": 0 free, 1 taken, 2 taken with waiters.
	m := New[int]()
	var mutex word
	var wg sync.WaitGroup
	inside, done := atomic.Int32{}, 0
	lock := func(w *Waiter[int]) {
		if mutex.v.CompareAndSwap(0, 1) {
			return
		}
		for mutex.v.Swap(2) != 0 {
			if m.Wait(w, 1, &mutex, 2, BitsetAll) == nil {
				await(t, w)
				m.Cancel(w)
			}
		}
	}
	unlock := func() {
		if mutex.v.Swap(0) == 2 {
			m.Wake(1, 1, BitsetAll)
		}
	}
	const tasks, rounds = 8, 1000
	for range tasks {
		wg.Go(func() {
			w := NewWaiter[int](nil)
			for range rounds {
				lock(w)
				if inside.Add(1) != 1 {
					t.Error("two inside")
				}
				done++
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if done != tasks*rounds {
		t.Errorf("%d rounds, want %d", done, tasks*rounds)
	}
}

func TestWakesRequeuesAndCancelsTogether(t *testing.T) {
	// Every wait ends exactly once, by wake or cancel, while waiters move about.
	m := New[int]()
	var wg, movers sync.WaitGroup
	stop := make(chan struct{})
	var woken, counted atomic.Int64
	for i := range 2 {
		movers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, _, _ := m.Requeue(i, 1-i, 1, 2)
				k, _ := m.Wake(i, 1, BitsetAll)
				counted.Add(int64(n + k))
				if n+k == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for i := range 4 {
		wg.Go(func() {
			w := NewWaiter[int](nil)
			for j := range 1500 {
				if err := m.Wait(w, i%2, newWord(0), 0, BitsetAll); err != nil {
					t.Error(err)
				}
				if j%2 == 0 {
					await(t, w)
				}
				if m.Cancel(w) {
					woken.Add(1)
				} else if j%2 == 0 {
					t.Error("told but not woken")
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	movers.Wait()
	if woken.Load() != counted.Load() {
		t.Errorf("%d were woken, %d counted", woken.Load(), counted.Load())
	}
	if m.Waiting(0)+m.Waiting(1) != 0 {
		t.Error("somebody is left")
	}
}

func BenchmarkWaitWakeCancel(b *testing.B) {
	m := New[[3]uint64]()
	w, mem := NewWaiter[[3]uint64](nil), newWord(0)
	for b.Loop() {
		m.Wait(w, [3]uint64{1, 2, 3}, mem, 0, BitsetAll)
		m.Wake([3]uint64{1, 2, 3}, 1, BitsetAll)
		m.Cancel(w)
	}
}
