package mm

import "gosentry/platform"

// Bounds of what is copied at a fork, before anybody asks for it.
const (
	// hotPages is how many places are remembered, hotChunk how much is copied of each: aligned, in bytes.
	hotPages = 4
	hotChunk = 16 << 10
	// hotForks is after how many forks what is remembered has to prove itself again.
	hotForks = 32
)

// hotSet remembers which pages were written to first after the last forks: the stack of the caller and a
// few words of its C library, most often, which the child writes to as well. The next child gets its own
// copy of them at birth, and neither side faults there.
type hotSet struct {
	known []uint64
	fresh []uint64 // written to since the last fork
	forks int
}

// wrote says that page was copied for a write.
func (h *hotSet) wrote(page uint64) {
	if h.forks > 0 && len(h.fresh) < hotPages {
		h.fresh = append(h.fresh, page)
	}
}

// next returns the pages to copy at a fork.
func (h *hotSet) next() []uint64 {
	if h.forks++; h.forks%hotForks == 0 {
		h.known = nil
	}
	h.known = append(h.fresh, h.known...)
	h.known = h.known[:min(len(h.known), hotPages)]
	h.fresh = nil
	return h.known
}

// inherit returns what a child starts with.
func (h *hotSet) inherit() hotSet { return hotSet{known: append([]uint64(nil), h.known...), forks: 1} }

// copyHot gives c its own copies of the pages written to first after the last forks, and m its right to write
// to them back. What cannot be had is left to the first write. Where other tasks may be writing all pages have
// to be as of one moment, so nothing is copied.
func (m *MemoryManager) copyHot(c *MemoryManager) {
	hot := m.hot.next()
	if m.Users() > 1 {
		return
	}
	for _, page := range hot {
		p := m.pmas.get(page)
		q := c.pmas.get(page)
		if p == nil || q == nil || p.v.delta != q.v.delta || !p.v.inMemory() || !p.v.has(pmaAnon) || p.v.prot&platform.Write == 0 {
			continue
		}
		lo, hi := window(page, hotChunk, max(p.start, q.start), min(p.end, q.end))
		if !m.file.sharedByTwo(lo+p.v.delta, hi+p.v.delta) {
			continue
		}
		off, zeroed, err := m.file.allocate(hi-lo, true)
		if err != nil {
			return
		}
		if m.file.copyPages(off, lo+p.v.delta, hi-lo, zeroed) != nil {
			m.file.DecRef(off, hi-lo)
			return
		}
		c.replace(lo, hi, off, q.v)
		m.regain(lo, hi)
	}
}

// regain makes [lo, hi) of one pma ours alone again, mapped to be written to.
func (m *MemoryManager) regain(lo, hi uint64) {
	m.pmas.update(lo, hi, func(s, e uint64, p pma) pma {
		p.flags &^= pmaCow
		if c := m.mapChange(s, e, p); p.host == 0 {
			c.Fill = true
			m.change(c)
		} else {
			m.change(platform.Change{Op: platform.Protect, Prot: c.Prot, Addr: s, Length: e - s})
		}
		p.host = p.rights()
		return p
	})
}
