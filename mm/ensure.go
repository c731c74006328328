package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// ensure makes sure that the page at page, in the vma g, has a pma that can be read or,
// with write set, written by the sentry and mapped. The caller has checked the rights and holds
// both locks, activeMu exclusively. A *hostCopy error asks for copyFromHost and another try.
func (m *MemoryManager) ensure(page uint64, g *vmaSeg, write bool) (pmaSeg, error) {
	p := m.pmas.get(page)
	var err error
	switch {
	case p == nil && g.v.anonymous():
		err = m.allocate(page, g)
	case p == nil:
		err = m.translate(page, g)
	}
	if err != nil {
		return pmaSeg{}, err
	}
	if p == nil {
		p = m.pmas.get(page)
	}
	if p.v.has(pmaCow) && (write || p.v.has(pmaAnon) && p.v.host == 0) && m.takeOver(page, *p) {
		p = m.pmas.get(page)
	}
	if write && p.v.has(pmaCow) {
		if err = m.breakCow(page, *p); err != nil {
			return pmaSeg{}, err
		}
		m.hot.wrote(page)
		p = m.pmas.get(page)
	}
	return *p, nil
}

// allocate gives private anonymous memory to page and its neighbours.
func (m *MemoryManager) allocate(page uint64, g *vmaSeg) error {
	payer := m.payer.Load()
	lo, hi := window(page, payer.chunk(), g.start, g.end)
	lo, hi = m.pmas.gap(page, lo, hi)
	off, err := payer.TryAllocate(hi - lo)
	if err != nil {
		if lo, hi = page, page+PageSize; err == unix.ENOMEM {
			off, err = payer.Allocate(PageSize)
		}
		if err != nil {
			return err
		}
	}
	m.pmas.insert(lo, hi, pma{delta: off - lo, fd: memoryFD, flags: pmaAnon, prot: g.v.prot})
	return nil
}

// translate asks the file of g where page is, and takes what lies around it along.
func (m *MemoryManager) translate(page uint64, g *vmaSeg) error {
	a := g.v
	lo, hi := m.pmas.gap(page, g.start, g.end)
	b, err := a.file.Translate(page+a.delta, hi-page, a.mayWriteFile())
	if err != nil {
		if err == unix.EFAULT {
			return &BusError{Addr(page)}
		}
		return err
	}
	b.Length = min(b.Length&^(PageSize-1), hi-page)
	if b.Length == 0 {
		return &BusError{Addr(page)}
	}
	start, end := page, page+b.Length
	p := pma{delta: b.Offset - page, fd: b.FD, id: b.ID, prot: a.prot}
	if a.private() {
		p.flags = pmaCow
	} else {
		p.flags = pmaShared
	}
	if b.Mem {
		p.fd, p.id = memoryFD, 0
		m.file.IncRef(b.Offset, b.Length)
	} else if lo < page && b.Offset >= page-lo {
		c, err := a.file.Translate(lo+a.delta, page-lo, false)
		if err == nil && !c.Mem && c.FD == b.FD && c.ID == b.ID && c.Offset+(page-lo) == b.Offset && c.Length >= page-lo {
			start = lo
		}
	}
	m.pmas.insert(start, end, p)
	return nil
}

// takeOver makes the pages around page ours alone if nobody else has them.
func (m *MemoryManager) takeOver(page uint64, p pmaSeg) bool {
	if !p.v.inMemory() {
		return false
	}
	lo, hi := window(page, takeOver, p.start, p.end)
	s, e, ok := m.file.soleAround(page+p.v.delta, lo+p.v.delta, hi+p.v.delta)
	if ok {
		m.pmas.update(s-p.v.delta, e-p.v.delta, func(_, _ uint64, p pma) pma {
			p.flags = p.flags&^pmaCow | pmaAnon
			return p
		})
	}
	return ok
}

// breakCow makes the pages around page ours alone by copying them.
func (m *MemoryManager) breakCow(page uint64, p pmaSeg) error {
	if !p.v.inMemory() {
		lo, hi := window(page, cowChunk, p.start, p.end)
		return &hostCopy{start: lo, end: hi, page: page, p: p.v}
	}
	lo, hi := page, page+PageSize
	if p.v.has(pmaAnon) {
		lo, hi = window(page, cowChunk, p.start, p.end)
	} // A file's other pages stay the file's: what is written to it is seen here.
	off, zeroed, err := m.allocateCopy(&lo, &hi, page)
	if err != nil {
		return err
	}
	if err = m.file.copyPages(off, lo+p.v.delta, hi-lo, zeroed); err != nil {
		m.file.DecRef(off, hi-lo)
		return unix.ENOMEM
	}
	m.replace(lo, hi, off, p.v)
	return nil
}

// allocateCopy allocates memory to be overwritten for [*lo, *hi), or for page alone when
// there is not enough. zeroed tells whether it is untouched.
func (m *MemoryManager) allocateCopy(lo, hi *uint64, page uint64) (off uint64, zeroed bool, err error) {
	payer := m.payer.Load()
	off, zeroed, err = payer.allocate(*hi-*lo, true, couldHave)
	if err == unix.ENOMEM {
		*lo, *hi = page, page+PageSize
		return payer.allocate(PageSize, true, mustHave)
	}
	return off, zeroed, err
}

// replace puts private memory at off in place of what p is in [lo, hi). What the
// AddressSpace knows is mapped anew at once: the old pages must not be seen any more.
func (m *MemoryManager) replace(lo, hi, off uint64, p pma) {
	mapped := p.host != 0
	m.pmas.remove(lo, hi, func(s, e uint64, p pma) {
		if p.inMemory() {
			m.dropped = append(m.dropped, memRange{s + p.delta, e - s})
		}
	})
	n := pma{delta: off - lo, fd: memoryFD, flags: pmaAnon, prot: p.prot}
	if mapped {
		n.host = n.rights()
		m.change(m.mapChange(lo, hi, n))
	}
	m.pmas.insert(lo, hi, n)
}

// makeResident is populate that has the host give the memory now. Memory of one's own
// that is only read is left alone: it is nothing but zeroes.
func (m *MemoryManager) makeResident(start, end uint64, access platform.Prot, by Caller) error {
	if err := m.populate(start, end, access, by); err != nil {
		return err
	}
	var err error
	for at := start; at < end && err == nil; {
		if killed(by) {
			return unix.EINTR
		}
		at, err = m.residentStep(at, end, access)
	}
	return err
}

func killed(by Caller) bool { return by != nil && by.Killed() }

// residentStep is makeResident of what it takes one host call for; it returns where to go on.
func (m *MemoryManager) residentStep(at, end uint64, access platform.Prot) (uint64, error) {
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	i := m.pmas.find(at)
	if !m.pmas.ok(i) {
		return end, nil
	}
	p := m.pmas.at(i)
	at = max(at, p.start)
	end = min(end, p.end, at+maxChunk)
	zeroes := p.v.has(pmaAnon) && (access == platform.Read || p.v.prot&platform.Write == 0)
	if at >= end || zeroes || !p.v.inMemory() {
		return p.end, nil
	}
	return end, m.file.commit(at+p.v.delta, end-at)
}

// populate faults in [start, end), readable or, where the mapping is private or shared and
// writable, writable; access adds what must be allowed. It maps too. The error is the first
// fault's, or EINTR.
func (m *MemoryManager) populate(start, end uint64, access platform.Prot, by Caller) error {
	for at := start; at < end; {
		if killed(by) {
			return unix.EINTR
		}
		next, err := m.populateStep(at, end, access)
		if c, ok := err.(*hostCopy); ok {
			if err = m.copyFromHost(c); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

func (m *MemoryManager) populateStep(at, end uint64, access platform.Prot) (uint64, error) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	g := m.vmas.get(at)
	if g == nil {
		return 0, unix.ENOMEM
	}
	if g.v.prot == 0 || access&^g.v.prot != 0 {
		return 0, &FaultError{Addr(at), false}
	}
	if g = m.unguarded(at, g); g == nil {
		return 0, &FaultError{Addr(at), true}
	}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	p, err := m.ensure(at, g, g.v.prot&platform.Write != 0 && access != platform.Read)
	if err == nil {
		_, end = window(at, maxChunk, g.start, min(end, g.end))
		end = min(end, p.end)
		m.mapPMAs(at, end, faultMaps)
	}
	if e := m.apply(); err == nil {
		err = e
	}
	return end, err
}

// prefault maps what a new mapping will surely need, where that needs no copy and no
// waiting. Errors do not matter: a fault will tell.
func (m *MemoryManager) prefault(start, end uint64, a *attrs) {
	g := vmaSeg{start, end, a}
	switch {
	case a.prot == 0:
		return
	case a.anonymous():
		if end-start > eagerChunk || a.prot&platform.Write == 0 || !m.payer.Load().hasRoom(PageSize) {
			return
		}
	case a.private() && a.set == nil && a.prot&platform.Write != 0 && end-start <= cheapCopy:
		return // populated with copies
	}
	if p, err := m.ensure(start, &g, a.anonymous()); err == nil {
		m.mapPMAs(start, min(end, p.end), 1)
	}
}
