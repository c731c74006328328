package mm

import "golang.org/x/sys/unix"

// copyPages copies length bytes, at most cowChunk, from src to dst. Pages that were
// never touched stay so if dst is untouched too (zeroed), and are cleared
// otherwise. Both ranges are referenced by the caller.
func (f *MemoryFile) copyPages(dst, src, length uint64, zeroed bool) error {
	var pages [cowChunk / PageSize]byte
	vec := pages[:length/PageSize]
	if err := f.resident(src, length, vec); err != nil {
		for i := range vec {
			vec[i] = 1
		}
	}
	f.findSwapped(src, vec)
	for i := 0; i < len(vec); {
		n := i + 1
		for n < len(vec) && vec[n]&1 == vec[i]&1 {
			n++
		}
		at, size := uint64(i)*PageSize, uint64(n-i)*PageSize
		if err := f.copyRun(dst+at, src+at, size, vec[i]&1 != 0, zeroed); err != nil {
			return err
		}
		i = n
	}
	return nil
}

func (f *MemoryFile) copyRun(dst, src, size uint64, touched, zeroed bool) (err error) {
	switch {
	case touched && zeroed:
		// The host fills fresh pages without clearing them first, and without a fault on each.
		_, err = pwriteFull(f.fd, f.Bytes(src, size), dst)
	case touched:
		_, err = f.copyGuarded(f.Bytes(dst, size), f.Bytes(src, size))
	case !zeroed:
		err = f.Guard(func() error {
			clear(f.Bytes(dst, size))
			return nil
		})
	}
	return err
}

// residentAround returns the part around off of [lo, hi), at most maxChunk, whose pages the
// host has. It is off's page alone if the host does not tell.
func (f *MemoryFile) residentAround(off, lo, hi uint64) (start, end uint64) {
	var pages [maxChunk / PageSize]byte
	if f.known(lo, hi) {
		return lo, hi
	}
	vec := pages[:(hi-lo)/PageSize]
	i := int((off - lo) / PageSize)
	j := i + 1
	if f.resident(lo, hi-lo, vec) == nil {
		for i > 0 && vec[i-1]&1 != 0 {
			i--
		}
		for j < len(vec) && vec[j]&1 != 0 {
			j++
		}
	}
	if i == 0 && j == len(vec) {
		f.learn(lo, hi)
	}
	return lo + uint64(i)*PageSize, lo + uint64(j)*PageSize
}

// known tells whether [lo, hi), which is referenced, was found to have all its pages. It has them still, since only what is free is punched: in
// memory, or where the host has swapped them to.
func (f *MemoryFile) known(lo, hi uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.full.get(lo)
	return g != nil && g.end >= hi
}

// learn says that [lo, hi), which is referenced, has all its pages.
func (f *MemoryFile) learn(lo, hi uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full.remove(lo, hi, nil)
	f.full.insert(lo, hi, nothing{})
}

// findSwapped marks pages in vec, which starts at off, that are not resident but
// exist: swapped out by the host.
func (f *MemoryFile) findSwapped(off uint64, vec []byte) {
	for i := 0; i < len(vec); i++ {
		if vec[i]&1 != 0 {
			continue
		}
		start := off + uint64(i)*PageSize
		d, err := unix.Seek(f.fd, int64(start), unix.SEEK_DATA)
		if err == unix.ENXIO {
			return
		}
		if err != nil {
			vec[i] = 1
			continue
		}
		for i < len(vec) && off+uint64(i)*PageSize < uint64(d) && vec[i]&1 == 0 {
			i++
		}
		if i < len(vec) {
			vec[i] = 1 // where the data is, or found to be resident
		}
	}
}
