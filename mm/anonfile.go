package mm

import (
	"sync"

	"golang.org/x/sys/unix"
)

// anonFile is the file behind shared anonymous memory: of a fixed size, its pages
// are allocated when they are first touched, in chunks, and live as long as it
// is mapped.
type anonFile struct {
	MappingSet
	file *MemoryFile
	size uint64

	mu    sync.Mutex
	maps  uint64 // bytes mapped
	pages segset[anonPages]
}

// anonPages are pages of an anonFile: their place, as offset of file offset 0.
type anonPages struct{ delta uint64 }

func (a anonPages) equal(b anonPages) bool { return a == b }

func newAnonFile(f *MemoryFile, size uint64) *anonFile { return &anonFile{file: f, size: size} }

// NewSharedMemory returns a file of size bytes in memory that is empty at first and
// goes away with its last mapping; size is rounded up to pages. It is what is behind shared anonymous memory.
func NewSharedMemory(f *MemoryFile, size uint64) Mappable {
	size, _ = roundUp(size)
	return newAnonFile(f, size)
}

// AddMapping implements Mappable.
func (a *anonFile) AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error {
	a.Add(m, ar, off, writable)
	a.mu.Lock()
	a.maps += ar.Length()
	a.mu.Unlock()
	return nil
}

// RemoveMapping implements Mappable.
func (a *anonFile) RemoveMapping(m *MemoryManager, ar Range, off uint64, writable bool) {
	a.Remove(m, ar, off, writable)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unmappedLocked(ar.Length())
}

// unmappedLocked gives the pages back when nothing is mapped any more.
func (a *anonFile) unmappedLocked(length uint64) {
	if a.maps -= length; a.maps == 0 {
		a.file.decRefs(a.take(0, a.size))
	}
}

// Translate implements Mappable.
func (a *anonFile) Translate(off, length uint64, write bool) (Backing, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if off >= a.size {
		return Backing{}, unix.EFAULT
	}
	g := a.pages.get(off)
	if g == nil {
		lo, hi := window(off, a.file.chunk(), 0, a.size)
		lo, hi = a.pages.gap(off, lo, hi)
		at, err := a.file.TryAllocate(hi - lo)
		if err != nil {
			lo, hi = off, off+PageSize
			if at, err = a.file.Allocate(PageSize); err != nil {
				return Backing{}, err
			}
		}
		a.pages.insert(lo, hi, anonPages{at - lo})
		g = a.pages.get(off)
	}
	return Backing{Mem: true, Offset: off + g.v.delta, Length: min(length, g.end-off)}, nil
}

// MappedName implements Mappable.
func (a *anonFile) MappedName() (string, uint32, uint32, uint64) {
	return "/dev/zero (deleted)", 0, 1, 0
}

// Allocate implements HolePuncher.
func (a *anonFile) Allocate(mode uint32, off, length int64) error {
	if mode != punchHole || off < 0 || length < 0 {
		return unix.EOPNOTSUPP
	}
	start, end := uint64(off), min(uint64(off)+uint64(length), a.size)
	if end <= start {
		return nil
	}
	a.mu.Lock()
	gone := a.take(start, end)
	a.mu.Unlock()
	a.Invalidate(start, end-start)
	a.file.decRefs(gone)
	return nil
}

// take removes the pages in [start, end); the caller drops the references.
func (a *anonFile) take(start, end uint64) (gone []memRange) {
	a.pages.remove(start, end, func(s, e uint64, p anonPages) {
		gone = append(gone, memRange{s + p.delta, e - s})
	})
	return gone
}
