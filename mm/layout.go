package mm

import (
	"crypto/rand"
	"encoding/binary"
)

// Layout says where things lie in an address space. NewLayout chooses the places; the
// loader fills in the ranges, which /proc shows.
type Layout struct {
	Min, Max Addr   // what may be mapped: [Min, Max)
	MMapBase Addr   // mmap searches downwards from here
	StackTop Addr   // the stack ends here
	PIEBase  Addr   // where a position-independent program goes
	BrkGap   uint64 // random distance of the heap from the program, bytes

	BrkStart   Addr
	StackStart Addr // stack pointer at the start
	Code, Data Range
	Args, Env  Range
	VDSO       Addr
}

// Bits of randomness, in pages, and other constants of Linux on amd64.
const (
	mmapRandBits  = 28
	stackRandBits = 22
	brkRandBits   = 13
	minStackGap   = 128 << 20
	stackGuard    = 256 * PageSize
)

// NewLayout chooses a layout as Linux does for a stack limit in bytes; without
// randomize (ADDR_NO_RANDOMIZE) it is always the same.
func (m *MemoryManager) NewLayout(stackLimit uint64, randomize bool) Layout {
	var random [3]uint64
	if randomize {
		var b [24]byte
		_, _ = rand.Read(b[:]) // never fails
		for i := range random {
			random[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	pages := func(i, bits int) uint64 { return random[i] & (1<<bits - 1) * PageSize }
	// A small user range gets less randomness.
	mmapBits, stackBits := mmapRandBits, stackRandBits
	for uint64(PageSize)<<mmapBits > (m.hi-m.lo)/64 && mmapBits > 0 {
		mmapBits--
	}
	for uint64(PageSize)<<stackBits > (m.hi-m.lo)/1024 && stackBits > 0 {
		stackBits--
	}
	stackTop := m.hi - pages(0, stackBits)
	gap := stackLimit + stackGuard
	if gap < stackLimit {
		gap = m.hi
	}
	if randomize {
		gap += PageSize << stackBits
	}
	gap = min(max(gap, minStackGap), m.hi/6*5) &^ (PageSize - 1)
	base := m.hi - gap
	if rnd := pages(1, mmapBits); rnd < base/2 {
		base -= rnd
	}
	return Layout{
		Min: Addr(m.lo), Max: Addr(m.hi),
		MMapBase: Addr(base),
		StackTop: Addr(stackTop),
		PIEBase:  Addr(m.hi/3*2&^(PageSize-1) + pages(2, mmapBits)%(m.hi/8)&^(PageSize-1)),
		BrkGap:   random[0] >> 32 & (1<<brkRandBits - 1) * PageSize,
	}
}

// Layout returns the layout.
func (m *MemoryManager) Layout() Layout {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.layout
}

// SetLayout replaces the layout. A new BrkStart empties the heap without
// unmapping anything. Fields of zero in Min, Max and MMapBase keep their values.
func (m *MemoryManager) SetLayout(l Layout) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if l.Min < Addr(m.lo) {
		l.Min = m.layout.Min
	}
	if l.Max == 0 || l.Max > Addr(m.hi) {
		l.Max = m.layout.Max
	}
	if l.MMapBase == 0 {
		l.MMapBase = m.layout.MMapBase
	}
	m.searched = searched{}
	if l.BrkStart != m.layout.BrkStart {
		m.brk = uint64(l.BrkStart)
	}
	m.layout = l
}

// EditLayout changes the layout in place, as prctl(PR_SET_MM) does.
func (m *MemoryManager) EditLayout(edit func(*Layout)) {
	l := m.Layout()
	edit(&l)
	m.SetLayout(l)
}

// find returns a free range of length bytes for a new mapping: at hint if that is not
// 0 and free, else downwards from the base, else upwards from it. Within below4G, 1 GiB to 2 GiB are searched.
func (m *MemoryManager) find(hint, length uint64, bit32 bool) (uint64, bool) {
	lo, hi := uint64(m.layout.Min), uint64(m.layout.Max)
	if length > hi-lo {
		return 0, false
	}
	if bit32 {
		if hint >= lo && hint < 1<<31 && m.fits(hint, length) && hint+length <= 1<<31 {
			return hint, true
		}
		return m.findUp(1<<30, 1<<31, length)
	}
	if hint != 0 {
		if hint = max(hint&^(PageSize-1), lo); hint <= hi-length && m.fits(hint, length) {
			return hint, true
		}
	}
	base := uint64(m.layout.MMapBase)
	if addr, ok := m.search(lo, base, length); ok {
		return addr, true
	}
	return m.findUp(max(base, lo), hi, length)
}

// floor is the lowest address that a mapping may have below the vma at p: a
// growing stack keeps its guard gap.
func guardedStart(g *vmaSeg) uint64 {
	if g.v.has(flagGrowsDown) {
		return g.start - min(g.start, stackGuard)
	}
	return g.start
}

// fits tells whether [start, start+length) is free, guard gaps included.
func (m *MemoryManager) fits(start, length uint64) bool {
	p := m.vmas.find(start)
	return !m.vmas.ok(p) || guardedStart(m.vmas.at(p)) >= start+length
}

// searched is what a search from the base downwards found: no hole of length bytes lies above
// from. The zero value knows nothing.
type searched struct{ from, length uint64 }

// freed takes note of a hole that ends at end.
func (s *searched) freed(end uint64) {
	if end > s.from {
		*s = searched{}
	}
}

// search is findDown from the base, past what is known to be full.
func (m *MemoryManager) search(lo, base, length uint64) (uint64, bool) {
	top, known := base, m.searched.length != 0 && length >= m.searched.length
	if known {
		top = min(top, m.searched.from)
	}
	addr, ok := m.findDown(lo, top, length)
	if ok && (!known || length == m.searched.length) {
		m.searched = searched{addr + length, length}
	}
	return addr, ok
}

func (m *MemoryManager) findDown(lo, hi, length uint64) (uint64, bool) {
	p := m.vmas.find(hi)
	top := hi
	if m.vmas.ok(p) {
		top = min(top, guardedStart(m.vmas.at(p)))
	}
	for {
		q, ok := m.vmas.prev(p)
		bottom := lo
		if ok {
			bottom = max(lo, m.vmas.at(q).end)
		}
		if top >= bottom && top-bottom >= length {
			return top - length, true
		}
		if !ok || bottom == lo {
			return 0, false
		}
		top = min(top, guardedStart(m.vmas.at(q)))
		p = q
	}
}

func (m *MemoryManager) findUp(lo, hi, length uint64) (uint64, bool) {
	start := lo
	for p := m.vmas.find(lo); m.vmas.ok(p); p = m.vmas.next(p) {
		g := m.vmas.at(p)
		if top := min(hi, guardedStart(g)); top >= start && top-start >= length {
			return start, true
		}
		if start = max(start, g.end); start >= hi {
			return 0, false
		}
	}
	if hi >= start && hi-start >= length {
		return start, true
	}
	return 0, false
}
