package futex

import "golang.org/x/sys/unix"

// WaitRequeuePI queues w for key, if word has the value val, in order to be
// moved by CmpRequeuePI to the PI futex target, which is to be locked for who.
// FinishPI ends the wait. EINVAL for equal keys, else errors as Wait's.
func (m *Manager[K]) WaitRequeuePI(w *Waiter[K], key K, word Word, val, bitset uint32, target K, who Locker) error {
	if bitset == 0 || key == target {
		return unix.EINVAL
	}
	w.drain()
	m.piWaiters.Add(1)
	err := m.queue(w, key, word, val, bitset, &piWait[K]{locker: who, target: target})
	if err != nil {
		m.piWaiters.Add(-1)
	}
	return err
}

// CmpRequeuePI lets the first waiter of k1 have the PI futex k2 if that is
// free, or wait for it, and moves up to nRequeue others to wait for it, if word1
// has the value val. It returns how many were woken or moved. EAGAIN for another value, EINVAL when a waiter
// of k1 does not wait for k2 in this way, else errors as LockPI's.
func (m *Manager[K]) CmpRequeuePI(k1, k2 K, word1, word2 Word, val uint32, nRequeue int, owners Owners) (n int, err error) {
	if nRequeue < 0 || k1 == k2 {
		return 0, unix.EINVAL
	}
	for range maxFaults {
		n, err = m.requeuePI(k1, k2, word1, word2, val, nRequeue, owners)
		if err != unix.EFAULT {
			return n, err
		}
		if err := word1.Fault(false); err != nil {
			return 0, err
		}
		if err := word2.Fault(true); err != nil {
			return 0, err
		}
	}
	return 0, unix.EFAULT
}

func (m *Manager[K]) requeuePI(k1, k2 K, word1, word2 Word, val uint32, nRequeue int, owners Owners) (int, error) {
	b1, b2 := m.lockTwo(k1, k2)
	defer unlockTwo(b1, b2)
	found, err := word1.Load()
	if err != nil {
		return 0, err
	}
	if found != val {
		return 0, unix.EAGAIN
	}
	top := b1.first(k1)
	if top == nil {
		return 0, nil
	}
	if !top.movableTo(k2) {
		return 0, unix.EINVAL
	}
	mark := uint32(0)
	if nRequeue > 0 {
		mark = Waiters
	}
	state, err := b2.acquire(k2, top.pi.locker, word2, owners, mark)
	if err != nil {
		return 0, err
	}
	n, limit := 0, nRequeue+1
	if state == nil {
		state = &piState{}
		top.pi.state = state
		top.key = k2
		b1.grant(top)
		n, limit = 1, nRequeue
	}
	moved, err := b1.movePI(b2, k1, k2, state, limit)
	return n + moved, err
}

// movePI moves up to limit waiters of k1 to the PI futex k2.
func (b1 *bucket[K]) movePI(b2 *bucket[K], k1, k2 K, state *piState, limit int) (int, error) {
	moved := 0
	for w := b1.head; w != nil && moved < limit; {
		next := w.next
		if w.key == k1 {
			if !w.movableTo(k2) {
				return moved, unix.EINVAL
			}
			w.pi.state = state
			b1.move(w, b2, k2)
			moved++
		}
		w = next
	}
	return moved, nil
}

// movableTo tells whether w waits to be moved to the PI futex key.
func (w *Waiter[K]) movableTo(key K) bool {
	return w.pi != nil && w.pi.state == nil && w.pi.target == key
}
