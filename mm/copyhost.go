package mm

import (
	"golang.org/x/sys/unix"
)

// copyHost copies between b and a mapped host file, with no lock but hostIO, which keeps the descriptor.
// Bytes behind the end of the file, in its last page, read as zero and are not kept.
func (m *MemoryManager) copyHost(at uint64, b []byte, write, force bool) (int, error) {
	m.hostIO.RLock()
	defer m.hostIO.RUnlock()
	m.activeMu.RLock()
	g := m.pmas.get(at)
	if g == nil || g.v.inMemory() || !g.v.usable(write, force) {
		m.activeMu.RUnlock()
		return 0, nil // changed meanwhile: look again
	}
	fd, off := int(g.v.fd), at+g.v.delta
	b = b[:min(uint64(len(b)), g.end-at)]
	m.activeMu.RUnlock()
	if write {
		return writeMapped(fd, b, off)
	}
	n, err := preadFull(fd, b, off)
	if err != nil || n == len(b) {
		return n, err
	}
	// The rest of the last page.
	tail := 0
	if end := off + uint64(n); n > 0 && end%PageSize != 0 {
		tail = int(min(PageSize-end%PageSize, uint64(len(b)-n)))
	} else if n == 0 {
		tail, err = tailBehindEnd(fd, off, len(b))
	}
	clear(b[n : n+tail])
	if n += tail; n == 0 && err == nil {
		err = &BusError{}
	}
	return n, err
}

// tailBehindEnd tells how many of n bytes at off lie in the last page of the file, all
// behind its end.
func tailBehindEnd(fd int, off uint64, n int) (int, error) {
	size, err := hostSize(fd)
	if err != nil {
		return 0, err
	}
	end, _ := roundUp(size)
	if off >= end {
		return 0, nil
	}
	return int(min(uint64(n), end-off)), nil
}

func hostSize(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return uint64(max(st.Size, 0)), nil
}

// writeMapped writes as a store to a shared mapping would: it never makes the file longer.
func writeMapped(fd int, b []byte, off uint64) (int, error) {
	size, err := hostSize(fd)
	if err != nil {
		return 0, err
	}
	pages, _ := roundUp(size)
	if off >= pages {
		return 0, &BusError{}
	}
	n := min(uint64(len(b)), pages-off)
	if off < size {
		if k, err := pwriteFull(fd, b[:min(n, size-off)], off); err != nil {
			return k, err
		}
	}
	return int(n), nil
}
