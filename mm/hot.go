package mm

import (
	"slices"
	"sync"

	"gosentry/platform"
)

// Bounds of what is copied at a fork, before anybody asks for it.
const (
	// hotPages is how many places are remembered, hotChunk how much is copied of each: aligned, in bytes.
	hotPages = 12
	hotChunk = 16 << 10
	// maxLessons is how many of the places are remembered that children wrote to, cowChunk how much is copied of each.
	maxLessons = 64
	// warmPart bounds what a child copies of its own to one of so many parts of its private memory, and hotPages places: many children may be alike
	// but for one.
	warmPart = 4
	// hotForks is after how many forks what is remembered has to prove itself again.
	hotForks = 32
)

// hotSet remembers which pages were written to first after the last forks: the stack of the caller and a
// few words of its C library, most often, which the child writes to as well. The next child gets its own
// copy of them at birth, and neither side faults there.
type hotSet struct {
	known []uint64
	fresh []uint64 // written to first since the last fork
	forks int

	children *lessons // what children wrote to; made by the first fork
	parent   *lessons // those of the parent; nil: there is none
	warm     bool     // WarmUp was called
}

// lessons are the pages that children had to copy first, which the next child copies in its own time before it runs.
type lessons struct {
	mu    sync.Mutex
	pages []uint64
}

func (l *lessons) add(page uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pages) < maxLessons && !slices.Contains(l.pages, page) {
		l.pages = append(l.pages, page)
	}
}

// take returns the pages, and forgets them if asked to.
func (l *lessons) take(forget bool) []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	pages := l.pages
	if forget {
		l.pages = nil
	}
	return pages
}

// wrote says that page was copied for a write.
func (h *hotSet) wrote(page uint64) {
	if h.forks == 0 {
		return
	}
	h.parent.add(page)
	if len(h.fresh) < hotPages {
		h.fresh = append(h.fresh, page)
	}
}

// next returns the pages to copy at a fork.
func (h *hotSet) next() []uint64 {
	if h.children == nil {
		h.children = &lessons{}
	}
	if h.forks++; h.forks%hotForks == 0 {
		h.known = nil
		h.children.take(true)
	}
	h.known = append(h.fresh, h.known...)
	h.known = h.known[:min(len(h.known), hotPages)]
	h.fresh = nil
	return h.known
}

// inherit returns what a child starts with.
func (h *hotSet) inherit() hotSet {
	return hotSet{known: append([]uint64(nil), h.known...), forks: 1, parent: h.children}
}

// inherited tells whether p, one of m's, is still as the fork that made m left it.
func (m *MemoryManager) inherited(p pma) bool { return m.hot.parent != nil && p.has(pmaCow) }

// WarmUp gives an address space that was forked, and has not run yet, its own copies of the pages that others of the same parent wrote
// to first: that costs less than a fault on each. What cannot be had is left to the first write.
func (m *MemoryManager) WarmUp() {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	if m.hot.parent == nil || m.hot.warm {
		return
	}
	m.hot.warm = true
	places := m.hot.parent.take(false)
	for _, page := range places[:min(len(places), int(m.privateBytes()/warmPart/cowChunk)+hotPages)] {
		p := m.pmas.get(page)
		if p == nil || !p.v.inMemory() || !p.v.has(pmaCow) || p.v.host == 0 || p.v.prot&platform.Write == 0 {
			continue
		}
		if !m.payer.Load().hasRoom(maxLessons*cowChunk) || m.breakCow(page, *p) != nil {
			break
		}
	}
	_ = m.apply() // else it faults
}

// privateBytes is how much memory of the memory file private mappings have.
func (m *MemoryManager) privateBytes() (bytes uint64) {
	for p := m.pmas.first(); m.pmas.ok(p); p = m.pmas.next(p) {
		if g := m.pmas.at(p); g.v.has(pmaAnon) {
			bytes += g.end - g.start
		}
	}
	return bytes
}

// copyHot gives c its own copies of the pages written to first after the last forks, and m its right to write
// to them back. What cannot be had is left to the first write. Where other tasks may be writing all pages have
// to be as of one moment, so nothing is copied.
func (m *MemoryManager) copyHot(c *MemoryManager, hot []hotPage) {
	if m.Users() > 1 {
		return
	}
	for _, h := range hot {
		page := h.page
		p := m.pmas.get(page)
		q := c.pmas.get(page)
		if p == nil || q == nil || p.v.delta != q.v.delta || !p.v.inMemory() || !p.v.has(pmaAnon) || p.v.prot&platform.Write == 0 {
			continue
		}
		lo, hi := window(page, hotChunk, max(p.start, q.start), min(p.end, q.end))
		if !m.file.sharedByTwo(lo+p.v.delta, hi+p.v.delta) {
			continue
		}
		off, zeroed, err := m.payer.Load().allocate(hi-lo, true, couldHave)
		if err != nil {
			return
		}
		if m.file.copyPages(off, lo+p.v.delta, hi-lo, zeroed) != nil {
			m.file.DecRef(off, hi-lo)
			return
		}
		c.replace(lo, hi, off, q.v)
		m.regain(lo, hi, h.start <= lo && hi <= h.end)
	}
}

// regain makes [lo, hi) of one pma ours alone again, mapped to be written to. writable tells whether it was before this fork: then
// there is nothing to be changed, if that it no longer is has not been carried out.
func (m *MemoryManager) regain(lo, hi uint64, writable bool) {
	m.pmas.update(lo, hi, func(s, e uint64, p pma) pma {
		p.flags &^= pmaCow
		if c := m.mapChange(s, e, p); p.host == 0 {
			c.Fill = true
			m.change(c)
		} else if !writable || !m.leaveRights(s, e) {
			m.change(platform.Change{Op: platform.Protect, Prot: c.Prot, Addr: s, Length: e - s})
		}
		p.host = p.rights()
		return p
	})
}

// hotPage is a page to be copied at a fork. [start, end), which holds it, was mapped to be written to before the fork.
type hotPage struct{ page, start, end uint64 }

// nextHot returns the pages to be copied at a fork that has not changed anything yet.
func (m *MemoryManager) nextHot() (list []hotPage) {
	for _, page := range m.hot.next() {
		h := hotPage{page: page}
		if p := m.pmas.get(page); p != nil && p.v.host&platform.Write != 0 {
			h.start, h.end = p.start, p.end
		}
		list = append(list, h)
	}
	return list
}

// leaveRights takes [start, end) out of a change of rights that is queued, and tells whether there was one.
func (m *MemoryManager) leaveRights(start, end uint64) bool {
	i := slices.IndexFunc(m.changes, func(c platform.Change) bool {
		return c.Op == platform.Protect && c.Addr <= start && end <= c.Addr+c.Length
	})
	if i < 0 {
		return false
	}
	left, right := m.changes[i], m.changes[i]
	left.Length = start - left.Addr
	right.Addr, right.Length = end, right.Addr+right.Length-end
	parts := slices.DeleteFunc([]platform.Change{left, right}, func(c platform.Change) bool { return c.Length == 0 })
	m.changes = slices.Replace(m.changes, i, i+1, parts...)
	return true
}
