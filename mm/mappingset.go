package mm

import "sync"

// MappingSet is embedded by a Mappable whose pages can go away: it remembers which address
// spaces map the file. The zero value is empty. Its lock comes after mm's and is
// held during no call.
type MappingSet struct {
	mu     sync.Mutex
	mapped map[*MemoryManager]uint64 // bytes
	losing int                       // calls of Invalidate
}

func (s *MappingSet) mappingSet() *MappingSet { return s }

// Add is to be called by AddMapping.
func (s *MappingSet) Add(m *MemoryManager, ar Range, off uint64, writable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mapped == nil {
		s.mapped = make(map[*MemoryManager]uint64)
	}
	s.mapped[m] += ar.Length()
}

// Remove is to be called by RemoveMapping.
func (s *MappingSet) Remove(m *MemoryManager, ar Range, off uint64, writable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mapped[m] -= ar.Length(); s.mapped[m] == 0 {
		delete(s.mapped, m)
	}
}

// Empty tells whether the file is mapped nowhere.
func (s *MappingSet) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mapped) == 0
}

// Invalidate makes every address space forget where the bytes [off, off+length) of the file
// are; they will ask Translate again. Private copies stay. To truncate a file or to punch a hole: first let Translate
// know, then call Invalidate, then free the pages. The caller holds none of the locks
// that the Mappable's methods take.
func (s *MappingSet) Invalidate(off, length uint64) {
	s.mu.Lock()
	s.losing++
	list := make([]*MemoryManager, 0, len(s.mapped))
	for m := range s.mapped {
		list = append(list, m)
	}
	s.mu.Unlock()
	for _, m := range list {
		m.invalidate(s, off, length)
	}
	s.mu.Lock()
	s.losing--
	s.mu.Unlock()
}

// invalidates tells whether pages of the file are being taken away, maybe from address spaces that were known a while ago: a child of one of
// these that the file knows by now must not get what its parent still has. A nil s has a file that loses nothing.
func (s *MappingSet) invalidates() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losing > 0
}

// invalidate drops the pmas of [off, off+length) of the file with the set s.
func (m *MemoryManager) invalidate(s *MappingSet, off, length uint64) {
	end := off + length
	if end < off {
		end = ^uint64(0)
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	m.vmas.each(0, ^uint64(0), func(start, stop uint64, a *attrs) bool {
		if a.set != s {
			return true
		}
		lo, hi := max(off, start+a.delta), min(end, stop+a.delta)
		if lo < hi {
			m.dropFilePMAs(lo-a.delta, hi-a.delta)
		}
		return true
	})
	_ = m.apply()
}

// dropFilePMAs is dropPMAs but for private copies.
func (m *MemoryManager) dropFilePMAs(start, end uint64) {
	for p := m.pmas.find(start); m.pmas.ok(p); p = m.pmas.find(start) {
		g := *m.pmas.at(p)
		if g.start >= end {
			return
		}
		if !g.v.has(pmaAnon) {
			m.dropPMAs(max(start, g.start), min(end, g.end))
		}
		start = g.end
	}
}
