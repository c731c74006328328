package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Bounds of what a fork does at once.
const (
	// forkMaps is up to how many mapped ranges either side gets mapped from the start: each costs the child less than a fault, and mostly nothing, as
	// the host still has it where another child was before.
	forkMaps = 512
	// childAdopts is up to how many bytes the child gets of each, as it may have to unmap them again; parentAdopts is
	// less, as the parent does better to have them filled once it writes there.
	childAdopts  = 2 << 20
	parentAdopts = 64 << 10
	// forgetOver is the size in bytes of mapped private memory from which the parent's
	// AddressSpace forgets everything: withdrawing rights costs the host time by the page.
	forgetOver = 16 << 20
)

// Fork returns a copy with one user. Private memory is copied on write from now on; mappings
// marked so are left out or wiped. ENOMEM when there is not enough for it; nothing has
// changed then.
func (m *MemoryManager) Fork() (*MemoryManager, error) {
	m.direct.Lock()
	defer m.direct.Unlock()
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	as, err := m.platform.NewAddressSpace(m.AddressSpace())
	if err != nil {
		return nil, err
	}
	c := newManager(m.platform, m.payer.Load(), as)
	c.mappingMu.Lock() // files come to know it
	defer c.mappingMu.Unlock()
	c.owner.Store(m.owner.Load())
	if !m.roomForVMAs() {
		as.Release()
		return nil, unix.ENOMEM
	}
	if err := m.forkVMAs(c); err != nil {
		as.Release()
		return nil, err
	}
	m.forkGuards(c)
	c.countVMAs()
	c.layout, c.brk, c.limits = m.layout, m.brk, m.limits
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	c.activeMu.Lock()
	defer c.activeMu.Unlock()
	m.noticeDrops()
	m.forkPMAs(c, m.share(c))
	_ = m.apply() // what the host refused to change is not mapped any more
	return c, nil
}

// forkVMAs gives c the vmas that it inherits, and tells their files.
func (m *MemoryManager) forkVMAs(c *MemoryManager) error {
	special := false
	for p := m.vmas.first(); m.vmas.ok(p); p = m.vmas.next(p) {
		g := m.vmas.at(p)
		special = special || g.v.flags&(flagDontFork|flagLocked|flagLockOnFault) != 0
		if g.v.file == nil || g.v.has(flagDontFork) {
			continue
		}
		err := g.v.file.AddMapping(c, Range{Addr(g.start), Addr(g.end)}, g.start+g.v.delta, g.v.mayWriteFile())
		if err != nil {
			m.unforkVMAs(c, p)
			return err
		}
	}
	if !special {
		c.vmas, c.usage = m.vmas.clone(), m.usage
		c.peak = c.usage.total
		return nil
	}
	m.vmas.each(0, ^uint64(0), func(s, e uint64, a *attrs) bool {
		if !a.has(flagDontFork) {
			c.addVMA(s, e, a.with(func(a *attrs) { a.flags &^= flagLocked | flagLockOnFault }))
		}
		return true
	})
	return nil
}

// unforkVMAs takes back what forkVMAs told the files of the vmas before end.
func (m *MemoryManager) unforkVMAs(c *MemoryManager, end pos) {
	for p := m.vmas.first(); p != end; p = m.vmas.next(p) {
		g := m.vmas.at(p)
		if g.v.file != nil && !g.v.has(flagDontFork) {
			g.v.file.RemoveMapping(c, Range{Addr(g.start), Addr(g.end)}, g.start+g.v.delta, g.v.mayWriteFile())
		}
	}
}

// share lets c begin with what m's AddressSpace has mapped, where that can be shared and is worth it: neither side may write to any of it
// then. What c does not inherit is unmapped again.
func (m *MemoryManager) share(c *MemoryManager) bool {
	if d, ok := c.as.(dropCounter); ok {
		c.drops = d.Drops()
	}
	s, ok := m.as.(platform.Sharer)
	if !ok || m.writableBytes() < s.ShareFrom() || m.apply() != nil || s.Share(c.as) != nil {
		return false
	}
	c.drops = m.drops
	m.vmas.each(0, ^uint64(0), func(s, e uint64, a *attrs) bool {
		if a.flags&(flagDontFork|flagWipeOnFork) != 0 {
			c.change(unmapChange(s, e))
		}
		return true
	})
	return true
}

// forkPMAs shares the pages of m with c, which gets those in its vmas that are not wiped, nor about to be taken from m by their file. shared
// tells whether the AddressSpaces have the same already.
func (m *MemoryManager) forkPMAs(c *MemoryManager, shared bool) {
	refs := make([]memRange, 0, m.pmas.len())
	maps := 0
	for vp := c.vmas.first(); c.vmas.ok(vp); vp = c.vmas.next(vp) {
		g := c.vmas.at(vp)
		if g.v.has(flagWipeOnFork) {
			continue
		}
		losing := g.v.set.invalidates()
		m.pmas.each(g.start, g.end, func(s, e uint64, p pma) bool {
			if losing && !p.has(pmaAnon) {
				if shared {
					c.change(unmapChange(s, e))
				}
				return true
			}
			if !p.has(pmaShared) {
				p.flags |= pmaCow
			}
			if p.host != 0 {
				maps++
			}
			if p.inMemory() {
				refs = append(refs, memRange{s + p.delta, e - s})
			}
			c.pmas.append(s, e, p)
			return true
		})
	}
	m.file.incRefs(refs)
	hot := m.nextHot()
	if shared {
		m.adoptShared()
		c.adoptShared()
	} else {
		m.markCow(maps)
		c.adoptMaps(maps, childAdopts)
	}
	m.copyHot(c, hot)
	c.hot = m.hot.inherit()
	_ = c.apply() // else it faults
}

// adoptShared corrects the record of an AddressSpace that was shared.
func (m *MemoryManager) adoptShared() {
	m.pmas.update(0, ^uint64(0), func(_, _ uint64, p pma) pma {
		if !p.has(pmaShared) {
			p.flags |= pmaCow
		}
		p.host &^= platform.Write
		return p
	})
}

// adoptMaps corrects the record of an empty AddressSpace: what is recorded as mapped, maps ranges,
// gets mapped, or is recorded as not. Memory is mapped in ranges of at most most bytes.
func (m *MemoryManager) adoptMaps(maps int, most uint64) {
	for p := m.pmas.first(); m.pmas.ok(p); p = m.pmas.next(p) {
		g := m.pmas.at(p)
		if g.v.host == 0 {
			continue
		}
		g.v.host = 0
		if maps <= forkMaps && (g.end-g.start <= most || !g.v.inMemory()) {
			if g.v.host = g.v.rights(); g.v.host != 0 {
				m.change(m.mapChange(g.start, g.end, g.v))
			}
		}
	}
}

// markCow marks all private pages as shared with another address space, and withdraws
// the right to write to them: with one change for each run of ranges that end up with the same
// rights, or by having everything forgotten. maps is how many ranges are mapped.
func (m *MemoryManager) markCow(maps int) {
	writable := m.writableBytes()
	forgotten := m.setAside(writable)
	if !forgotten && writable >= forgetOver {
		forgotten = true
		m.change(unmapChange(m.lo, m.hi))
	}
	var run platform.Change
	for p := m.pmas.first(); m.pmas.ok(p); p = m.pmas.next(p) {
		g := m.pmas.at(p)
		if !g.v.has(pmaShared) {
			g.v.flags |= pmaCow
		}
		if g.v.host == 0 {
			continue
		}
		rights := g.v.host & g.v.rights()
		if forgotten {
			continue
		}
		switch {
		case run.Length != 0 && rights == run.Prot:
			if rights != g.v.host {
				run.Length = g.end - run.Addr
			}
		case run.Length != 0:
			m.change(run)
			run = platform.Change{}
			fallthrough
		default:
			if rights != g.v.host {
				run = platform.Change{Op: platform.Protect, Prot: rights, Addr: g.start, Length: g.end - g.start}
			}
		}
		g.v.host = rights
	}
	if run.Length != 0 {
		m.change(run)
	}
	if forgotten {
		m.adoptMaps(maps, parentAdopts)
	}
	m.pmas.mergeRange(0, ^uint64(0))
}

// writableBytes is how much private memory is mapped so that the guest can write to it.
func (m *MemoryManager) writableBytes() (bytes uint64) {
	for p := m.pmas.first(); m.pmas.ok(p); p = m.pmas.next(p) {
		if g := m.pmas.at(p); !g.v.has(pmaShared) && g.v.host&platform.Write != 0 {
			bytes += g.end - g.start
		}
	}
	return bytes
}
