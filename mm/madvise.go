package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// HolePuncher is a Mappable with fallocate(2). With the mode FALLOC_FL_PUNCH_HOLE |
// FALLOC_FL_KEEP_SIZE it frees pages, which read as zero afterwards, and
// invalidates its mappings.
type HolePuncher interface {
	Allocate(mode uint32, off, length int64) error
}

const punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE

// Syncer is a Mappable with something to write back; Sync may block.
type Syncer interface {
	Sync(off, length uint64) error
}

// Advice that x/sys does not know.
const (
	madvPopulateRead   = 22
	madvPopulateWrite  = 23
	madvDontNeedLocked = 24
	madvCollapse       = 25
	madvGuardInstall   = 102
	madvGuardRemove    = 103
)

// MAdvise is madvise(2). EINVAL for unknown advice, an unaligned address, or mappings that it
// does not fit; ENOMEM when a part is not mapped, with the rest done.
func (m *MemoryManager) MAdvise(addr Addr, length uint64, advice int, by Caller) error {
	act := adviceFor(advice, by)
	if act == nil {
		return unix.EINVAL
	}
	start, end, err := pageRange(addr, length)
	if err != nil || start == end {
		return err
	}
	return act(m, start, end)
}

type adviceFunc func(m *MemoryManager, start, end uint64) error

func adviceFor(advice int, by Caller) adviceFunc {
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE:
		return func(m *MemoryManager, start, end uint64) error { return m.advise(start, end, nil, nil) }
	case unix.MADV_COLD, unix.MADV_PAGEOUT:
		return func(m *MemoryManager, start, end uint64) error { return m.advise(start, end, unlocked, nil) }
	case madvCollapse:
		return (*MemoryManager).collapse
	case unix.MADV_DONTNEED:
		return func(m *MemoryManager, start, end uint64) error { return m.discard(start, end, canDiscard) }
	case madvDontNeedLocked:
		return func(m *MemoryManager, start, end uint64) error { return m.discard(start, end, (*attrs).mayLose) }
	case unix.MADV_FREE:
		return func(m *MemoryManager, start, end uint64) error { return m.discard(start, end, canFree) }
	case unix.MADV_REMOVE:
		return (*MemoryManager).punchHoles
	case madvGuardInstall:
		return (*MemoryManager).installGuards
	case madvGuardRemove:
		return (*MemoryManager).removeGuards
	case madvPopulateRead:
		return func(m *MemoryManager, start, end uint64) error {
			return populateError(m.makeResident(start, end, platform.Read, by))
		}
	case madvPopulateWrite:
		return func(m *MemoryManager, start, end uint64) error {
			return populateError(m.makeResident(start, end, platform.Write, by))
		}
	}
	set, clear, check := adviceFlags(advice)
	if set|clear == 0 {
		return nil
	}
	return func(m *MemoryManager, start, end uint64) error {
		return m.advise(start, end, check, func(a *attrs) { a.flags = a.flags&^clear | set })
	}
}

func adviceFlags(advice int) (set, clear vmaFlags, check func(*attrs) error) {
	switch advice {
	case unix.MADV_DONTFORK:
		return flagDontFork, 0, (*attrs).mayLose
	case unix.MADV_DOFORK:
		return 0, flagDontFork, nil
	case unix.MADV_WIPEONFORK:
		return flagWipeOnFork, 0, canWipe
	case unix.MADV_KEEPONFORK:
		return 0, flagWipeOnFork, nil
	case unix.MADV_DONTDUMP:
		return flagDontDump, 0, nil
	case unix.MADV_DODUMP:
		return 0, flagDontDump, nil
	}
	return 0, 0, nil
}

func populateError(err error) error {
	switch err := err.(type) {
	case nil:
		return nil
	case unix.Errno:
		return lockError(err)
	case *BusError:
		return unix.EFAULT
	case *FaultError:
		if err.MapErr {
			return unix.EFAULT // a guard
		}
		return unix.EINVAL
	}
	return unix.ENOMEM
}

// advise edits the mappings in [start, end) up to where check refuses.
func (m *MemoryManager) advise(start, end uint64, check func(*attrs) error, edit func(*attrs)) error {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if edit != nil && m.vmas.len()+2 > m.maxVMAs() {
		return unix.ENOMEM
	}
	stop := end
	var err error
	if check != nil {
		m.vmas.each(start, end, func(s, _ uint64, a *attrs) bool {
			if err = check(a); err != nil {
				stop = s
			}
			return err == nil
		})
	}
	if err == nil && !m.covered(start, end) {
		err = unix.ENOMEM
	}
	if edit != nil {
		m.editVMAs(start, stop, edit)
	}
	return err
}

func unlocked(a *attrs) error {
	if a.has(flagLocked) {
		return unix.EINVAL
	}
	return nil
}

func canDiscard(a *attrs) error {
	if err := unlocked(a); err != nil {
		return err
	}
	return a.mayLose()
}

func canFree(a *attrs) error {
	if err := unlocked(a); err != nil {
		return err
	}
	return canWipe(a)
}

func canWipe(a *attrs) error {
	if !a.anonymous() {
		return unix.EINVAL
	}
	return a.mayLose()
}

// hugePage is the size of a huge page in bytes.
const hugePage = 2 << 20

// collapse is MADV_COLLAPSE, which makes huge pages of what is there: nothing has to be done, as the host decides about pages. EINVAL
// where there can be none, in files and where nothing is.
func (m *MemoryManager) collapse(start, end uint64) error {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	var err error
	m.vmas.each(start, end, func(s, e uint64, a *attrs) bool {
		whole := m.vmas.get(s)
		_, shared := a.file.(*anonFile)
		from, to := (s+hugePage-1)&^(hugePage-1), e&^(hugePage-1)
		if !a.anonymous() && !shared || (whole.start+hugePage-1)&^(hugePage-1)+hugePage > whole.end || to < from {
			err = unix.EINVAL
		}
		for ; err == nil && from < to; from += hugePage {
			if !m.pmas.overlaps(from, from+hugePage) {
				err = unix.EINVAL
			}
		}
		return err == nil
	})
	if err == nil && !m.covered(start, end) {
		err = unix.ENOMEM
	}
	return err
}

// discard forgets the pages of [start, end): private memory reads as zero, or as the file,
// afterwards.
func (m *MemoryManager) discard(start, end uint64, may func(*attrs) error) error {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	var err error
	m.vmas.each(start, end, func(s, e uint64, a *attrs) bool {
		if err = may(a); err != nil {
			return false
		}
		m.dropPMAs(s, e)
		return true
	})
	if err == nil && !m.covered(start, end) {
		err = unix.ENOMEM
	}
	if e := m.apply(); err == nil {
		err = e
	}
	return err
}

// RemapFilePages is remap_file_pages(2) as Linux has it since it keeps no such mappings: [addr, addr+length),
// of one shared file, becomes a mapping of the file from page on. EINVAL for anything else.
func (m *MemoryManager) RemapFilePages(addr Addr, length, page uint64, o MMapOpts) error {
	start, length := uint64(addr)&^(PageSize-1), length&^(PageSize-1)
	end := start + length
	if end <= start || page > 1<<52 || page+length/PageSize > 1<<52 {
		return unix.EINVAL
	}
	a, held, err := m.oneFile(start, end)
	if err != nil {
		return err
	}
	defer m.letGo([]filePart{held})
	o.Addr, o.Length, o.Offset, o.Fixed = held.ar.Start, length, page*PageSize, true
	o.Prot, o.MaxProt, o.Locked = a.prot, a.maxProt, a.has(flagLocked)
	o.File, o.Name, o.Source = a.file, a.name, a.source
	_, err = m.MMap(o)
	return err
}

// oneFile is what the mappings in [start, end) have in common, which must be shared ones of one file. The caller lets go of it.
func (m *MemoryManager) oneFile(start, end uint64) (*attrs, filePart, error) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	g := m.vmas.get(start)
	if g == nil || g.v.private() || !m.covered(start, end) {
		return nil, filePart{}, unix.EINVAL
	}
	same := true
	m.vmas.each(start, end, func(_, _ uint64, a *attrs) bool {
		same = a.file == g.v.file && a.prot == g.v.prot && a.flags == g.v.flags
		return same
	})
	if !same {
		return nil, filePart{}, unix.EINVAL
	}
	p := filePart{g.v.file, Range{Addr(start), Addr(end)}, start + g.v.delta}
	return g.v, p, p.file.AddMapping(m, p.ar, p.off, false)
}

// filePart is a part of a shared mapping, to call its file about. It counts as a
// mapping of its own, so that the file stays, until let go of.
type filePart struct {
	file Mappable
	ar   Range
	off  uint64
}

func (m *MemoryManager) letGo(parts []filePart) {
	for _, p := range parts {
		p.file.RemoveMapping(m, p.ar, p.off, false)
	}
}

// sharedParts lists the shared file mappings in [start, end), up to the first that is
// refused. The caller lets go of them.
func (m *MemoryManager) sharedParts(start, end uint64, refuse func(*attrs) error) (parts []filePart, err error) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.vmas.each(start, end, func(s, e uint64, a *attrs) bool {
		if err = refuse(a); err == nil && a.file != nil && !a.private() {
			p := filePart{a.file, Range{Addr(s), Addr(e)}, s + a.delta}
			if err = p.file.AddMapping(m, p.ar, p.off, false); err == nil {
				parts = append(parts, p)
			}
		}
		return err == nil
	})
	if err == nil && !m.covered(start, end) {
		err = unix.ENOMEM
	}
	return parts, err
}

// punchHoles is MADV_REMOVE.
func (m *MemoryManager) punchHoles(start, end uint64) error {
	parts, err := m.sharedParts(start, end, func(a *attrs) error {
		switch {
		case a.has(flagLocked), a.anonymous():
			return unix.EINVAL
		case a.private() || a.maxProt&platform.Write == 0:
			return unix.EACCES
		}
		if _, ok := a.file.(HolePuncher); !ok {
			return unix.EOPNOTSUPP
		}
		return nil
	})
	defer m.letGo(parts)
	for _, p := range parts {
		if e := p.file.(HolePuncher).Allocate(punchHole, int64(p.off), int64(p.ar.Length())); e != nil {
			return e
		}
	}
	return err
}

// MSync is msync(2): with MS_SYNC it calls the files' Sync. EBUSY for MS_INVALIDATE of locked
// memory, ENOMEM when a part is not mapped.
func (m *MemoryManager) MSync(addr Addr, length uint64, flags int) error {
	const known = unix.MS_ASYNC | unix.MS_INVALIDATE | unix.MS_SYNC
	if flags&^known != 0 || flags&unix.MS_ASYNC != 0 && flags&unix.MS_SYNC != 0 || uint64(addr)%PageSize != 0 {
		return unix.EINVAL
	}
	start, end, err := pageRange(addr, length)
	if err != nil {
		return unix.ENOMEM
	}
	if start == end {
		return nil
	}
	parts, err := m.sharedParts(start, end, func(a *attrs) error {
		if flags&unix.MS_INVALIDATE != 0 && a.has(flagLocked) {
			return unix.EBUSY
		}
		return nil
	})
	defer m.letGo(parts)
	if flags&unix.MS_SYNC == 0 {
		return err
	}
	for _, p := range parts {
		if s, ok := p.file.(Syncer); ok {
			if e := s.Sync(p.off, p.ar.Length()); e != nil {
				return e
			}
		}
	}
	return err
}
