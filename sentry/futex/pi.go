package futex

import "golang.org/x/sys/unix"

// Bits of a PI or robust futex's word.
const (
	Waiters   uint32 = 0x80000000 // FUTEX_WAITERS
	OwnerDied uint32 = 0x40000000 // FUTEX_OWNER_DIED
	TIDMask   uint32 = 0x3fffffff // the owner's thread id, 0 for nobody
)

// Locker is a task that locks a PI futex: the id that stands for it in the word, and
// its identity, any comparable value.
type Locker struct {
	TID  uint32
	Self any
}

// Owners finds the identity of the task that a word names as owner: ESRCH when
// there is none, EPERM when it may not own futexes, EAGAIN while it exits. It is
// called with a bucket locked and must not call back.
type Owners func(tid uint32) (any, error)

// piState is a PI futex with waiters. The lock of its key's bucket guards it.
type piState struct {
	owner any
	// changing says that the owner has yet to write itself into the word.
	changing bool
}

// piWait is what a Waiter for ownership has besides.
type piWait[K comparable] struct {
	locker Locker
	// state is nil as long as the waiter waits to be moved to target.
	state  *piState
	target K

	acquired bool
	// repair is set when the former owner died: the new one writes the word.
	repair bool
}

// first returns the first waiter of key.
func (b *bucket[K]) first(key K) *Waiter[K] {
	for w := b.head; w != nil; w = w.next {
		if w.key == key {
			return w
		}
	}
	return nil
}

// acquire takes the futex for who, with mark set in the word, if it is free. Otherwise it
// says that there are waiters in the word and returns the state to wait on.
func (b *bucket[K]) acquire(key K, who Locker, word Word, owners Owners, mark uint32) (*piState, error) {
	cur, err := word.Load()
	if err != nil {
		return nil, err
	}
	for range maxChanges {
		next := cur | Waiters
		top := b.first(key)
		switch {
		case cur&TIDMask == who.TID:
			return nil, unix.EDEADLK
		case top != nil:
			return top.join(cur, who, owners)
		case cur&TIDMask == 0:
			next = cur&OwnerDied | who.TID | mark
		}
		found, err := word.CompareAndSwap(cur, next)
		if err != nil {
			return nil, err
		}
		if found != cur {
			cur = found
			continue
		}
		if cur&TIDMask == 0 {
			return nil, nil
		}
		owner, err := owners(cur & TIDMask)
		if err != nil {
			return nil, err
		}
		return &piState{owner: owner}, nil
	}
	return nil, unix.EAGAIN
}

// join returns the state of a futex that has waiters, top the first of them,
// after a look whether the word agrees with it.
func (top *Waiter[K]) join(cur uint32, who Locker, owners Owners) (*piState, error) {
	if top.pi == nil || top.pi.state == nil {
		return nil, unix.EINVAL
	}
	state := top.pi.state
	if state.owner == who.Self {
		return nil, unix.EDEADLK
	}
	if state.changing || cur&TIDMask == 0 && cur&OwnerDied != 0 {
		return state, nil
	}
	owner, err := owners(cur & TIDMask)
	if err != nil || owner != state.owner {
		return nil, unix.EINVAL
	}
	return state, nil
}

// LockPI takes the futex key for who. It reports true when it has it at once;
// otherwise w is queued, and FinishPI is to be called after w's channel, a timer
// or a signal. EDEADLK when who has it already, ESRCH, EPERM and EAGAIN from
// owners, EINVAL when word and waiters disagree, EFAULT. With try it never
// queues: EAGAIN when another has it.
func (m *Manager[K]) LockPI(w *Waiter[K], key K, who Locker, word Word, owners Owners, try bool) (acquired bool, err error) {
	w.drain()
	b := m.bucket(key)
	err = retry(word, true, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		state, err := b.acquire(key, who, word, owners, 0)
		if err != nil {
			return err
		}
		if state == nil {
			acquired = true
			return nil
		}
		if try {
			return unix.EAGAIN
		}
		w.arm(BitsetAll)
		w.pi = &piWait[K]{locker: who, state: state}
		m.piWaiters.Add(1)
		b.push(w, key)
		return nil
	})
	return acquired, err
}

// FinishPI ends a wait begun with LockPI or WaitRequeuePI and tells whether w's
// task has the futex now. It must be called, by a task that is being killed
// too. word is that of the futex that is locked. The error, EFAULT, comes with
// ownership: the word could not be repaired after its owner's death.
func (m *Manager[K]) FinishPI(w *Waiter[K], word Word) (acquired bool, err error) {
	m.piWaiters.Add(-1)
	b := w.lockBucket()
	if b == nil {
		return w.pi.acquired, nil
	}
	defer b.mu.Unlock()
	if !w.pi.repair {
		b.drop(w)
		return false, nil
	}
	err = b.repair(w, word)
	w.pi.state.changing = false
	b.drop(w)
	return true, err
}

// repair writes w's task into the word of a dead owner. The bucket is locked before
// and after, but not while a page is brought in; w stays where it is.
func (b *bucket[K]) repair(w *Waiter[K], word Word) error {
	next := OwnerDied | Waiters | w.pi.locker.TID
	for range maxFaults {
		_, err := update(word, func(uint32) uint32 { return next })
		if err != unix.EFAULT {
			return err
		}
		b.mu.Unlock()
		err = word.Fault(true)
		b.mu.Lock()
		if err != nil {
			return err
		}
	}
	return unix.EFAULT
}

// grant makes w, first of its key, the owner.
func (b *bucket[K]) grant(w *Waiter[K]) {
	w.pi.state.owner = w.pi.locker.Self
	w.pi.acquired = true
	b.wake(w)
}

// inherit makes w the owner after the former one died. It stays queued until it has
// written itself into the word, so that nobody finds the futex free meanwhile.
func (b *bucket[K]) inherit(w *Waiter[K]) {
	w.pi.state.owner = w.pi.locker.Self
	w.pi.state.changing = true
	w.pi.repair = true
	w.notify()
}

// UnlockPI gives the futex key, which who has, to the first waiter, or frees
// it. EPERM when the word does not name who, EINVAL when the waiters say
// otherwise, EFAULT.
func (m *Manager[K]) UnlockPI(key K, who Locker, word Word) error {
	b := m.bucket(key)
	return retry(word, true, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		top := b.first(key)
		next := uint32(0)
		if top != nil {
			if top.pi == nil || top.pi.state == nil {
				return unix.EINVAL
			}
			next = Waiters | top.pi.locker.TID
		}
		return b.release(top, who, word, next)
	})
}

// release puts next into the word, if it names who, and makes top the owner.
func (b *bucket[K]) release(top *Waiter[K], who Locker, word Word, next uint32) error {
	cur, err := word.Load()
	if err != nil {
		return err
	}
	for range maxChanges {
		if cur&TIDMask != who.TID {
			return unix.EPERM
		}
		if top != nil && top.pi.state.owner != who.Self {
			return unix.EINVAL
		}
		found, err := word.CompareAndSwap(cur, next)
		if err != nil {
			return err
		}
		if found == cur {
			if top != nil {
				b.grant(top)
			}
			return nil
		}
		cur = found
	}
	return unix.EAGAIN
}

// OwnerExits hands every PI futex that has waiters and belongs to the exiting
// task on to its first waiter. It comes after the robust list.
func (m *Manager[K]) OwnerExits(self any) {
	if m.piWaiters.Load() == 0 {
		return
	}
	for i := range m.buckets {
		b := &m.buckets[i]
		b.mu.Lock()
		for w := b.head; w != nil; w = w.next {
			if w.pi != nil && w.pi.state != nil && w.pi.state.owner == self {
				b.inherit(w)
			}
		}
		b.mu.Unlock()
	}
}
