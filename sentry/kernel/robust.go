package kernel

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/sentry/abi"
	"gosentry/sentry/futex"

	"golang.org/x/sys/unix"
)

// maxRobust bounds the walk over a robust list (set_robust_list(2)).
const maxRobust = 2048

func putUint32(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }

// FutexWord is a futex's word in the memory of one address space.
type FutexWord struct {
	MM   *mm.MemoryManager
	Addr mm.Addr
}

// Load implements futex.Word.
func (w FutexWord) Load() (uint32, error) { return w.MM.LoadUint32(w.Addr) }

// CompareAndSwap implements futex.Word.
func (w FutexWord) CompareAndSwap(old, new uint32) (uint32, error) {
	return w.MM.CompareAndSwapUint32(w.Addr, old, new)
}

// Fault implements futex.Word: reads and writes bring the page in themselves.
func (w FutexWord) Fault(write bool) error {
	_, err := w.MM.LoadUint32(w.Addr)
	return err
}

// Futexes returns the kernel's futexes.
func (k *Kernel) Futexes() *futex.Manager[mm.FutexKey] { return k.futexes }

// clearChildTID stores 0 where CLONE_CHILD_CLEARTID asked for it and wakes one
// waiter, if others still use the memory.
func (t *Task) clearChildTID(m *mm.MemoryManager) {
	addr := t.clearTID
	t.clearTID = 0
	if addr == 0 || m.Users() < 2 {
		return
	}
	if _, err := m.CopyOut(addr, make([]byte, 4)); err != nil {
		return
	}
	if key, err := m.FutexKey(addr, false); err == nil {
		t.k.futexes.Wake(key, 1, futex.BitsetAll) //nolint:errcheck // nobody to tell
	}
}

// SetRobustList is set_robust_list(2).
func (t *Task) SetRobustList(head mm.Addr) { t.robustList.Store(uint64(head)) }

// RobustList returns what thread id set, 0 meaning t itself; ESRCH, EPERM where t may not look into it.
func (t *Task) RobustList(id int32) (mm.Addr, error) {
	o := t
	if id != 0 {
		var err error
		if o, err = t.inspected(id); err != nil {
			return 0, err
		}
	}
	return mm.Addr(o.robustList.Load()), nil
}

// releaseRobustList marks the futexes on the thread's robust list as left by a
// dead owner. The list is the guest's: it is bounded and never believed.
func (t *Task) releaseRobustList() {
	head := mm.Addr(t.robustList.Swap(0))
	m := t.MM()
	t.k.futexes.OwnerExits(t)
	if head == 0 {
		return
	}
	var b [abi.RobustListHeadSize]byte
	if _, err := m.CopyIn(head, b[:]); err != nil {
		return
	}
	h := abi.DecodeRobustListHead(b[:])
	entry := h.List
	for range maxRobust {
		if entry&^1 == uint64(head) {
			break
		}
		next := uint64(0)
		if _, err := m.CopyIn(mm.Addr(entry&^1), b[:8]); err == nil {
			next = binary.LittleEndian.Uint64(b[:8])
		}
		if entry != h.Pending {
			t.ownerDies(m, entry, h.FutexOffset, false)
		}
		if next == 0 {
			break
		}
		entry = next
	}
	if h.Pending != 0 {
		t.ownerDies(m, h.Pending, h.FutexOffset, true)
	}
}

// ownerDies releases one entry; bit 0 of its address says that it is a PI futex.
func (t *Task) ownerDies(m *mm.MemoryManager, entry uint64, offset int64, pending bool) {
	addr := mm.Addr(entry&^1 + uint64(offset))
	key, err := m.FutexKey(addr, false)
	if err != nil {
		return
	}
	tid := uint32(t.TID())
	t.k.futexes.OwnerDies(key, FutexWord{m, addr}, tid, entry&1 != 0, pending) //nolint:errcheck // nobody to tell
}

// FutexWaiter returns the task's place in a futex's queue; a task waits for one
// at a time.
func (t *Task) FutexWaiter() *futex.Waiter[mm.FutexKey] {
	if t.futexWaiter == nil {
		t.futexWaiter = futex.NewWaiter[mm.FutexKey](func() { t.woken(sleeping) })
	}
	return t.futexWaiter
}

// FutexOwner finds the task that a PI futex's word names; ESRCH, EPERM for the
// kernel's own tasks.
func (t *Task) FutexOwner(tid uint32) (any, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[int32(tid)]
	switch {
	case p == nil || p.task == nil || p.task.exited:
		return nil, unix.ESRCH
	case p.task.main != nil:
		return nil, unix.EPERM
	}
	return p.task, nil
}
