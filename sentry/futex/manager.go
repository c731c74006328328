package futex

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// BitsetAll is the bitset of plain waits and wakes (FUTEX_BITSET_MATCH_ANY).
const BitsetAll = ^uint32(0)

const (
	bucketCount = 256
	// maxFaults bounds how often a call starts over when other threads keep
	// taking the page away.
	maxFaults = 32
)

// Word is one 32-bit word of guest memory.
type Word interface {
	// Load reads the word atomically. It may be called with locks held and does
	// not wait: EFAULT when the page is not there.
	Load() (uint32, error)
	// CompareAndSwap puts new in place of old and returns the value found, which
	// is old if it was done. EFAULT as for Load.
	CompareAndSwap(old, new uint32) (found uint32, err error)
	// Fault brings the page in, writable if it is to be written. It may wait.
	// EFAULT when there is no such page.
	Fault(write bool) error
}

// Waiter is one task's place in the queue of a futex. It can be used again
// after Cancel.
type Waiter[K comparable] struct {
	// C receives when the waiter is woken.
	C chan struct{}
	// tell, unless nil, is called before that: the waiter's task is about to go on.
	tell func()

	// bucket is nil when the waiter is in no queue. It changes under the lock of
	// the bucket that it names.
	bucket atomic.Pointer[bucket[K]]

	// Guarded by the bucket's lock.
	prev, next *Waiter[K]
	key        K
	bitset     uint32
	woken      bool
	pi         *piWait[K]
}

// NewWaiter returns a waiter with a channel of its own. tell, unless nil, is called when the waiter is woken; it must not block.
func NewWaiter[K comparable](tell func()) *Waiter[K] {
	return &Waiter[K]{C: make(chan struct{}, 1), tell: tell}
}

func (w *Waiter[K]) notify() {
	if w.tell != nil {
		w.tell()
	}
	select {
	case w.C <- struct{}{}:
	default:
	}
}

type bucket[K comparable] struct {
	index int

	mu sync.Mutex
	// Guarded by mu: waiters of all keys that hash here, in order of arrival.
	head, tail *Waiter[K]
}

// Manager holds the waiters of all futexes of one kernel. Make it with New.
type Manager[K comparable] struct {
	seed    maphash.Seed
	buckets [bucketCount]bucket[K]
	// piWaiters counts queued waiters for ownership, so that the exit of a task
	// costs nothing where there are none.
	piWaiters atomic.Int64
}

// New returns a manager without waiters. K names a futex.
func New[K comparable]() *Manager[K] {
	m := &Manager[K]{seed: maphash.MakeSeed()}
	for i := range m.buckets {
		m.buckets[i].index = i
	}
	return m
}

func (m *Manager[K]) bucket(key K) *bucket[K] {
	return &m.buckets[maphash.Comparable(m.seed, key)%bucketCount]
}

// lockTwo locks the buckets of two keys, which may be one.
func (m *Manager[K]) lockTwo(k1, k2 K) (b1, b2 *bucket[K]) {
	b1, b2 = m.bucket(k1), m.bucket(k2)
	switch {
	case b1 == b2:
		b1.mu.Lock()
	case b1.index < b2.index:
		b1.mu.Lock()
		b2.mu.Lock()
	default:
		b2.mu.Lock()
		b1.mu.Lock()
	}
	return b1, b2
}

func unlockTwo[K comparable](b1, b2 *bucket[K]) {
	b1.mu.Unlock()
	if b1 != b2 {
		b2.mu.Unlock()
	}
}

// push queues w, which is in no queue, for key.
func (b *bucket[K]) push(w *Waiter[K], key K) {
	w.key = key
	w.prev, w.next = b.tail, nil
	if b.tail != nil {
		b.tail.next = w
	} else {
		b.head = w
	}
	b.tail = w
	w.bucket.Store(b)
}

// unlink takes w out of b's list; w still names b as its bucket.
func (b *bucket[K]) unlink(w *Waiter[K]) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.tail = w.prev
	}
	w.prev, w.next = nil, nil
}

// wake takes w out of the queue and tells it. Its last touch of w is that w is
// in no bucket, since w's owner may use w again from then on.
func (b *bucket[K]) wake(w *Waiter[K]) {
	w.woken = true
	b.unlink(w)
	w.notify()
	w.bucket.Store(nil)
}

// retry runs try, which fails with EFAULT where a page is missing, and brings
// word's page in between.
func retry(word Word, write bool, try func() error) error {
	for range maxFaults {
		err := try()
		if err != unix.EFAULT {
			return err
		}
		if err := word.Fault(write); err != nil {
			return err
		}
	}
	return unix.EFAULT
}

// arm readies w, which is in no queue, for a new wait.
func (w *Waiter[K]) arm(bitset uint32) {
	w.bitset, w.woken, w.pi = bitset, false, nil
}

// Wait queues w for key if the word has the value val; then w is to be given to
// Cancel. bitset says which wakes count. EAGAIN when the word has another value,
// EINVAL for an empty bitset, EFAULT.
func (m *Manager[K]) Wait(w *Waiter[K], key K, word Word, val, bitset uint32) error {
	if bitset == 0 {
		return unix.EINVAL
	}
	w.drain()
	return m.queue(w, key, word, val, bitset, nil)
}

// WaitMore is Wait for a further waiter on a channel that already has waiters:
// a token that lies there stays.
func (m *Manager[K]) WaitMore(w *Waiter[K], key K, word Word, val, bitset uint32) error {
	if bitset == 0 {
		return unix.EINVAL
	}
	return m.queue(w, key, word, val, bitset, nil)
}

// drain takes a token out of the channel that a former wait left.
func (w *Waiter[K]) drain() {
	select {
	case <-w.C:
	default:
	}
}

func (m *Manager[K]) queue(w *Waiter[K], key K, word Word, val, bitset uint32, pi *piWait[K]) error {
	b := m.bucket(key)
	return retry(word, false, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		found, err := word.Load()
		if err != nil {
			return err
		}
		if found != val {
			return unix.EAGAIN
		}
		w.arm(bitset)
		w.pi = pi
		b.push(w, key)
		return nil
	})
}

// lockBucket locks the bucket that w is queued in and returns it, nil when w is
// in none: only a wake takes it out, and is done with w then.
func (w *Waiter[K]) lockBucket() *bucket[K] {
	for {
		b := w.bucket.Load()
		if b == nil {
			return nil
		}
		b.mu.Lock()
		if w.bucket.Load() == b {
			return b
		}
		b.mu.Unlock()
	}
}

// Cancel ends a wait begun with Wait and tells whether w was woken.
func (m *Manager[K]) Cancel(w *Waiter[K]) (woken bool) {
	b := w.lockBucket()
	if b == nil {
		return w.woken
	}
	b.drop(w)
	b.mu.Unlock()
	return false
}

// drop takes w out of the queue untold.
func (b *bucket[K]) drop(w *Waiter[K]) {
	b.unlink(w)
	w.bucket.Store(nil)
}

// Wake wakes up to n waiters of key whose bitset meets bitset, in order of
// arrival, and returns how many. As in Linux n below 1 wakes one. EINVAL for an
// empty bitset or when a waiter for a PI futex is met.
func (m *Manager[K]) Wake(key K, n int, bitset uint32) (int, error) {
	if bitset == 0 {
		return 0, unix.EINVAL
	}
	b := m.bucket(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wakeSome(key, n, bitset)
}

func (b *bucket[K]) wakeSome(key K, n int, bitset uint32) (int, error) {
	woken := 0
	for w := b.head; w != nil; {
		next := w.next
		if w.key == key {
			if w.pi != nil {
				return woken, unix.EINVAL
			}
			if w.bitset&bitset != 0 {
				b.wake(w)
				if woken++; woken >= n {
					break
				}
			}
		}
		w = next
	}
	return woken, nil
}

// Waiting is the number of waiters of key.
func (m *Manager[K]) Waiting(key K) int {
	b := m.bucket(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for w := b.head; w != nil; w = w.next {
		if w.key == key {
			n++
		}
	}
	return n
}
