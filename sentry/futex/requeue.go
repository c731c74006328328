package futex

import "golang.org/x/sys/unix"

// Requeue wakes up to nWake waiters of k1 and moves up to nRequeue more to k2.
// It returns how many were woken and how many moved. EINVAL for negative
// numbers or when a waiter for a PI futex is met.
func (m *Manager[K]) Requeue(k1, k2 K, nWake, nRequeue int) (woken, moved int, err error) {
	if nWake < 0 || nRequeue < 0 {
		return 0, 0, unix.EINVAL
	}
	b1, b2 := m.lockTwo(k1, k2)
	defer unlockTwo(b1, b2)
	return b1.requeue(b2, k1, k2, nWake, nRequeue)
}

// CmpRequeue is Requeue if word, k1's, has the value val; EAGAIN otherwise.
func (m *Manager[K]) CmpRequeue(k1, k2 K, word Word, val uint32, nWake, nRequeue int) (woken, moved int, err error) {
	if nWake < 0 || nRequeue < 0 {
		return 0, 0, unix.EINVAL
	}
	err = retry(word, false, func() error {
		b1, b2 := m.lockTwo(k1, k2)
		defer unlockTwo(b1, b2)
		found, err := word.Load()
		if err != nil {
			return err
		}
		if found != val {
			return unix.EAGAIN
		}
		woken, moved, err = b1.requeue(b2, k1, k2, nWake, nRequeue)
		return err
	})
	return woken, moved, err
}

func (b1 *bucket[K]) requeue(b2 *bucket[K], k1, k2 K, nWake, nRequeue int) (woken, moved int, err error) {
	for w := b1.head; w != nil; {
		next := w.next
		if w.key == k1 {
			switch {
			case w.pi != nil:
				return woken, moved, unix.EINVAL
			case woken < nWake:
				b1.wake(w)
				woken++
			case moved < nRequeue:
				b1.move(w, b2, k2)
				moved++
			default:
				return woken, moved, nil
			}
		}
		w = next
	}
	return woken, moved, nil
}

// move lets w wait for key in b2. Both buckets are locked. Within one bucket w
// keeps its place, so that a walk over the list meets it once.
func (b1 *bucket[K]) move(w *Waiter[K], b2 *bucket[K], key K) {
	if b1 == b2 {
		w.key = key
		return
	}
	b1.unlink(w)
	b2.push(w, key)
}

// Operations and comparisons of FUTEX_WAKE_OP.
const (
	opSet = iota
	opAdd
	opOr
	opAndNot
	opXor
	opCount

	// opShift says that the operand is a bit number.
	opShift = 8
)

const (
	cmpEQ = iota
	cmpNE
	cmpLT
	cmpLE
	cmpGT
	cmpGE
	cmpCount
)

// wakeOp is the decoded third argument of FUTEX_WAKE_OP.
type wakeOp struct {
	op, cmp     uint32
	arg, cmpArg int32
}

func decodeWakeOp(encoded uint32) (wakeOp, error) {
	o := wakeOp{
		op:     encoded >> 28 &^ opShift,
		cmp:    encoded >> 24 & 0xf,
		arg:    int32(encoded<<8) >> 20,
		cmpArg: int32(encoded<<20) >> 20,
	}
	if o.op >= opCount {
		return wakeOp{}, unix.ENOSYS
	}
	if encoded>>28&opShift != 0 {
		o.arg = 1 << uint(o.arg&31)
	}
	return o, nil
}

// apply returns what the operation makes of old.
func (o wakeOp) apply(old uint32) uint32 {
	arg := uint32(o.arg)
	switch o.op {
	case opSet:
		return arg
	case opAdd:
		return old + arg
	case opOr:
		return old | arg
	case opAndNot:
		return old &^ arg
	}
	return old ^ arg
}

// holds tells whether old compares as asked.
func (o wakeOp) holds(old uint32) bool {
	v := int32(old)
	switch o.cmp {
	case cmpEQ:
		return v == o.cmpArg
	case cmpNE:
		return v != o.cmpArg
	case cmpLT:
		return v < o.cmpArg
	case cmpLE:
		return v <= o.cmpArg
	case cmpGT:
		return v > o.cmpArg
	}
	return v >= o.cmpArg
}

// WakeOp changes word2, k2's, as the encoded operation says, wakes up to n1
// waiters of k1 and, if the old value compares as asked, up to n2 of k2; it
// returns how many in all. ENOSYS for an unknown operation, and for an unknown
// comparison, which Linux only finds once the word is changed.
func (m *Manager[K]) WakeOp(k1, k2 K, word2 Word, n1, n2 int, encoded uint32) (woken int, err error) {
	op, err := decodeWakeOp(encoded)
	if err != nil {
		return 0, err
	}
	err = retry(word2, true, func() error {
		b1, b2 := m.lockTwo(k1, k2)
		defer unlockTwo(b1, b2)
		old, err := update(word2, op.apply)
		if err != nil {
			return err
		}
		if op.cmp >= cmpCount {
			return unix.ENOSYS
		}
		woken, err = b1.wakeSome(k1, n1, BitsetAll)
		if err != nil || !op.holds(old) {
			return err
		}
		more, err := b2.wakeSome(k2, n2, BitsetAll)
		woken += more
		return err
	})
	return woken, err
}

// update changes word by f and returns its old value. EAGAIN when other threads
// keep changing it.
func update(word Word, f func(uint32) uint32) (uint32, error) {
	old, err := word.Load()
	if err != nil {
		return 0, err
	}
	for range maxChanges {
		found, err := word.CompareAndSwap(old, f(old))
		if err != nil {
			return 0, err
		}
		if found == old {
			return old, nil
		}
		old = found
	}
	return 0, unix.EAGAIN
}

// maxChanges bounds the attempts at a word that other threads change without
// end, for a bucket is locked meanwhile.
const maxChanges = 1 << 10
