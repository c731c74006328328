package mm

import "golang.org/x/sys/unix"

// guard is the value of a range of guard pages (MADV_GUARD_INSTALL): pages without memory which nobody can access, the kernel neither,
// whatever the rights of the mapping are. They are no mappings of their own: they are kept beside the vmas, move with them and go with
// them. No pma lies in one.
type guard struct{}

func (guard) equal(guard) bool { return true }

// unguarded is the vma g cut to what lies around page without a guard; nil when page has one. mappingMu is held.
func (m *MemoryManager) unguarded(page uint64, g *vmaSeg) *vmaSeg {
	if m.guards.len() == 0 {
		return g
	}
	if m.guards.get(page) != nil {
		return nil
	}
	lo, hi := m.guards.gap(page, g.start, g.end)
	return &vmaSeg{lo, hi, g.v}
}

// mayGuard refuses locked mappings and what the kernel gives every process.
func (a *attrs) mayGuard() error {
	if a.flags&(flagLocked|flagDontExpand) != 0 {
		return unix.EINVAL
	}
	return a.mayLose()
}

// installGuards is MADV_GUARD_INSTALL: what is in [start, end) is lost. ENOMEM where there would be too many ranges, too.
func (m *MemoryManager) installGuards(start, end uint64) error {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	if m.vmas.len()+m.guards.len() >= m.maxVMAs() {
		return unix.ENOMEM
	}
	var err error
	m.vmas.each(start, end, func(s, e uint64, a *attrs) bool {
		if err = a.mayGuard(); err == nil {
			m.guards.remove(s, e, nil)
			m.guards.insert(s, e, guard{})
			m.dropPMAs(s, e)
		}
		return err == nil
	})
	if err == nil && !m.covered(start, end) {
		err = unix.ENOMEM
	}
	if e := m.apply(); err == nil {
		err = e
	}
	m.countVMAs()
	return err
}

// removeGuards is MADV_GUARD_REMOVE.
func (m *MemoryManager) removeGuards(start, end uint64) error {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if m.vmas.len()+m.guards.len() >= m.maxVMAs() {
		return unix.ENOMEM
	}
	m.guards.remove(start, end, nil)
	if !m.covered(start, end) {
		return unix.ENOMEM
	}
	return nil
}

// moveGuards moves the guards in [start, end) to to, where there is none. mappingMu is held.
func (m *MemoryManager) moveGuards(start, end, to uint64) {
	var moved []segment[guard]
	m.guards.remove(start, end, func(s, e uint64, _ guard) {
		moved = append(moved, segment[guard]{start: s - start + to, end: e - start + to})
	})
	for _, g := range moved {
		m.guards.insert(g.start, g.end, guard{})
	}
}

// forkGuards gives c the guards of mappings that it inherits and that are not wiped.
func (m *MemoryManager) forkGuards(c *MemoryManager) {
	if m.guards.len() == 0 {
		return
	}
	c.guards = m.guards.clone()
	m.vmas.each(0, ^uint64(0), func(s, e uint64, a *attrs) bool {
		if a.flags&(flagDontFork|flagWipeOnFork) != 0 {
			c.guards.remove(s, e, nil)
		}
		return true
	})
}
