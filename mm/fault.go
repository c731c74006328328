package mm

import (
	"time"

	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// FaultError is the error for an access that the mappings forbid.
type FaultError struct {
	Addr Addr
	// MapErr: nothing is mapped there (SEGV_MAPERR); else the access is not allowed
	// (SEGV_ACCERR).
	MapErr bool
}

func (e *FaultError) Error() string {
	if e.MapErr {
		return "access to an address that is not mapped"
	}
	return "access that the mapping does not allow"
}

// Unwrap makes a FaultError an EFAULT for system calls.
func (e *FaultError) Unwrap() error { return unix.EFAULT }

// Sizes of what one fault brings in, in bytes.
const (
	maxChunk   = 2 << 20   // private memory, aligned
	cowChunk   = 64 << 10  // copied on write, aligned
	takeOver   = 16 << 20  // found to be ours alone, aligned
	cheapCopy  = 64 << 10  // copied rather than faulted twice
	eagerChunk = 256 << 10 // mapped before it is touched
	// faultMaps bounds the Map changes of one fault.
	faultMaps = 16
)

// HandleFault resolves a fault of guest code at addr; access is what was tried, 0 when
// the platform cannot tell. nil: run on. A *FaultError or *BusError is the guest's fault;
// ENOMEM means that memory is out, and that the guest cannot go on.
func (m *MemoryManager) HandleFault(addr Addr, access platform.Prot) error {
	f := fault{addr: addr, page: uint64(addr) &^ (PageSize - 1), access: access}
	for {
		m.mappingMu.RLock()
		g := m.vmas.get(f.page)
		if g == nil {
			m.mappingMu.RUnlock()
			if !m.growStack(f.page) {
				return &FaultError{addr, true}
			}
			continue
		}
		m.activeMu.Lock()
		f.exact = m.noticeDrops()
		err := m.faultLocked(&f, g)
		if e := m.apply(); err == nil {
			err = e
		}
		m.activeMu.Unlock()
		m.mappingMu.RUnlock()
		if err == unix.EPERM || err == unix.EACCES {
			err = m.notMappable(f.page)
		}
		if c, ok := err.(*hostCopy); ok {
			if err = m.copyFromHost(c); err == nil {
				f.copied = true
				continue
			}
		}
		if b, ok := err.(*BusError); ok {
			b.Addr = addr
		}
		return err
	}
}

// notMappable asks for a copy of pages of a host file that the host does not let
// be mapped: executable, from a file system that is mounted noexec.
func (m *MemoryManager) notMappable(page uint64) error {
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	p := m.pmas.get(page)
	if p == nil || p.v.inMemory() || !p.v.has(pmaCow) {
		return &FaultError{Addr(page), false}
	}
	lo, hi := window(page, cowChunk, p.start, p.end)
	return &hostCopy{start: lo, end: hi, page: page, p: p.v}
}

// fault is a fault of guest code that is being answered.
type fault struct {
	addr   Addr
	page   uint64
	access platform.Prot // 0: not known
	exact  bool          // the record of what is mapped is
	copied bool          // the page was made ours a moment ago
}

// faultLocked answers f, in the vma g, with both locks held.
func (m *MemoryManager) faultLocked(f *fault, g *vmaSeg) error {
	page, try := f.page, f.access
	if !allowed(g.v.prot, f.access&^platform.Exec) {
		return &FaultError{f.addr, false}
	}
	if g = m.unguarded(page, g); g == nil {
		return &FaultError{f.addr, true}
	}
	if !allowed(g.v.prot, f.access) {
		return &FaultError{f.addr, false}
	}
	if m.goBack(page) {
		return nil
	}
	if f.access == 0 && !f.copied {
		var clear bool
		if try, clear = m.inferAccess(page, g); !clear && m.suspects.guilty(f.addr, m.Users()) {
			return &FaultError{f.addr, false}
		}
	}
	known := m.pmas.get(page) != nil
	p, err := m.ensure(page, g, try&platform.Write != 0)
	if err != nil {
		return err
	}
	if p.v.host == p.v.rights() {
		if len(m.changes) > 0 {
			return nil
		}
		return m.remap(page, g, p, f.exact || f.copied)
	}
	lo, hi := window(page, maxChunk, g.start, g.end)
	switch {
	case !p.v.inMemory():
		lo, hi = min(lo, p.start), max(hi, p.end)
	case p.v.host != 0:
		m.giveRights(page, g, p)
		return nil
	case known && p.v.has(pmaAnon) && m.refill(page, p):
		return nil
	}
	m.mapPMAs(max(lo, p.start), min(hi, p.end), 1) // this one in any case
	m.mapPMAs(lo, hi, faultMaps)
	return nil
}

// giveRights gives p and what is mapped around it all their rights.
func (m *MemoryManager) giveRights(page uint64, g *vmaSeg, p pmaSeg) {
	lo, hi := window(page, takeOver, g.start, g.end)
	m.grantPMAs(max(lo, p.start), min(hi, p.end), 1) // this one in any case
	m.grantPMAs(lo, hi, faultMaps)
}

// refill maps a page of private memory again that was forgotten, with what lies around it: a little, or
// more where neighbours are mapped already. It returns false when most of that was never touched.
func (m *MemoryManager) refill(page uint64, p pmaSeg) bool {
	lo, hi := window(page, maxChunk, p.start, p.end)
	if !m.mappedAround(page, lo) {
		lo, hi = window(page, cowChunk, lo, hi)
	}
	start, end := m.file.residentAround(page+p.v.delta, lo+p.v.delta, hi+p.v.delta)
	if end-start <= (hi-lo)/2 {
		return false
	}
	lo, hi = start-p.v.delta, end-p.v.delta
	c := m.mapChange(lo, hi, p.v)
	c.Fill = true
	m.change(c)
	m.pmas.update(lo, hi, func(_, _ uint64, p pma) pma {
		p.host = p.rights()
		return p
	})
	return true
}

// mappedAround tells whether memory in the block of maxChunk around page, or that next to it, is mapped; lo is
// where the block starts.
func (m *MemoryManager) mappedAround(page, lo uint64) (any bool) {
	m.pmas.each(lo-min(lo, PageSize), page&^(maxChunk-1)+maxChunk+PageSize, func(_, _ uint64, p pma) bool {
		any = p.host != 0 && p.has(pmaAnon)
		return !any
	})
	return any
}

// remap answers a fault in p, which is mapped with all its rights, or so we thought: it may
// have been forgotten, or the file is shorter than it was.
func (m *MemoryManager) remap(page uint64, g *vmaSeg, p pmaSeg, exact bool) error {
	if !p.v.inMemory() {
		if _, err := g.v.file.Translate(page+g.v.delta, PageSize, false); err == unix.EFAULT {
			m.dropPMAs(max(page, p.start), p.end)
			return &BusError{Addr(page)}
		}
	}
	if !exact {
		lo, hi := window(page, maxChunk, p.start, p.end)
		m.queue(m.mapChange(lo, hi, p.v))
	}
	return nil
}

// window is the aligned block of size bytes around page, cut to [lo, hi).
func window(page, size, lo, hi uint64) (start, end uint64) {
	start = page &^ (size - 1)
	return max(start, lo), min(start+size, hi)
}

// allowed tells whether prot permits access; on x86 what can be accessed can be read.
func allowed(prot, access platform.Prot) bool {
	if prot == 0 {
		return false
	}
	return access&^platform.Read&^prot == 0
}

// inferAccess guesses what was tried at page. clear is false when nothing explains the
// fault: everything allowed is mapped.
func (m *MemoryManager) inferAccess(page uint64, g *vmaSeg) (access platform.Prot, clear bool) {
	a := g.v
	p := m.pmas.get(page)
	switch {
	case p != nil && p.v.host == a.prot|platform.Read:
		return platform.Read, false
	case a.prot&platform.Write == 0:
		return platform.Read, p == nil || p.v.host != p.v.rights()
	case p == nil:
		if a.file != nil && a.private() && (a.set != nil || g.end-g.start > cheapCopy) {
			return platform.Read, true
		}
		return platform.Write, true
	case p.v.host != 0:
		return platform.Write, true
	case p.v.has(pmaCow) && a.set == nil && (a.has(flagGrowsDown) || p.end-p.start <= cheapCopy):
		return platform.Write, true
	}
	return platform.Read, true
}

// suspects remember faults that nothing explains. A thread whose access is forbidden comes
// back at once, again and again; a thread that merely lost a race does not.
type suspects struct {
	next    int
	entries [4]suspect
}

type suspect struct {
	addr  Addr
	count int
	since time.Time
}

// Bounds for suspects: faults at one address within the time.
const (
	suspectTime  = 20 * time.Millisecond
	suspectBase  = 3
	suspectUsers = 64
)

// acquit forgets faults in [start, end): what is mapped there changes, and threads that were late for that may have to fault once more.
func (s *suspects) acquit(start, end uint64) {
	for i := range s.entries {
		if e := &s.entries[i]; uint64(e.addr) >= start && uint64(e.addr) < end {
			e.count = 0
		}
	}
}

// guilty counts a fault at addr in an address space with so many users.
func (s *suspects) guilty(addr Addr, users int) bool {
	now := time.Now()
	for i := range s.entries {
		e := &s.entries[i]
		if e.count == 0 || e.addr != addr {
			continue
		}
		if now.Sub(e.since) > suspectTime {
			*e = suspect{addr, 0, now}
		}
		if e.count++; e.count > suspectBase+min(users, suspectUsers) {
			e.count = 0
			return true
		}
		return false
	}
	s.entries[s.next] = suspect{addr, 1, now}
	s.next = (s.next + 1) % len(s.entries)
	return false
}

// growStack extends a stack down to page if one lies above. Linux's rules: the limit, and a
// gap to what lies below.
func (m *MemoryManager) growStack(page uint64) bool {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	p := m.vmas.find(page)
	if !m.vmas.ok(p) {
		return false
	}
	g := *m.vmas.at(p)
	if g.start <= page {
		return true // another thread did it
	}
	if !g.v.has(flagGrowsDown) || page < uint64(m.layout.Min) || g.v.prot == 0 {
		return false
	}
	top := g.end
	for n := m.vmas.next(p); m.vmas.ok(n) && m.vmas.at(n).start == top && m.vmas.at(n).v.has(flagGrowsDown); n = m.vmas.next(n) {
		top = m.vmas.at(n).end
	}
	limit := m.limit(nil, limits.Stack)
	floor := uint64(m.layout.Min)
	if q, ok := m.vmas.prev(p); ok {
		below := m.vmas.at(q)
		if floor = below.end; below.v.prot != 0 && !below.v.has(flagGrowsDown) {
			floor += stackGuard
		}
	}
	if limit < top {
		floor = max(floor, top-limit)
	}
	if g.v.file != nil {
		floor = max(floor, -g.v.delta) // offset 0
	}
	if page < floor {
		return false
	}
	// A little more than needed, as the next calls will need it.
	start := max((floor+PageSize-1)&^uint64(PageSize-1), page&^(cowChunk-1))
	return m.extendDown(start, g)
}

func (m *MemoryManager) extendDown(start uint64, g vmaSeg) bool {
	n := g.start - start
	if m.usage.total+n > m.limit(nil, limits.AS) {
		return false
	}
	if g.v.has(flagLocked) && m.usage.locked+n > m.limit(nil, limits.MemLock) {
		return false
	}
	return m.establish(start, g.start, g.v) == nil
}
