package mm

import (
	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// MMapOpts are the arguments of MMap.
type MMapOpts struct {
	Addr   Addr          // a hint, or with Fixed the place
	Length uint64        // bytes, rounded up to pages
	Prot   platform.Prot // unknown bits do not matter
	// MaxProt is what mprotect may give later; 0 means everything.
	MaxProt platform.Prot

	Private   bool
	Fixed     bool // at Addr, replacing what is there
	NoReplace bool // at Addr, EEXIST when something is there
	GrowsDown bool
	Populate  bool // fault everything in
	Locked    bool
	NoReserve bool
	// DontExpand keeps mremap from enlarging it, as what the kernel gives every process.
	DontExpand bool
	Bit32      bool // within the first 2 GiB

	File   Mappable // nil: anonymous
	Offset uint64   // in File, bytes
	Name   string   // shown in /proc/PID/maps when File has none
	// Source says by what name the file was mapped, for whoever shows the mapping; it can be compared.
	Source any

	// Limits are the caller's; nil means those of SetLimits.
	Limits *limits.Set
	// LockAnyway is CAP_IPC_LOCK: RLIMIT_MEMLOCK does not count.
	LockAnyway bool
	Caller     Caller // nil: nobody who can be killed
}

// MMap makes a mapping and returns its address. Errors are those of mmap(2); the file has
// been checked for the access.
func (m *MemoryManager) MMap(o MMapOpts) (Addr, error) {
	length, err := o.check(m)
	if err != nil {
		return 0, err
	}
	a, err := m.newAttrs(&o, length)
	if err != nil {
		return 0, err
	}
	var w withdrawals
	m.mappingMu.Lock()
	start, err := m.place(&o, length)
	if err == nil {
		err = m.admit(start, length, a, &o)
	}
	if err != nil {
		m.mappingMu.Unlock()
		return 0, err
	}
	a = a.with(func(a *attrs) {
		a.flags |= m.lockFuture
		if a.file != nil {
			a.delta = o.Offset - start
		}
	})
	if o.Fixed && !o.NoReplace {
		w = m.cut(start, start+length)
	}
	err = m.establish(start, start+length, a)
	m.activeMu.Lock()
	if err == nil && !o.Populate && !a.has(flagLocked) {
		m.prefault(start, start+length, a)
	}
	_ = m.apply()
	m.activeMu.Unlock()
	m.mappingMu.Unlock()
	m.withdraw(w)
	if err != nil {
		return 0, err
	}
	m.afterMapping(start, start+length, a, &o)
	return Addr(start), nil
}

// afterMapping populates a new mapping as far as it must be or is worth it.
func (m *MemoryManager) afterMapping(start, end uint64, a *attrs, o *MMapOpts) {
	switch {
	case o.Populate || a.flags&(flagLocked|flagLockOnFault) == flagLocked:
		_ = m.makeResident(start, end, 0, o.Caller)
	case a.file != nil && a.private() && a.set == nil && a.prot&platform.Write != 0 && end-start <= cheapCopy:
		_ = m.populate(start, end, 0, nil)
	}
}

// check returns the length in whole pages.
func (o *MMapOpts) check(m *MemoryManager) (uint64, error) {
	if o.Length == 0 {
		return 0, unix.EINVAL
	}
	length, ok := roundUp(o.Length)
	if !ok || length > m.hi-m.lo {
		return 0, unix.ENOMEM
	}
	if o.MaxProt == 0 {
		o.MaxProt = platform.Read | platform.Write | platform.Exec
	}
	o.Prot &= platform.Read | platform.Write | platform.Exec
	if o.Offset%PageSize != 0 {
		return 0, unix.EINVAL
	}
	if o.File != nil && o.Offset+length < o.Offset {
		return 0, unix.EOVERFLOW
	}
	if o.GrowsDown && !o.Private {
		return 0, unix.EINVAL
	}
	if o.Prot&^o.MaxProt != 0 {
		return 0, unix.EACCES
	}
	if o.Fixed || o.NoReplace {
		o.Fixed = true
		if uint64(o.Addr)%PageSize != 0 {
			return 0, unix.EINVAL
		}
		if uint64(o.Addr) < m.lo {
			return 0, unix.EPERM
		}
		if uint64(o.Addr) > m.hi-length {
			return 0, unix.ENOMEM
		}
	}
	return length, nil
}

func (m *MemoryManager) newAttrs(o *MMapOpts, length uint64) (*attrs, error) {
	a := &attrs{prot: o.Prot, maxProt: o.MaxProt, file: o.File, name: o.Name, source: o.Source}
	for _, f := range []struct {
		set  bool
		flag vmaFlags
	}{{o.Private, flagPrivate}, {o.GrowsDown, flagGrowsDown}, {o.Locked, flagLocked}, {o.NoReserve, flagNoReserve}, {o.DontExpand, flagDontExpand}} {
		if f.set {
			a.flags |= f.flag
		}
	}
	if a.file == nil && !o.Private {
		a.file = newAnonFile(m.payer.Load(), length)
		o.Offset = 0
	}
	if s, ok := a.file.(interface{ mappingSet() *MappingSet }); ok {
		a.set = s.mappingSet()
	}
	return a, nil
}

// Taken tells whether there is a mapping in [addr, addr+length), a range that could be mapped.
func (m *MemoryManager) Taken(addr Addr, length uint64) bool {
	length, ok := roundUp(length)
	if !ok || length > m.hi-m.lo || uint64(addr) > m.hi-length {
		return false
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.vmas.overlaps(uint64(addr), uint64(addr)+length)
}

// place chooses where a mapping goes.
func (m *MemoryManager) place(o *MMapOpts, length uint64) (uint64, error) {
	if !o.Fixed {
		if addr, ok := m.find(uint64(o.Addr), length, o.Bit32); ok {
			return addr, nil
		}
		return 0, unix.ENOMEM
	}
	start := uint64(o.Addr)
	if start < uint64(m.layout.Min) || start+length > uint64(m.layout.Max) {
		return 0, unix.ENOMEM
	}
	switch {
	case o.NoReplace && m.vmas.overlaps(start, start+length):
		return 0, unix.EEXIST
	case m.sealed(start, start+length):
		return 0, unix.EPERM
	}
	return start, nil
}

// admit checks the limits for a new mapping at start.
func (m *MemoryManager) admit(start, length uint64, a *attrs, o *MMapOpts) error {
	var replaced usage
	m.vmas.each(start, start+length, func(s, e uint64, b *attrs) bool {
		replaced.add(b, e-s)
		return true
	})
	if err := m.admitUsage(length, a, o.Limits, replaced); err != nil {
		return err
	}
	if (a.has(flagLocked) || m.lockFuture&flagLocked != 0) && !o.LockAnyway {
		if m.usage.locked+length > m.limit(o.Limits, limits.MemLock) {
			return unix.EAGAIN
		}
	}
	return nil
}

// admitUsage checks the number of vmas, RLIMIT_AS and RLIMIT_DATA for length more
// bytes with attributes a in place of replaced.
func (m *MemoryManager) admitUsage(length uint64, a *attrs, l *limits.Set, replaced usage) error {
	if m.vmas.len() >= m.maxVMAs() {
		return unix.ENOMEM
	}
	if m.usage.total-replaced.total+length > m.limit(l, limits.AS) {
		return unix.ENOMEM
	}
	if a.data() && m.usage.data-replaced.data+length > m.limit(l, limits.Data) {
		return unix.ENOMEM
	}
	return nil
}

// establish adds a vma and tells its file.
func (m *MemoryManager) establish(start, end uint64, a *attrs) error {
	if a.file != nil {
		if err := a.file.AddMapping(m, Range{Addr(start), Addr(end)}, start+a.delta, a.mayWriteFile()); err != nil {
			return err
		}
	}
	m.addVMA(start, end, a)
	return nil
}

// cut removes the vmas and pmas in [start, end); the changes are queued, and what
// it returns must be withdrawn.
func (m *MemoryManager) cut(start, end uint64) withdrawals {
	var w withdrawals
	m.searched.freed(m.holeAfter(end))
	m.vmas.remove(start, end, func(s, e uint64, a *attrs) {
		m.usage.add(a, -(e - s))
		w.add(s, e, a)
	})
	m.guards.remove(start, end, nil)
	m.activeMu.Lock()
	m.dropPMAs(start, end)
	m.activeMu.Unlock()
	return w
}

// holeAfter is where a hole ends that begins somewhere before end, or at it.
func (m *MemoryManager) holeAfter(end uint64) uint64 {
	if p := m.vmas.find(end); m.vmas.ok(p) {
		return max(end, m.vmas.at(p).start)
	}
	return m.hi
}

// addressEnd is the end of what a program may name on amd64 (TASK_SIZE_MAX), whatever
// a platform keeps of it for itself.
const addressEnd = 1<<47 - PageSize

// MUnmap removes the mappings in [addr, addr+length). EINVAL for a bad range,
// EPERM when one is sealed, ENOMEM when there would be too many mappings.
func (m *MemoryManager) MUnmap(addr Addr, length uint64) error {
	start, end, err := pageRange(addr, length)
	if err != nil || start == end || end > addressEnd {
		return unix.EINVAL
	}
	if end = min(end, m.hi); start >= end {
		return nil // the platform's own part of the address space
	}
	m.mappingMu.Lock()
	w, err := m.unmap(start, end)
	m.mappingMu.Unlock()
	m.withdraw(w)
	return err
}

// unmap is MUnmap with mappingMu held.
func (m *MemoryManager) unmap(start, end uint64) (withdrawals, error) {
	if g := m.vmas.get(start); g != nil && g.start < start && g.end > end && m.vmas.len() >= m.maxVMAs() {
		return nil, unix.ENOMEM
	}
	if m.sealed(start, end) {
		return nil, unix.EPERM
	}
	w := m.cut(start, end)
	m.countVMAs()
	m.activeMu.Lock()
	_ = m.apply()
	m.activeMu.Unlock()
	return w, nil
}

// Brk moves the end of the heap to addr if it can, and returns where the end is.
func (m *MemoryManager) Brk(addr Addr) Addr {
	end, w := m.moveBrk(uint64(addr))
	m.withdraw(w)
	return Addr(end)
}

func (m *MemoryManager) moveBrk(addr uint64) (uint64, withdrawals) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	base := uint64(m.layout.BrkStart)
	if base == 0 || addr < base || addr > m.hi-PageSize {
		return m.brk, nil
	}
	oldEnd, _ := roundUp(m.brk)
	newEnd, _ := roundUp(addr)
	if newEnd < oldEnd {
		w, err := m.unmap(newEnd, oldEnd)
		if err == nil {
			m.brk = addr
		}
		return m.brk, w
	}
	if newEnd > oldEnd && !m.growHeap(oldEnd, newEnd, addr-base) {
		return m.brk, nil
	}
	m.brk = addr
	return addr, nil
}

func (m *MemoryManager) growHeap(start, end, heap uint64) bool {
	a := &attrs{prot: platform.Read | platform.Write, maxProt: platform.Read | platform.Write | platform.Exec, flags: flagPrivate | m.lockFuture}
	if heap+m.layout.Data.Length() > m.limit(nil, limits.Data) || !m.fits(start, end-start+PageSize) {
		return false
	}
	if m.admitUsage(end-start, a, nil, usage{}) != nil {
		return false
	}
	if a.has(flagLocked) && m.usage.locked+end-start > m.limit(nil, limits.MemLock) {
		return false
	}
	m.addVMA(start, end, a)
	m.activeMu.Lock()
	m.prefault(start, end, a)
	_ = m.apply()
	m.activeMu.Unlock()
	return true
}
