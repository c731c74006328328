package host

import (
	"sync/atomic"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// A handle of a regular file is the mm.Mappable of all who opened the file
// that way, and stays open for as long as bytes of it are mapped.

// mapping is what the host said when it was asked to map a file: an errno, canMap, or 0 as long as it was not asked.
type mapping struct{ answer atomic.Uint32 }

const canMap = ^uint32(0)

// ask returns the error for mapping the file, which is open for reading: ENODEV and its like where the file's driver knows no mappings,
// or none that are shared, as all that platforms make are. A host that is short of something is not taken at its word.
func (m *mapping) ask(fd int) error {
	switch known := m.answer.Load(); known {
	case 0:
	case canMap:
		return nil
	default:
		return unix.Errno(known)
	}
	b, err := unix.Mmap(fd, 0, mm.PageSize, unix.PROT_READ, unix.MAP_SHARED)
	switch err {
	case nil:
		_ = unix.Munmap(b)
		m.answer.Store(canMap)
	case unix.ENOMEM, unix.EAGAIN, unix.EINTR:
		return nil
	default:
		m.answer.Store(uint32(err.(unix.Errno)))
	}
	return err
}

// AddMapping implements mm.Mappable.
func (h *handle) AddMapping(_ *mm.MemoryManager, ar mm.Range, _ uint64, writable bool) error {
	if writable && h.access != unix.O_RDWR {
		return unix.EACCES
	}
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	if h.mapped == 0 {
		h.refs++
	}
	h.mapped += ar.Length()
	return nil
}

// RemoveMapping implements mm.Mappable.
func (h *handle) RemoveMapping(_ *mm.MemoryManager, ar mm.Range, _ uint64, _ bool) {
	h.t.mu.Lock()
	last := h.mapped != 0 && h.mapped <= ar.Length()
	h.mapped -= min(h.mapped, ar.Length())
	h.t.mu.Unlock()
	if last {
		h.t.releaseFile(h)
	}
}

// Translate implements mm.Mappable. It asks for the size each time, since the host may
// have cut the file: a page beyond the end must not be offered twice.
func (h *handle) Translate(off, length uint64, write bool) (mm.Backing, error) {
	if write && h.access != unix.O_RDWR {
		return mm.Backing{}, unix.EACCES
	}
	b, err := translate(h.fd, off, length)
	b.ID = h.id
	return b, err
}

// translate is Translate for a descriptor.
func translate(fd int, off, length uint64) (mm.Backing, error) {
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		return mm.Backing{}, err
	}
	end := (st.Size + mm.PageSize - 1) &^ (mm.PageSize - 1)
	if off >= end {
		return mm.Backing{}, unix.EFAULT
	}
	return mm.Backing{FD: int32(fd), Offset: off, Length: min(length, end-off)}, nil
}

// Allocate implements mm.HolePuncher.
func (h *handle) Allocate(mode uint32, off, length int64) error {
	if h.access == unix.O_RDONLY {
		return unix.EBADF
	}
	for {
		if err := unix.Fallocate(h.fd, mode, off, length); err != unix.EINTR {
			return err
		}
	}
}

// MappedName implements mm.Mappable.
func (h *handle) MappedName() (string, uint32, uint32, uint64) {
	a := h.owner.lastAttr()
	return "", a.Major, a.Minor, a.Ino
}

// identity names a file for all who have a descriptor of it.
type identity struct {
	major, minor uint32
	ino          uint64
}

// Identity implements mm.Identified: each way of opening a file has a handle of its own.
func (h *handle) Identity() any {
	a := h.owner.lastAttr()
	return identity{a.Major, a.Minor, a.Ino}
}
