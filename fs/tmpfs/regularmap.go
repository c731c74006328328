package tmpfs

import (
	"math/bits"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Pages that one fault allocates in a hole.
const (
	minFaultPages = 16
	maxFaultPages = 512
)

// AddMapping implements mm.Mappable. What was mapped before F_SEAL_FUTURE_WRITE may be moved, enlarged and inherited, so that mmap(2) itself
// looks at that.
func (r *Regular) AddMapping(m *mm.MemoryManager, ar mm.Range, off uint64, writable bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.freed:
		return unix.ENODEV
	case writable && r.seals&unix.F_SEAL_WRITE != 0:
		return unix.EPERM
	}
	r.mapped += ar.Length()
	if writable {
		r.writable += ar.Length()
	}
	r.Add(m, ar, off, writable)
	return nil
}

// RemoveMapping implements mm.Mappable.
func (r *Regular) RemoveMapping(m *mm.MemoryManager, ar mm.Range, off uint64, writable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Remove(m, ar, off, writable)
	r.mapped -= ar.Length()
	if writable {
		r.writable -= ar.Length()
	}
	r.freeUnused()
}

// Translate implements mm.Mappable.
func (r *Regular) Translate(off, length uint64, _ bool) (mm.Backing, error) {
	page, pages := off/pageSize, length/pageSize
	r.mu.RLock()
	end := uint64(roundUp(r.size)) / pageSize
	mem, got, hole := r.store.find(page, pages)
	r.mu.RUnlock()
	if page >= end {
		return mm.Backing{}, unix.EFAULT
	}
	if hole {
		var err error
		if mem, got, err = r.fault(page, pages); err != nil {
			return mm.Backing{}, err
		}
	}
	got = min(got, end-page)
	return mm.Backing{Mem: true, Offset: mem, Length: got * pageSize}, nil
}

// fault makes pages be there for a mapping.
func (r *Regular) fault(page, pages uint64) (mem, got uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := uint64(roundUp(r.size)) / pageSize
	if page >= end {
		return 0, 0, unix.EFAULT
	}
	pages = min(pages, end-page)
	mem, got, hole := r.store.find(page, pages)
	if !hole {
		return mem, got, nil
	}
	want := min(pages, max(minFaultPages, min(maxFaultPages, uint64(1)<<bits.Len64(uint64(r.store.pages)))))
	if _, err = r.store.fill(page, want, want); err != nil {
		return 0, 0, unix.EFAULT
	}
	mem, got, _ = r.store.find(page, pages)
	return mem, got, nil
}

// MappedName implements mm.Mappable.
func (r *Regular) MappedName() (path string, major, minor uint32, ino uint64) {
	if r.name == nil {
		return "", 0, 0, 0
	}
	return r.name()
}

// Allocate is fallocate(2): mode is 0 or FALLOC_FL_KEEP_SIZE, or FALLOC_FL_PUNCH_HOLE with the latter. ENOSPC leaves the file
// as it was.
func (r *Regular) Allocate(mode uint32, off, length int64) error {
	switch mode {
	case 0, unix.FALLOC_FL_KEEP_SIZE:
		return r.reserve(mode == 0, off, length)
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE:
		return r.punch(off, length)
	}
	return unix.EOPNOTSUPP
}

func (r *Regular) reserve(grow bool, off, length int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if grow && off+length > r.size && r.seals&unix.F_SEAL_GROW != 0 {
		return unix.EPERM
	}
	page, end := uint64(off)/pageSize, uint64(roundUp(off+length))/pageSize
	if (end-page)*pageSize > r.store.file.Limit() {
		return unix.ENOSPC
	}
	var made [][2]uint64
	for page < end {
		_, n, hole := r.store.find(page, end-page)
		if hole {
			var err error
			if n, err = r.store.fill(page, n, n); err != nil {
				for _, m := range made {
					r.store.free(r.store.cut(m[0], m[0]+m[1]))
				}
				return err
			}
			made = append(made, [2]uint64{page, n})
		}
		page += n
	}
	if grow && off+length > r.size {
		r.zeroTail(off + length)
		r.size = off + length
	}
	return nil
}

// punch makes [off, off+length) a hole.
func (r *Regular) punch(off, length int64) error {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.mu.Lock()
	if r.seals&sealsNoWrite != 0 {
		r.mu.Unlock()
		return unix.EPERM
	}
	first, last := roundUp(off), (off+length)&^(pageSize-1)
	if first > last {
		r.zero(off, off+length)
		r.mu.Unlock()
		return nil
	}
	r.zero(off, first)
	r.zero(last, off+length)
	freed := r.store.cut(uint64(first)/pageSize, uint64(last)/pageSize)
	r.mu.Unlock()
	r.discard(first, last, freed)
	return nil
}

// SeekData returns the first byte from off on that is not in a hole; ENXIO when there is none.
func (r *Regular) SeekData(off int64) (int64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if off < 0 || off >= r.size {
		return 0, unix.ENXIO
	}
	page := r.store.nextPage(uint64(off)/pageSize, uint64(roundUp(r.size))/pageSize, true)
	if at := int64(page) * pageSize; at >= r.size {
		return 0, unix.ENXIO
	} else if at > off {
		return at, nil
	}
	return off, nil
}

// SeekHole returns the first byte from off on that is in a hole, the end of the
// file being one; ENXIO behind it.
func (r *Regular) SeekHole(off int64) (int64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if off < 0 || off >= r.size {
		return 0, unix.ENXIO
	}
	page := r.store.nextPage(uint64(off)/pageSize, uint64(roundUp(r.size))/pageSize, false)
	return min(max(int64(page)*pageSize, off), r.size), nil
}

// Seals returns the F_SEAL_* of the file. A new one has F_SEAL_SEAL.
func (r *Regular) Seals() uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seals
}

// AllowSeals takes F_SEAL_SEAL off a new file.
func (r *Regular) AllowSeals() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seals = 0
}

// AddSeals is F_ADD_SEALS: EPERM when sealed against it, EBUSY for
// F_SEAL_WRITE while it is mapped writable.
func (r *Regular) AddSeals(seals uint32) error {
	const known = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | sealsNoWrite
	if seals&^known != 0 {
		return unix.EINVAL
	}
	// A write under way ends before the file is sealed.
	r.gate.Lock()
	defer r.gate.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.seals&unix.F_SEAL_SEAL != 0:
		return unix.EPERM
	case seals&unix.F_SEAL_WRITE != 0 && r.writable > 0:
		return unix.EBUSY
	}
	r.seals |= seals
	return nil
}
