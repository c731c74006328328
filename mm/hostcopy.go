package mm

import (
	"golang.org/x/sys/unix"
)

// hostCopy asks for a private copy of pages on a host file, which must be read
// without locks. It is an error only to get out of them.
type hostCopy struct {
	start, end, page uint64
	p                pma
}

func (*hostCopy) Error() string { return "pages of a host file must be copied" }

// copyFromHost reads the pages into memory and puts them in place, if what was there
// still is. The caller tries again in any case.
func (m *MemoryManager) copyFromHost(c *hostCopy) error {
	lo, hi := c.start, c.end
	off, _, err := m.allocateCopy(&lo, &hi, c.page)
	if err != nil {
		return err
	}
	length := hi - lo
	read, err := m.readHostInto(c, lo, m.file.Bytes(off, length))
	if !read {
		m.file.DecRef(off, length)
		return err
	}
	m.mappingMu.RLock()
	m.activeMu.Lock()
	if m.unchanged(lo, hi, c.p) {
		host := m.pmas.get(lo).v
		m.replace(lo, hi, off, host)
		err = m.apply()
		off, length = 0, 0
	}
	m.activeMu.Unlock()
	m.mappingMu.RUnlock()
	if length != 0 {
		m.file.DecRef(off, length)
	}
	return err
}

// unchanged tells whether [lo, hi) is one pma on the same place of the same file as p.
func (m *MemoryManager) unchanged(lo, hi uint64, p pma) bool {
	g := m.pmas.get(lo)
	return g != nil && g.end >= hi && g.v.fd == p.fd && g.v.delta == p.delta && g.v.has(pmaCow)
}

// readHostInto fills dst from the file pages of c, from address lo on, and zeroes
// what is behind the end of the file. read is false, perhaps without an error, when
// the pages are not c's any more: the descriptor may be another file by now.
func (m *MemoryManager) readHostInto(c *hostCopy, lo uint64, dst []byte) (read bool, err error) {
	m.hostIO.RLock()
	defer m.hostIO.RUnlock()
	m.activeMu.RLock()
	ok := m.unchanged(lo, lo+uint64(len(dst)), c.p)
	m.activeMu.RUnlock()
	if !ok {
		return false, nil
	}
	n, err := preadFull(int(c.p.fd), dst, lo+c.p.delta)
	if err != nil {
		return false, err
	}
	if uint64(n) <= c.page-lo {
		return false, &BusError{Addr(c.page)}
	}
	err = m.file.Guard(func() error {
		clear(dst[n:])
		return nil
	})
	if err != nil {
		return false, unix.ENOMEM
	}
	return true, nil
}

// preadFull reads until dst is full or the file ends.
func preadFull(fd int, dst []byte, off uint64) (int, error) {
	done := 0
	for done < len(dst) {
		n, err := unix.Pread(fd, dst[done:], int64(off)+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, nil
		default:
			done += n
		}
	}
	return done, nil
}

// pwriteFull writes all of src.
func pwriteFull(fd int, src []byte, off uint64) (int, error) {
	done := 0
	for done < len(src) {
		n, err := unix.Pwrite(fd, src[done:], int64(off)+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, unix.EIO
		default:
			done += n
		}
	}
	return done, nil
}
