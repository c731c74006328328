package mm

import (
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// MRemapOpts are the arguments of MRemap.
type MRemapOpts struct {
	Old       Addr
	OldLength uint64 // bytes; 0: another mapping of the same shared pages
	NewLength uint64
	New       Addr // with Fixed, or a hint

	MayMove   bool
	Fixed     bool // at New, replacing what is there
	DontUnmap bool // leave an empty mapping behind
	// LockAnyway is CAP_IPC_LOCK: RLIMIT_MEMLOCK does not count.
	LockAnyway bool
}

// MRemap resizes or moves a mapping, and returns where it is. Errors are those of mremap(2).
func (m *MemoryManager) MRemap(o MRemapOpts) (Addr, error) {
	if err := o.check(m); err != nil {
		return 0, err
	}
	m.mappingMu.Lock()
	r := remap{m: m, o: o}
	addr, err := r.run()
	m.activeMu.Lock()
	if e := m.apply(); err == nil {
		err = e
	}
	m.activeMu.Unlock()
	m.mappingMu.Unlock()
	m.withdraw(r.gone)
	if err != nil {
		return 0, err
	}
	if r.grownLocked.Length() > 0 {
		_ = m.populate(uint64(r.grownLocked.Start), uint64(r.grownLocked.End), 0)
	}
	return Addr(addr), nil
}

// check validates and rounds what needs no look at the mappings.
func (o *MRemapOpts) check(m *MemoryManager) error {
	var ok1, ok2 bool
	o.OldLength, ok1 = roundUp(o.OldLength)
	o.NewLength, ok2 = roundUp(o.NewLength)
	switch {
	case o.Fixed && !o.MayMove, o.DontUnmap && (!o.MayMove || o.OldLength != o.NewLength):
		return unix.EINVAL
	case uint64(o.Old)%PageSize != 0, !ok1, !ok2, o.NewLength == 0:
		return unix.EINVAL
	case uint64(o.Old) >= m.hi || o.OldLength > m.hi-uint64(o.Old):
		return unix.EFAULT
	case o.NewLength > m.hi-m.lo:
		if o.Fixed {
			return unix.EINVAL
		}
		return unix.ENOMEM
	}
	if !o.Fixed {
		return nil
	}
	n := uint64(o.New)
	if n%PageSize != 0 || n < m.lo || n > m.hi-o.NewLength {
		return unix.EINVAL
	}
	if n < uint64(o.Old)+o.OldLength && uint64(o.Old) < n+o.NewLength {
		return unix.EINVAL
	}
	return nil
}

// remap is an MRemap under way, with mappingMu held.
type remap struct {
	m           *MemoryManager
	o           MRemapOpts
	gone        withdrawals
	grownLocked Range
}

func (r *remap) run() (uint64, error) {
	m, o := r.m, &r.o
	old := uint64(o.Old)
	g := m.vmas.get(old)
	if g == nil {
		return 0, unix.EFAULT
	}
	if o.OldLength == 0 && (g.v.private() || !o.MayMove) {
		return 0, unix.EINVAL
	}
	move := o.Fixed || o.DontUnmap || o.OldLength == 0
	if !move && o.NewLength <= o.OldLength {
		if !m.covered(old, old+PageSize) {
			return 0, unix.EFAULT
		}
		if o.NewLength < o.OldLength {
			r.cut(old+o.NewLength, old+o.OldLength)
		}
		return old, nil
	}
	if o.Fixed && o.NewLength < o.OldLength {
		r.cut(old+o.NewLength, old+o.OldLength)
		o.OldLength = o.NewLength
		if g = m.vmas.get(old); g == nil {
			return 0, unix.EFAULT
		}
	}
	if old+o.OldLength > g.end {
		return 0, unix.EFAULT
	}
	a := g.v
	if off := old + a.delta; a.file != nil && off+o.NewLength < off {
		return 0, unix.EINVAL
	}
	if err := r.admit(a); err != nil {
		return 0, err
	}
	if !move {
		if done, err := r.growInPlace(old, g.end, a); done || err != nil {
			return old, err
		}
		if !o.MayMove {
			return 0, unix.ENOMEM
		}
	}
	return r.move(a)
}

func (r *remap) cut(start, end uint64) { r.gone = append(r.gone, r.m.cut(start, end)...) }

// admit checks the limits.
func (r *remap) admit(a *attrs) error {
	o := &r.o
	more := o.NewLength - o.OldLength
	if o.DontUnmap {
		more = o.NewLength
	}
	if a.has(flagLocked) && !o.LockAnyway && r.m.usage.locked+more > r.m.limit(nil, limits.MemLock) {
		return unix.EAGAIN
	}
	if r.m.vmas.len() >= maxVMAs-3 {
		return unix.ENOMEM
	}
	return r.m.admitUsage(more, a, nil, usage{})
}

// growInPlace extends the mapping at old, which ends at end, if there is room.
func (r *remap) growInPlace(old, end uint64, a *attrs) (bool, error) {
	m, newEnd := r.m, old+r.o.NewLength
	if old+r.o.OldLength != end || newEnd > m.hi || !m.fits(end, newEnd-end) {
		return false, nil
	}
	if err := m.establish(end, newEnd, a); err != nil {
		return true, err
	}
	r.grown(old, a)
	return true, nil
}

func (r *remap) grown(start uint64, a *attrs) {
	if a.flags&(flagLocked|flagLockOnFault) == flagLocked {
		r.grownLocked = Range{Addr(start + r.o.OldLength), Addr(start + r.o.NewLength)}
	}
}

// move makes the new mapping, moves the pages, and removes the old one.
func (r *remap) move(a *attrs) (uint64, error) {
	m, o := r.m, &r.o
	old, start := uint64(o.Old), uint64(o.New)
	if o.Fixed {
		r.cut(start, start+o.NewLength)
	} else {
		hint := start
		if !o.DontUnmap {
			hint = 0
		}
		var ok bool
		if start, ok = m.find(hint, o.NewLength, false); !ok {
			return 0, unix.ENOMEM
		}
	}
	moved := a.with(func(b *attrs) {
		if b.file != nil {
			b.delta = old + a.delta - start
		}
	})
	if err := m.establish(start, start+o.NewLength, moved); err != nil {
		return 0, err
	}
	r.grown(start, a)
	if o.OldLength == 0 {
		return start, nil
	}
	m.activeMu.Lock()
	m.movePMAs(old, old+o.OldLength, start)
	m.activeMu.Unlock()
	if o.DontUnmap {
		m.editVMAs(old, old+o.OldLength, func(a *attrs) { a.flags &^= flagLocked | flagLockOnFault })
		return start, nil
	}
	r.cut(old, old+o.OldLength)
	return start, nil
}

// movePMAs moves what is in [start, end) to to, where nothing is.
func (m *MemoryManager) movePMAs(start, end, to uint64) {
	var moved []pmaSeg
	m.pmas.remove(start, end, func(s, e uint64, p pma) {
		if p.host != 0 {
			m.change(unmapChange(s, e))
		}
		n := pmaSeg{s - start + to, e - start + to, p}
		n.v.delta += s - n.start
		moved = append(moved, n)
	})
	for _, g := range moved {
		if g.v.host != 0 {
			g.v.host = g.v.rights()
			m.change(m.mapChange(g.start, g.end, g.v))
		}
		m.pmas.insert(g.start, g.end, g.v)
	}
}
