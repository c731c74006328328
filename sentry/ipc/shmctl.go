package ipc

import "golang.org/x/sys/unix"

// ShmStat is struct shmid_ds. Times are in seconds, Size and Resident in bytes.
type ShmStat struct {
	Perm
	Size                        uint64
	Attached, Detached, Changed int64
	Creator, Last               Process
	Attaches                    int

	segment *Segment
}

// Resident is how many bytes of the segment have been touched.
func (s *ShmStat) Resident() uint64 { return s.segment.Resident() }

func (s *Segment) stat() ShmStat {
	return ShmStat{
		Perm: s.Perm, Size: s.size, Attached: s.atime, Detached: s.dtime, Changed: s.ctime,
		Creator: s.creator, Last: s.last, Attaches: s.attaches, segment: s,
	}
}

// ShmInfo is what IPC_INFO and SHM_INFO tell.
type ShmInfo struct {
	Limits          Limits
	Segments        int
	Pages, Resident uint64 // Resident in pages too
	Highest         int    // slot in use
}

// Info is shmctl(2) with IPC_INFO, and with resident SHM_INFO.
func (s *SharedMemory) Info(resident bool) ShmInfo {
	s.mu.Lock()
	i := ShmInfo{Limits: s.limits.get(), Segments: s.segments.slots.Len(), Pages: s.pages, Highest: s.segments.highest()}
	all := s.segments.slots.Values()
	s.mu.Unlock()
	if resident {
		for _, o := range all {
			i.Resident += pagesOf(o.Resident())
		}
	}
	return i
}

// Stat is IPC_STAT.
func (s *SharedMemory) Stat(c Caller, id int32) (ShmStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.segments.find(id)
	if err == nil {
		err = o.check(&c, s.config.Owner, mayRead)
	}
	if err != nil {
		return ShmStat{}, err
	}
	return o.stat(), nil
}

// StatSlot is SHM_STAT, and with any set SHM_STAT_ANY: no permission is needed.
func (s *SharedMemory) StatSlot(c Caller, slot int32, any bool) (ShmStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.segments.at(slot)
	if err == nil && !any {
		err = o.check(&c, s.config.Owner, mayRead)
	}
	if err != nil {
		return ShmStat{}, err
	}
	return o.stat(), nil
}

func (s *SharedMemory) ownedLocked(c *Caller, id int32) (*Segment, error) {
	o, err := s.segments.find(id)
	if err != nil {
		return nil, err
	}
	return o, o.checkOwner(c, s.config.Owner)
}

// Change is IPC_SET.
func (s *SharedMemory) Change(c Caller, id int32, n NewOwner) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	o.setOwner(n)
	o.ctime = s.config.Now()
	return nil
}

// Remove is IPC_RMID.
func (s *SharedMemory) Remove(c Caller, id int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	s.removeLocked(o)
	return nil
}

// Lock is SHM_LOCK and SHM_UNLOCK. It is remembered; EPERM, ENOMEM over RLIMIT_MEMLOCK.
func (s *SharedMemory) Lock(c Caller, id int32, lock bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.segments.find(id)
	if err != nil {
		return err
	}
	if !c.Creds.HasIn(unix.CAP_IPC_LOCK, s.config.Owner) {
		switch {
		case c.Creds.EUID != o.UID && c.Creds.EUID != o.CUID, lock && c.MemLock == 0:
			return unix.EPERM
		case lock && o.size > c.MemLock:
			return unix.ENOMEM
		}
	}
	o.Mode &^= shmLocked
	if lock {
		o.Mode |= shmLocked
	}
	return nil
}
