package mm

import "golang.org/x/sys/unix"

// SharedMemory is a file like that behind shared anonymous memory, but for that it also stays
// while nothing maps it, until Release.
type SharedMemory struct{ *anonFile }

// NewHeldMemory returns an empty file of size bytes, rounded up to pages.
func NewHeldMemory(f *MemoryFile, size uint64) SharedMemory {
	size, _ = roundUp(size)
	a := newAnonFile(f, size)
	a.maps = PageSize // that of the holder
	return SharedMemory{a}
}

// Release lets the memory go with the last mapping, or at once if there is none.
func (s SharedMemory) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unmappedLocked(PageSize)
}

// Resident is how many bytes have been touched. It is a host call for each piece.
func (s SharedMemory) Resident() (bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages.each(0, s.size, func(start, end uint64, p anonPages) bool {
		vec := make([]byte, (end-start)/PageSize)
		if s.file.resident(start+p.delta, end-start, vec) == nil {
			bytes += touched(vec)
		}
		return true
	})
	return bytes
}

// Detach removes the mapping of a file that begins at addr, in all the pieces that are left of it (shmdt(2)). isFor tells the
// files that are meant. EINVAL when there is none.
func (m *MemoryManager) Detach(addr Addr, isFor func(Mappable) bool) error {
	m.mappingMu.Lock()
	var w withdrawals
	pieces := m.attached(uint64(addr), isFor)
	for _, g := range pieces {
		w = append(w, m.cut(g.start, g.end)...)
	}
	m.activeMu.Lock()
	_ = m.apply()
	m.activeMu.Unlock()
	m.mappingMu.Unlock()
	m.withdraw(w)
	if len(pieces) == 0 {
		return unix.EINVAL
	}
	return nil
}

// attached finds the pieces of one file that lie as if it had been mapped whole at addr.
func (m *MemoryManager) attached(addr uint64, isFor func(Mappable) bool) (pieces []vmaSeg) {
	if addr%PageSize != 0 {
		return nil
	}
	var file Mappable
	for p := m.vmas.find(addr); m.vmas.ok(p); p = m.vmas.next(p) {
		g := *m.vmas.at(p)
		if g.v.file == nil || g.start+g.v.delta != g.start-addr || file != nil && g.v.file != file || !isFor(g.v.file) {
			continue
		}
		file = g.v.file
		pieces = append(pieces, g)
	}
	return pieces
}

// SetOwner says whose address space it is, for files that want to know who maps them.
func (m *MemoryManager) SetOwner(owner any) { m.owner.Store(&owner) }

// Owner returns what SetOwner, in this address space or the one that it was forked from, said last.
func (m *MemoryManager) Owner() any {
	if o := m.owner.Load(); o != nil {
		return *o
	}
	return nil
}
