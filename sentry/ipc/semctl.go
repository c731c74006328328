package ipc

import "golang.org/x/sys/unix"

// SemStat is struct semid_ds. Times are in seconds.
type SemStat struct {
	Perm
	Changed, Operated int64
	Count             int
}

func (set *semSet) stat() SemStat {
	return SemStat{Perm: set.Perm, Changed: set.ctime, Operated: set.otime, Count: len(set.sems)}
}

// SemInfo is struct seminfo, with what is in use.
type SemInfo struct {
	Limits  Limits
	Sets    int
	Sems    int64
	Highest int // slot in use
}

// Info is semctl(2) with IPC_INFO and SEM_INFO.
func (s *Semaphores) Info() SemInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SemInfo{Limits: s.limits.get(), Sets: s.sets.slots.Len(), Sems: s.used, Highest: s.sets.highest()}
}

// openLocked finds a set that the caller may use; EINVAL, EACCES.
func (s *Semaphores) openLocked(c *Caller, id int32, want uint32) (*semSet, error) {
	set, err := s.sets.find(id)
	if err != nil {
		return nil, err
	}
	return set, set.check(c, s.config.Owner, want)
}

// Stat is IPC_STAT.
func (s *Semaphores) Stat(c Caller, id int32) (SemStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.openLocked(&c, id, mayRead)
	if err != nil {
		return SemStat{}, err
	}
	return set.stat(), nil
}

// StatSlot is SEM_STAT, and with any set SEM_STAT_ANY: no permission is needed.
func (s *Semaphores) StatSlot(c Caller, slot int32, any bool) (SemStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.sets.at(slot)
	if err == nil && !any {
		err = set.check(&c, s.config.Owner, mayRead)
	}
	if err != nil {
		return SemStat{}, err
	}
	return set.stat(), nil
}

// Change is IPC_SET.
func (s *Semaphores) Change(c Caller, id int32, o NewOwner) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	set.setOwner(o)
	set.ctime = s.config.Now()
	return nil
}

// Remove is IPC_RMID.
func (s *Semaphores) Remove(c Caller, id int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	s.removeLocked(set)
	return nil
}

func (s *Semaphores) ownedLocked(c *Caller, id int32) (*semSet, error) {
	set, err := s.sets.find(id)
	if err != nil {
		return nil, err
	}
	return set, set.checkOwner(c, s.config.Owner)
}

// Sem is what there is to know of one semaphore.
type Sem struct {
	Value   int32
	Last    Process
	Growing int // how many wait for it to grow
	Zeroing int // how many wait for it to be 0
}

// Look is GETVAL, GETPID, GETNCNT and GETZCNT of semaphore num.
func (s *Semaphores) Look(c Caller, id, num int32) (Sem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.openLocked(&c, id, mayRead)
	if err != nil {
		return Sem{}, err
	}
	if num < 0 || int(num) >= len(set.sems) {
		return Sem{}, unix.EINVAL
	}
	sem := Sem{Value: set.sems[num].value, Last: set.sems[num].last}
	for e := set.queue.Front(); e != nil; e = e.Next() {
		switch b := e.Value.(*SemWait).blocking; {
		case int32(b.Num) != num:
		case b.Op == 0:
			sem.Zeroing++
		default:
			sem.Growing++
		}
	}
	return sem, nil
}

// Values is GETALL.
func (s *Semaphores) Values(c Caller, id int32) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.openLocked(&c, id, mayRead)
	if err != nil {
		return nil, err
	}
	values := make([]uint16, len(set.sems))
	for i := range set.sems {
		values[i] = uint16(set.sems[i].value)
	}
	return values, nil
}

// SetValue is SETVAL; ERANGE for a value that no semaphore can have.
func (s *Semaphores) SetValue(c Caller, id, num, value int32) error {
	if value < 0 || value > semMax {
		return unix.ERANGE
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.sets.find(id)
	switch {
	case err != nil:
		return err
	case num < 0 || int(num) >= len(set.sems):
		return unix.EINVAL
	}
	if err := set.check(&c, s.config.Owner, mayWrite); err != nil {
		return err
	}
	set.clearUndoLocked(int(num))
	set.sems[num] = semaphore{value, c.Process}
	set.ctime = s.config.Now()
	s.serveLocked(set)
	return nil
}

// Count is how many semaphores a set has that the caller may change.
func (s *Semaphores) Count(c Caller, id int32) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.openLocked(&c, id, mayWrite)
	if err != nil {
		return 0, err
	}
	return len(set.sems), nil
}

// SetValues is SETALL; EIDRM when the set is not as long as the list any more.
func (s *Semaphores) SetValues(c Caller, id int32, values []uint16) error {
	for _, v := range values {
		if v > semMax {
			return unix.ERANGE
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.openLocked(&c, id, mayWrite)
	if err != nil || len(set.sems) != len(values) {
		return unix.EIDRM
	}
	for i, v := range values {
		set.clearUndoLocked(i)
		set.sems[i] = semaphore{int32(v), c.Process}
	}
	set.ctime = s.config.Now()
	s.serveLocked(set)
	return nil
}
