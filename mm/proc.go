package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// VMA is a mapping as /proc/PID/maps and smaps show it.
type VMA struct {
	Range
	Prot, MaxProt platform.Prot
	Private       bool
	GrowsDown     bool
	Locked        bool
	DontFork      bool
	WipeOnFork    bool
	DontDump      bool
	NoReserve     bool
	Sealed        bool
	DontExpand    bool
	File          Mappable // nil: private anonymous
	Offset        uint64   // in File, bytes

	// What the last columns show: a path or "[heap]", and the file's device and inode.
	Name         string
	Major, Minor uint32
	Ino          uint64
	Source       any // as given to MMap
}

// VMAs calls f for every mapping, lowest first, until it returns false. It works on
// a snapshot and no lock is held.
func (m *MemoryManager) VMAs(f func(VMA) bool) {
	m.mappingMu.RLock()
	vmas := m.vmas.clone()
	layout, brk := m.layout, m.brk
	m.mappingMu.RUnlock()
	for p := vmas.first(); vmas.ok(p); p = vmas.next(p) {
		if !f(describe(vmas.at(p), &layout, brk)) {
			return
		}
	}
}

// FindVMA returns the mapping that holds addr.
func (m *MemoryManager) FindVMA(addr Addr) (v VMA, ok bool) {
	m.mappingMu.RLock()
	g := m.vmas.get(uint64(addr))
	if g == nil {
		m.mappingMu.RUnlock()
		return VMA{}, false
	}
	seg, layout, brk := *g, m.layout, m.brk
	m.mappingMu.RUnlock()
	return describe(&seg, &layout, brk), true
}

func describe(g *vmaSeg, layout *Layout, brk uint64) VMA {
	a := g.v
	v := VMA{
		Range: Range{Addr(g.start), Addr(g.end)}, Prot: a.prot, MaxProt: a.maxProt, Private: a.private(),
		GrowsDown: a.has(flagGrowsDown), Locked: a.has(flagLocked), DontFork: a.has(flagDontFork),
		WipeOnFork: a.has(flagWipeOnFork), DontDump: a.has(flagDontDump), NoReserve: a.has(flagNoReserve),
		Sealed: a.has(flagSealed), DontExpand: a.has(flagDontExpand),
		File: a.file, Name: a.name, Source: a.source,
	}
	switch {
	case a.file != nil:
		v.Offset = g.start + a.delta
		if name, major, minor, ino := a.file.MappedName(); name != "" || a.name == "" {
			v.Name, v.Major, v.Minor, v.Ino = name, major, minor, ino
		}
	case v.Name != "":
	case g.start < brk && v.End > layout.BrkStart:
		v.Name = "[heap]"
	case v.Start <= layout.StackStart && layout.StackStart <= v.End && layout.StackStart != 0:
		v.Name = "[stack]"
	}
	return v
}

// Stats are sizes of an address space in bytes, as /proc/PID/status and statm tell them.
type Stats struct {
	Size, PeakSize      uint64
	Resident, PeakRSS   uint64
	Anonymous, FileRSS  uint64 // parts of Resident
	Shared              uint64 // of Size
	Data, Stack, Locked uint64
	Exec                uint64
	Mappings            int
}

// Stats returns the sizes. It counts resident pages, so it takes time by the range
// of memory.
func (m *MemoryManager) Stats() Stats {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	u := m.usage
	s := Stats{
		Size: u.total, PeakSize: m.peak, Data: u.data, Stack: u.stack, Locked: u.locked, Exec: u.exec, Shared: u.shared,
		Mappings: m.vmas.len(),
	}
	s.Anonymous, s.FileRSS = m.countResident(0, ^uint64(0), false)
	s.Resident = s.Anonymous + s.FileRSS
	m.activeMu.Lock()
	m.peakRSS = max(m.peakRSS, s.Resident)
	s.PeakRSS = m.peakRSS
	m.activeMu.Unlock()
	return s
}

// Resident tells how many bytes of r have memory, private and of files. Pages of host
// files count when they are mapped.
func (m *MemoryManager) Resident(r Range) (anonymous, file uint64) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.countResident(uint64(r.Start), uint64(r.End), false)
}

// PeakRSS is the largest resident size that was seen, in bytes, now included. Unlike Stats it takes no time by the
// page: all but a little memory counts as touched whole, and so does what a fork has from its parent.
func (m *MemoryManager) PeakRSS() uint64 {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	anonymous, file := m.countResident(0, ^uint64(0), true)
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	m.peakRSS = max(m.peakRSS, anonymous+file)
	return m.peakRSS
}

// How many bytes of memory are looked at page by page, and where that is done roughly, in ranges of more than how many.
const (
	exactMost = 1 << 30
	roughMost = 4 << 20
	roughOver = 64 << 10
)

// countResident tells how much of [start, end) is touched. What is not looked at counts as touched.
func (m *MemoryManager) countResident(start, end uint64, rough bool) (anonymous, file uint64) {
	most, over := uint64(exactMost), uint64(0)
	if rough {
		most, over = roughMost, roughOver
	}
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	var vec []byte
	m.pmas.each(start, end, func(s, e uint64, p pma) bool {
		n := e - s
		if p.inMemory() && n <= most && n > over && !(rough && m.inherited(p)) {
			most -= n
			if need := int(n / PageSize); len(vec) < need {
				vec = make([]byte, need)
			}
			if m.file.resident(s+p.delta, n, vec) == nil {
				n = touched(vec[:n/PageSize])
			}
		}
		if p.has(pmaAnon) {
			anonymous += n
		} else {
			file += n
		}
		return true
	})
	return anonymous, file
}

func touched(vec []byte) (bytes uint64) {
	for _, v := range vec {
		bytes += uint64(v&1) * PageSize
	}
	return bytes
}

// Mincore tells page by page of [addr, addr+length) whether it is in memory: bit 0 of vec.
// vec has a byte for every page. EINVAL when addr is not aligned, ENOMEM where nothing is mapped.
func (m *MemoryManager) Mincore(addr Addr, vec []byte) error {
	start, end, err := pageRange(addr, uint64(len(vec))*PageSize)
	if err != nil {
		return err
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	if !m.covered(start, end) {
		return unix.ENOMEM
	}
	m.lookAt(start, end, vec)
	for i := range vec {
		vec[i] &= PagePresent
	}
	return nil
}

// What Present tells of a page.
const (
	PagePresent = 1 << iota
	PageOfFile  // of a file or shared, when it is present
	PageGuard   // a guard (MADV_GUARD_INSTALL): nothing else is
)

// Present tells page by page from addr on whether it has memory and what kind. It returns for how many
// pages it did, fewer than vec has at the end of what there may be.
func (m *MemoryManager) Present(addr Addr, vec []byte) int {
	start := uint64(addr)
	if start >= m.hi {
		return 0
	}
	vec = vec[:min(uint64(len(vec)), (m.hi-start)/PageSize)]
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.lookAt(start, start+uint64(len(vec))*PageSize, vec)
	return len(vec)
}

// lookAt tells of the pages of [start, end). mappingMu is held.
func (m *MemoryManager) lookAt(start, end uint64, vec []byte) {
	clear(vec)
	m.guards.each(start, end, func(s, e uint64, _ guard) bool {
		for i := (s - start) / PageSize; i < (e-start)/PageSize; i++ {
			vec[i] = PageGuard
		}
		return true
	})
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	m.pmas.each(start, end, func(s, e uint64, p pma) bool {
		part := vec[(s-start)/PageSize : (e-start)/PageSize]
		known := p.inMemory() && m.file.resident(s+p.delta, e-s, part) == nil
		kind := byte(0)
		if !p.has(pmaAnon) {
			kind = PageOfFile
		}
		for i := range part {
			if known {
				part[i] &= PagePresent
			} else {
				part[i] = PagePresent
			}
			part[i] |= kind
		}
		return true
	})
}

// Sizes returns the bytes of data and stack, as mapped.
func (m *MemoryManager) Sizes() (data, stack uint64) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.usage.data, m.usage.stack
}

// Pages counts the pages that have memory: those of shared mappings and of files, and those that
// are, or on the first write become, the address space's own. It takes time by the
// number of ranges.
func (m *MemoryManager) Pages() (shared, private uint64) {
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	m.pmas.each(0, ^uint64(0), func(s, e uint64, p pma) bool {
		if p.has(pmaShared) || !p.has(pmaAnon) {
			shared += (e - s) / PageSize
		} else {
			private += (e - s) / PageSize
		}
		return true
	})
	return shared, private
}

// Copies returns the parts of r that are the process's own memory, not its files'.
func (m *MemoryManager) Copies(r Range) []Range {
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	var list []Range
	m.pmas.each(uint64(r.Start), uint64(r.End), func(s, e uint64, p pma) bool {
		if !p.has(pmaAnon) {
			return true
		}
		if n := len(list); n > 0 && list[n-1].End == Addr(s) {
			list[n-1].End = Addr(e)
		} else {
			list = append(list, Range{Addr(s), Addr(e)})
		}
		return true
	})
	return list
}
