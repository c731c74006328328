package ipc

import (
	"sync"
	"sync/atomic"
)

// UndoList is what tasks take back of their semaphore operations when the last of those that share it
// ends (SEM_UNDO of semop(2)). It begins with one user.
type UndoList struct {
	users atomic.Int32

	// Guarded by mu, which is only held to look; whoever changes sets holds Semaphores.mu of that
	// namespace too.
	mu    sync.Mutex
	where *Semaphores
	sets  map[*semSet]struct{}
}

// NewUndoList returns an empty list.
func NewUndoList() *UndoList {
	u := &UndoList{sets: make(map[*semSet]struct{})}
	u.users.Store(1)
	return u
}

// Share adds a user and returns u.
func (u *UndoList) Share() *UndoList {
	u.users.Add(1)
	return u
}

// Users is how many share the list.
func (u *UndoList) Users() int32 { return u.users.Load() }

// Drop takes a user away. The last one's process undoes everything.
func (u *UndoList) Drop(by Process) {
	if u.users.Add(-1) > 0 {
		return
	}
	u.mu.Lock()
	s := u.where
	u.mu.Unlock()
	if s != nil {
		s.undo(u, by)
	}
}

func (s *Semaphores) undo(u *UndoList, by Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for set := range u.sets {
		for i, adj := range set.undos[u] {
			if adj != 0 {
				sem := &set.sems[i]
				sem.value = min(max(sem.value+int32(adj), 0), semMax)
				sem.last = by
			}
		}
		s.dropUndoLocked(set, u)
		set.otime = s.config.Now()
		s.serveLocked(set)
	}
}

// keepUndoLocked makes room for adjustments to a set.
func (s *Semaphores) keepUndoLocked(set *semSet, u *UndoList) error {
	if set.undos[u] != nil {
		return nil
	}
	if err := s.config.Budget.Take(undoCost + 2*len(set.sems)); err != nil {
		return err
	}
	u.mu.Lock()
	u.where = s
	u.mu.Unlock()
	u.sets[set] = struct{}{}
	set.undos[u] = make([]int16, len(set.sems))
	return nil
}

func (s *Semaphores) dropUndoLocked(set *semSet, u *UndoList) {
	delete(set.undos, u)
	delete(u.sets, set)
	s.config.Budget.Give(undoCost + 2*len(set.sems))
}

// clearUndoLocked forgets the adjustments of semaphore i, as SETVAL does.
func (set *semSet) clearUndoLocked(i int) {
	for _, adj := range set.undos {
		adj[i] = 0
	}
}
