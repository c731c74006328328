package ipc

import (
	"container/list"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// semMax is the largest value of a semaphore (SEMVMX), and of an adjustment (SEMAEM).
	semMax = 32767
	// maxSemOps bounds what SEMOPM may be set to, and with it what one waiter costs.
	maxSemOps = 4096
)

// Semaphores are the sets of semaphores of a namespace.
type Semaphores struct {
	config *Config
	limits *limits

	// mu guards the registry, all sets in it and the undo lists that have adjustments for them.
	mu   sync.Mutex
	sets registry[*semSet]
	used int64 // semaphores in all sets
}

// semSet is one set. Its fields are guarded by Semaphores.mu.
type semSet struct {
	Perm
	sems         []semaphore
	otime, ctime int64
	// queue holds the waiters (*SemWait), first come first served.
	queue list.List
	undos map[*UndoList][]int16
}

type semaphore struct {
	value int32
	last  Process // who changed it last
}

func (s *semSet) perm() *Perm { return &s.Perm }

func (s *semSet) cost() int { return objectCost + 24*len(s.sems) }

// Get is semget(2) for a set of n semaphores; it returns the id.
func (s *Semaphores) Get(c Caller, g Get, n int32) (int32, error) {
	l := s.limits.get()
	if n < 0 || int64(n) > l.SemMSL {
		return 0, unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := func(set *semSet) error {
		if int(n) > len(set.sems) {
			return unix.EINVAL
		}
		return nil
	}
	set, err := s.sets.get(g, &c, s.config.Owner, fits, func(p Perm) (*semSet, error) {
		return s.newSet(p, int(n), l)
	}, uint64(l.SemMNI))
	if err != nil {
		return 0, err
	}
	return set.ID, nil
}

func (s *Semaphores) newSet(p Perm, n int, l Limits) (*semSet, error) {
	switch {
	case n == 0:
		return nil, unix.EINVAL
	case s.used+int64(n) > l.SemMNS:
		return nil, unix.ENOSPC
	}
	set := &semSet{Perm: p, ctime: s.config.Now(), undos: make(map[*UndoList][]int16)}
	if err := s.config.Budget.Take(objectCost + 24*n); err != nil {
		return nil, err
	}
	set.sems = make([]semaphore, n)
	s.used += int64(n)
	return set, nil
}

// removeLocked ends a set: waiters get EIDRM, adjustments are forgotten.
func (s *Semaphores) removeLocked(set *semSet) {
	s.sets.remove(set)
	for e := set.queue.Front(); e != nil; e = set.queue.Front() {
		e.Value.(*SemWait).finishLocked(unix.EIDRM)
	}
	for u := range set.undos {
		s.dropUndoLocked(set, u)
	}
	s.used -= int64(len(set.sems))
	s.config.Budget.Give(set.cost())
}

func (s *Semaphores) removeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.sets.slots.Values() {
		s.removeLocked(set)
	}
}

// SemOp is one operation of semop(2).
type SemOp struct {
	Num   uint16
	Op    int16
	Flags int16
}

// SemUndo is SEM_UNDO of semop(2).
const SemUndo = 0x1000

// SemWait is a list of operations that waits to be carried out.
type SemWait struct {
	sems *Semaphores
	set  *semSet
	ops  []SemOp
	undo *UndoList
	by   Process

	// Guarded by Semaphores.mu.
	place    *list.Element // nil: not queued any more
	blocking SemOp         // the one that cannot be done
	err      error
	done     chan struct{}
}

// Operate is semop(2). It returns a waiter if the operations cannot be done now, which must be waited
// for or cancelled.
func (s *Semaphores) Operate(c Caller, id int32, ops []SemOp, undo *UndoList) (*SemWait, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.sets.find(id)
	if err != nil {
		return nil, err
	}
	want := uint32(mayRead)
	undoes := false
	for _, op := range ops {
		if int(op.Num) >= len(set.sems) {
			return nil, unix.EFBIG
		}
		if op.Op != 0 {
			want = mayWrite
		}
		undoes = undoes || op.Flags&SemUndo != 0
	}
	if err := set.check(&c, s.config.Owner, want); err != nil {
		return nil, err
	}
	w := &SemWait{sems: s, set: set, ops: ops, by: c.Process, undo: undo}
	if undoes {
		if err := s.keepUndoLocked(set, undo); err != nil {
			return nil, err
		}
	}
	err = w.tryLocked()
	switch {
	case err == nil:
		s.doneLocked(w)
	case err == errWait:
		return w, w.queueLocked()
	}
	return nil, err
}

// doneLocked notes that w was carried out, and serves those whom that lets go on.
func (s *Semaphores) doneLocked(w *SemWait) {
	w.set.otime = s.config.Now()
	if w.alters() {
		s.serveLocked(w.set)
	}
}

func (w *SemWait) queueLocked() error {
	if err := w.sems.config.Budget.Take(w.cost()); err != nil {
		return err
	}
	w.done = make(chan struct{})
	w.place = w.set.queue.PushBack(w)
	return nil
}

func (w *SemWait) cost() int { return waiterCost + 8*len(w.ops) }

func (w *SemWait) alters() bool {
	for _, op := range w.ops {
		if op.Op != 0 {
			return true
		}
	}
	return false
}

// Done is closed when the waiter was served.
func (w *SemWait) Done() <-chan struct{} { return w.done }

// Cancel stops waiting. It tells whether the waiter was served before, and how.
func (w *SemWait) Cancel() (served bool, err error) {
	w.sems.mu.Lock()
	defer w.sems.mu.Unlock()
	if w.place == nil {
		return true, w.err
	}
	w.finishLocked(unix.EINTR)
	return false, nil
}

// finishLocked takes a waiter off the queue.
func (w *SemWait) finishLocked(err error) {
	w.set.queue.Remove(w.place)
	w.place, w.err = nil, err
	w.sems.config.Budget.Give(w.cost())
	close(w.done)
}
