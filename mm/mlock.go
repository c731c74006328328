package mm

import (
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// MLock counts the pages of [addr, addr+length) as locked, and faults them in unless
// onFault is set. privileged is CAP_IPC_LOCK. ENOMEM over RLIMIT_MEMLOCK or where
// nothing is mapped, EPERM when the limit is 0, EINTR when the caller is to die.
func (m *MemoryManager) MLock(addr Addr, length uint64, onFault, privileged bool, by Caller) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	flags := flagLocked
	if onFault {
		flags |= flagLockOnFault
	}
	m.mappingMu.Lock()
	limit := m.limit(nil, limits.MemLock)
	locked := m.usage.locked + (end - start)
	if locked > limit && !privileged {
		m.vmas.each(start, end, func(s, e uint64, a *attrs) bool {
			if a.has(flagLocked) {
				locked -= e - s
			}
			return true
		})
	}
	switch {
	case !privileged && limit == 0:
		err = unix.EPERM
	case !privileged && locked > limit:
		err = unix.ENOMEM
	default:
		err = m.editCovered(start, end, func(a *attrs) { a.flags = a.flags&^flagLockOnFault | flags })
	}
	m.mappingMu.Unlock()
	if err == nil && !onFault {
		err = lockError(m.makeResident(start, end, 0, by))
	}
	return err
}

func lockError(err error) error {
	if err == nil || err == unix.EINTR {
		return err
	}
	return unix.ENOMEM
}

// MUnlock undoes MLock. ENOMEM where nothing is mapped.
func (m *MemoryManager) MUnlock(addr Addr, length uint64) error {
	start, end, err := lockRange(addr, length)
	if err != nil || start == end {
		return err
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	return m.editCovered(start, end, func(a *attrs) { a.flags &^= flagLocked | flagLockOnFault })
}

// lockRange takes unaligned addresses, as mlock does.
func lockRange(addr Addr, length uint64) (start, end uint64, err error) {
	in := uint64(addr) % PageSize
	length, _ = roundUp(length + in) // what overflows here is nothing, to Linux
	return pageRange(addr-Addr(in), length)
}

// editCovered is editVMAs up to the first hole, where it returns ENOMEM.
func (m *MemoryManager) editCovered(start, end uint64, edit func(*attrs)) error {
	stop := start
	for p := m.vmas.find(start); m.vmas.ok(p) && stop < end && m.vmas.at(p).start <= stop; p = m.vmas.next(p) {
		stop = min(end, m.vmas.at(p).end)
	}
	if m.vmas.len()+2 > m.maxVMAs() {
		return unix.ENOMEM
	}
	m.editVMAs(start, stop, edit)
	if stop < end {
		return unix.ENOMEM
	}
	return nil
}

// MLockAll is mlockall(2): current counts all mappings as locked, future those to come.
// Without either it is munlockall(2).
func (m *MemoryManager) MLockAll(current, future, onFault, privileged bool, by Caller) error {
	flags := flagLocked
	if onFault {
		flags |= flagLockOnFault
	}
	all, err := m.lockAll(current, future, privileged, flags)
	if !current || onFault {
		return err
	}
	for _, r := range all {
		if m.makeResident(uint64(r.Start), uint64(r.End), 0, by) == unix.EINTR {
			return unix.EINTR
		}
	}
	return err
}

// lockAll sets the flags, and returns all mappings.
func (m *MemoryManager) lockAll(current, future, privileged bool, flags vmaFlags) (all []Range, err error) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	limit := m.limit(nil, limits.MemLock)
	switch {
	case privileged || !current && !future:
	case limit == 0:
		return nil, unix.EPERM
	case current && m.usage.total > limit:
		return nil, unix.ENOMEM
	}
	m.lockFuture = 0
	if future {
		m.lockFuture = flags
	}
	if !current && future {
		return nil, nil
	}
	m.editVMAs(0, ^uint64(0), func(a *attrs) {
		a.flags &^= flagLocked | flagLockOnFault
		if current {
			a.flags |= flags
		}
	})
	m.vmas.each(0, ^uint64(0), func(s, e uint64, _ *attrs) bool {
		all = append(all, Range{Addr(s), Addr(e)})
		return true
	})
	return all, nil
}
