package futex

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// everybody knows tasks by their thread ids up to 100.
func everybody(tid uint32) (any, error) {
	if tid > 100 {
		return nil, unix.ESRCH
	}
	return int(tid), nil
}

func task(tid int) Locker { return Locker{TID: uint32(tid), Self: tid} }

func lockPI(t *testing.T, m *Manager[int], w *Waiter[int], tid int, mem *word, want bool) {
	t.Helper()
	got, err := m.LockPI(w, 1, task(tid), mem, everybody, false)
	if got != want || err != nil {
		t.Fatalf("lock by %d: %v, %v, want %v", tid, got, err, want)
	}
}

func checkWord(t *testing.T, what string, mem *word, want uint32) {
	t.Helper()
	if got := mem.v.Load(); got != want {
		t.Errorf("%s: word %#x, want %#x", what, got, want)
	}
}

func TestPIOwnership(t *testing.T) {
	m := New[int]()
	mem := newWord(0)
	mem.missing.Store(1)
	a, b, c := NewWaiter[int](nil), NewWaiter[int](nil), NewWaiter[int](nil)
	lockPI(t, m, a, 10, mem, true)
	checkWord(t, "taken", mem, 10)
	if _, err := m.LockPI(a, 1, task(10), mem, everybody, false); err != unix.EDEADLK {
		t.Errorf("owner locks again: %v", err)
	}
	if _, err := m.LockPI(b, 1, task(11), mem, everybody, true); err != unix.EAGAIN {
		t.Errorf("trylock: %v", err)
	}
	lockPI(t, m, b, 11, mem, false)
	lockPI(t, m, c, 12, mem, false)
	checkWord(t, "with waiters", mem, 10|Waiters)
	if err := m.UnlockPI(1, task(11), mem); err != unix.EPERM {
		t.Errorf("unlock by another: %v", err)
	}
	if _, err := m.Wake(1, 1, BitsetAll); err != unix.EINVAL {
		t.Errorf("plain wake: %v", err)
	}
	if _, _, err := m.Requeue(1, 2, 1, 1); err != unix.EINVAL {
		t.Errorf("plain requeue: %v", err)
	}
	if err := m.UnlockPI(1, task(10), mem); err != nil {
		t.Fatal(err)
	}
	checkWord(t, "handed over", mem, 11|Waiters)
	checkTold(t, "unlock", []*Waiter[int]{b, c}, 0)
	if got, err := m.FinishPI(b, mem); !got || err != nil {
		t.Errorf("the new owner: %v, %v", got, err)
	}
	if got, _ := m.FinishPI(c, mem); got {
		t.Error("one that gave up owns it")
	}
	if err := m.UnlockPI(1, task(11), mem); err != nil {
		t.Fatal(err)
	}
	checkWord(t, "free", mem, 0)
	if m.piWaiters.Load() != 0 {
		t.Errorf("%d PI waiters counted", m.piWaiters.Load())
	}
}

func TestPIErrors(t *testing.T) {
	m := New[int]()
	w := NewWaiter[int](nil)
	if _, err := m.LockPI(w, 1, task(10), newWord(999), everybody, false); err != unix.ESRCH {
		t.Errorf("owner that does not exist: %v", err)
	}
	if _, err := m.LockPI(w, 1, task(10), &word{gone: true}, everybody, false); err != unix.EFAULT {
		t.Errorf("no memory: %v", err)
	}
	queueUp(t, m, 1, 1, BitsetAll)
	if _, err := m.LockPI(w, 1, task(10), newWord(11), everybody, false); err != unix.EINVAL {
		t.Errorf("a plain waiter is there: %v", err)
	}
	if err := m.UnlockPI(1, task(10), newWord(10)); err != unix.EINVAL {
		t.Errorf("unlock with a plain waiter: %v", err)
	}
	m = New[int]()
	mem := newWord(10)
	lockPI(t, m, w, 11, mem, false)
	mem.v.Store(12)
	if _, err := m.LockPI(NewWaiter[int](nil), 1, task(13), mem, everybody, false); err != unix.EINVAL {
		t.Errorf("a forged owner: %v", err)
	}
	if err := m.UnlockPI(1, task(12), mem); err != unix.EINVAL {
		t.Errorf("unlock by a forged owner: %v", err)
	}
}

func TestPIOwnerDies(t *testing.T) {
	m := New[int]()
	mem := newWord(0)
	a, b, c := NewWaiter[int](nil), NewWaiter[int](nil), NewWaiter[int](nil)
	lockPI(t, m, a, 10, mem, true)
	lockPI(t, m, b, 11, mem, false)
	if err := m.OwnerDies(1, mem, 10, true, false); err != nil {
		t.Fatal(err)
	}
	checkWord(t, "robust list", mem, Waiters|OwnerDied)
	m.OwnerExits(10)
	// b has inherited but not run yet: nobody may find the futex free.
	lockPI(t, m, c, 12, mem, false)
	mem.missing.Store(1)
	checkTold(t, "exit", []*Waiter[int]{b, c}, 0)
	if got, err := m.FinishPI(b, mem); !got || err != nil {
		t.Fatal(got, err)
	}
	checkWord(t, "inherited", mem, 11|Waiters|OwnerDied)
	if err := m.UnlockPI(1, task(11), mem); err != nil {
		t.Fatal(err)
	}
	if got, _ := m.FinishPI(c, mem); !got {
		t.Error("the next one has it not")
	}
	checkWord(t, "next", mem, 12|Waiters)
	m.OwnerExits(12)
}

func TestRobustWord(t *testing.T) {
	for _, c := range []struct {
		name        string
		word, after uint32
		pi, pending bool
		woken       int
	}{
		{"owned with waiters", 10 | Waiters, Waiters | OwnerDied, false, false, 1},
		{"owned", 10, OwnerDied, false, false, 0},
		{"of another", 11 | Waiters, 11 | Waiters, false, false, 0},
		{"free", 0, 0, false, false, 0},
		{"free and pending", 0, 0, false, true, 1},
		{"free and pending, PI", 0, 0, true, true, 0},
	} {
		m := New[int]()
		list := queueUp(t, m, 1, 2, BitsetAll)
		mem := newWord(c.word)
		mem.missing.Store(1)
		if err := m.OwnerDies(1, mem, 10, c.pi, c.pending); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		checkWord(t, c.name, mem, c.after)
		if n := 2 - m.Waiting(1); n != c.woken {
			t.Errorf("%s: woke %d", c.name, n)
		}
		_ = list
	}
}

func TestRequeuePI(t *testing.T) {
	m := New[int]()
	cond, mutex := newWord(3), newWord(0)
	var list []*Waiter[int]
	for tid := 11; tid <= 14; tid++ {
		w := NewWaiter[int](nil)
		list = append(list, w)
		if err := m.WaitRequeuePI(w, 1, cond, 3, BitsetAll, 2, task(tid)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Wake(1, 1, BitsetAll); err != unix.EINVAL {
		t.Errorf("plain wake: %v", err)
	}
	if _, err := m.CmpRequeuePI(1, 3, cond, mutex, 3, 9, everybody); err != unix.EINVAL {
		t.Errorf("another target: %v", err)
	}
	if _, err := m.CmpRequeuePI(1, 2, cond, mutex, 4, 9, everybody); err != unix.EAGAIN {
		t.Errorf("another value: %v", err)
	}
	mutex.missing.Store(1)
	if n, err := m.CmpRequeuePI(1, 2, cond, mutex, 3, 1, everybody); n != 2 || err != nil {
		t.Errorf("moved %d, %v", n, err)
	}
	checkWord(t, "proxy lock", mutex, 11|Waiters)
	checkTold(t, "first", list, 0)
	if got, err := m.FinishPI(list[0], mutex); !got || err != nil {
		t.Error(got, err)
	}
	if n, err := m.CmpRequeuePI(1, 2, cond, mutex, 3, 9, everybody); n != 2 || err != nil {
		t.Errorf("moved %d, %v", n, err)
	}
	for i, tid := range []int{11, 12, 13} {
		if err := m.UnlockPI(2, task(tid), mutex); err != nil {
			t.Fatal(err)
		}
		await(t, list[i+1])
		if got, _ := m.FinishPI(list[i+1], mutex); !got {
			t.Errorf("waiter %d has it not", i+1)
		}
	}
	m.UnlockPI(2, task(14), mutex)
	checkWord(t, "free", mutex, 0)
}

func TestPIMutualExclusion(t *testing.T) {
	m := New[int]()
	mem := newWord(0)
	var wg sync.WaitGroup
	count := 0
	for i := range 6 {
		wg.Go(func() {
			w, me := NewWaiter[int](nil), task(i+1)
			for j := range 1000 {
				got, err := m.LockPI(w, 1, me, mem, everybody, false)
				if err != nil {
					t.Error(err)
					return
				}
				if !got {
					if j%7 != 0 {
						await(t, w)
					}
					if got, _ = m.FinishPI(w, mem); !got {
						continue
					}
				}
				count++
				if err := m.UnlockPI(1, me, mem); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if count == 0 || m.Waiting(1) != 0 || m.piWaiters.Load() != 0 {
		t.Errorf("%d rounds, %d wait", count, m.Waiting(1))
	}
}
