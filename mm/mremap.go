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
	Caller     Caller // nil: nobody who can be killed
}

// MRemap resizes or moves a mapping, and returns where it is. Errors are those of mremap(2).
func (m *MemoryManager) MRemap(o MRemapOpts) (Addr, error) {
	if err := o.check(m); err != nil {
		return 0, err
	}
	m.mappingMu.Lock()
	r := remap{m: m, o: &o}
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
		_ = m.makeResident(uint64(r.grownLocked.Start), uint64(r.grownLocked.End), 0, o.Caller)
	}
	return Addr(addr), nil
}

// check validates and rounds what needs no look at the mappings.
func (o *MRemapOpts) check(m *MemoryManager) error {
	var ok bool
	o.OldLength, _ = roundUp(o.OldLength) // what overflows here is nothing, to Linux
	if o.NewLength, ok = roundUp(o.NewLength); !ok || o.NewLength == 0 || o.NewLength > m.hi || uint64(o.Old)%PageSize != 0 {
		return unix.EINVAL
	}
	if !o.Fixed && !o.DontUnmap {
		return nil
	}
	n := uint64(o.New)
	switch {
	case n%PageSize != 0, n > m.hi-o.NewLength, o.Fixed && n < m.lo, !o.MayMove:
		return unix.EINVAL
	case o.DontUnmap && o.OldLength != o.NewLength:
		return unix.EINVAL
	case n < uint64(o.Old)+o.OldLength && uint64(o.Old) < n+o.NewLength:
		return unix.EINVAL
	}
	return nil
}

// remap is an MRemap under way, with mappingMu held. addr, to, oldLength and newLength
// are of the mapping it is at.
type remap struct {
	m                    *MemoryManager
	o                    *MRemapOpts
	addr, to             uint64
	oldLength, newLength uint64

	gone        withdrawals
	grownLocked Range
}

func (r *remap) run() (uint64, error) {
	r.addr, r.to = uint64(r.o.Old), uint64(r.o.New)
	r.oldLength, r.newLength = r.o.OldLength, r.o.NewLength
	if r.o.Fixed && r.oldLength == r.newLength {
		return r.moveAll()
	}
	g := r.m.vmas.get(r.addr)
	if g == nil {
		return 0, unix.EFAULT
	}
	if r.o.Fixed || r.o.DontUnmap {
		if err := r.admit(g); err != nil {
			return 0, err
		}
		return r.moveTo()
	}
	if r.newLength <= r.oldLength {
		return r.addr, r.shrink()
	}
	if err := r.admit(g); err != nil {
		return 0, err
	}
	return r.grow(*g)
}

// moveAll moves all mappings in the range, with the holes between them.
func (r *remap) moveAll() (uint64, error) {
	start, end := r.addr, r.addr+r.oldLength
	result, target := uint64(0), r.to
	last := start
	for at := start; at < end; {
		p := r.m.vmas.find(at)
		if !r.m.vmas.ok(p) || r.m.vmas.at(p).start >= end {
			break
		}
		g := r.m.vmas.at(p)
		r.addr = max(g.start, at)
		if r.addr > start && result == 0 {
			break
		}
		at = min(g.end, end)
		r.oldLength = at - r.addr
		r.newLength, r.to = r.oldLength, target+r.addr-last
		last = at
		err := r.admit(g)
		if err == nil {
			target, err = r.moveTo()
		}
		if err != nil {
			return 0, err
		}
		if result == 0 {
			result = target
		}
		target += r.newLength
	}
	if result == 0 {
		return 0, unix.EFAULT
	}
	return result, nil
}

// admit checks whether the mapping g, at addr, can grow or move.
func (r *remap) admit(g *vmaSeg) error {
	a := g.v
	if a.has(flagSealed) {
		return unix.EPERM
	}
	if r.oldLength == 0 && a.private() || r.o.DontUnmap && a.has(flagDontExpand) {
		return unix.EINVAL
	}
	if min(r.oldLength, r.newLength) > g.end-r.addr {
		return unix.EFAULT
	}
	if r.m.vmas.len() >= r.m.maxVMAs()-3 {
		return unix.ENOMEM
	}
	if r.newLength <= r.oldLength {
		if r.o.DontUnmap {
			return r.m.admitUsage(r.newLength, a, nil, usage{})
		}
		return nil
	}
	if off := r.addr + a.delta; a.file != nil && off+r.newLength < off {
		return unix.EINVAL
	}
	if a.has(flagDontExpand) {
		return unix.EFAULT
	}
	more := r.newLength - r.oldLength
	if a.has(flagLocked) && !r.o.LockAnyway && r.m.usage.locked+more > r.m.limit(nil, limits.MemLock) {
		return unix.EAGAIN
	}
	return r.m.admitUsage(more, a, nil, usage{})
}

// cut removes mappings.
func (r *remap) cut(start, end uint64) error {
	if end > r.m.hi || start > end {
		return unix.EINVAL
	}
	if g := r.m.vmas.get(start); g != nil && g.start < start && g.end > end && r.m.vmas.len() >= r.m.maxVMAs() {
		return unix.ENOMEM
	}
	if r.m.sealed(start, end) {
		return unix.EPERM
	}
	r.gone = append(r.gone, r.m.cut(start, end)...)
	return nil
}

func (r *remap) shrink() error {
	if r.newLength == r.oldLength {
		return nil
	}
	if r.oldLength > r.m.hi {
		return unix.EINVAL
	}
	return r.cut(r.addr+r.newLength, r.addr+r.oldLength)
}

// moveTo moves the mapping at addr to to, where everything is removed with Fixed.
func (r *remap) moveTo() (uint64, error) {
	if r.o.Fixed {
		if err := r.cut(r.to, r.to+r.newLength); err != nil {
			return 0, err
		}
	}
	if r.newLength < r.oldLength {
		if err := r.shrink(); err != nil {
			return 0, err
		}
		r.oldLength = r.newLength
	}
	g := r.m.vmas.get(r.addr)
	if g == nil {
		return 0, unix.EFAULT
	}
	if !r.o.Fixed {
		var ok bool
		if r.to, ok = r.m.find(r.to, r.newLength, false); !ok {
			return 0, unix.ENOMEM
		}
	}
	return r.move(g.v)
}

// grow extends the mapping g at addr, in place if there is room.
func (r *remap) grow(g vmaSeg) (uint64, error) {
	m, end := r.m, r.addr+r.newLength
	if r.addr+r.oldLength == g.end && end <= m.hi && m.fits(g.end, end-g.end) {
		if err := m.establish(g.end, end, g.v); err != nil {
			return 0, err
		}
		r.grown(r.addr, g.v)
		return r.addr, nil
	}
	if !r.o.MayMove {
		return 0, unix.ENOMEM
	}
	var ok bool
	if r.to, ok = m.find(0, r.newLength, false); !ok {
		return 0, unix.ENOMEM
	}
	return r.move(g.v)
}

func (r *remap) grown(start uint64, a *attrs) {
	if a.flags&(flagLocked|flagLockOnFault) == flagLocked {
		r.grownLocked = Range{Addr(start + r.oldLength), Addr(start + r.newLength)}
	}
}

// move makes the new mapping at to, where nothing is, moves the pages, and removes the
// old one.
func (r *remap) move(a *attrs) (uint64, error) {
	m := r.m
	moved := a.with(func(b *attrs) {
		if b.file != nil {
			b.delta = r.addr + a.delta - r.to
		}
	})
	if err := m.establish(r.to, r.to+r.newLength, moved); err != nil {
		return 0, err
	}
	r.grown(r.to, a)
	end := r.addr + r.oldLength
	m.activeMu.Lock()
	m.movePMAs(r.addr, end, r.to)
	m.activeMu.Unlock()
	m.moveGuards(r.addr, end, r.to)
	if r.o.DontUnmap {
		m.editVMAs(r.addr, end, func(a *attrs) { a.flags &^= flagLocked | flagLockOnFault })
		return r.to, nil
	}
	return r.to, r.cut(r.addr, end)
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
