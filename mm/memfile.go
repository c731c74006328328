package mm

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Sizes of the memory file, in bytes. It is much larger than what may be
// allocated, so that fragments do not matter.
const (
	maxFileSize = 4 << 40
	minFileSize = 16 << 30
	spareFactor = 16
)

// memRange is a range of the memory file.
type memRange struct{ off, length uint64 }

// refCount is the number of references on every page of a range, and the part that it is charged to.
type refCount struct{ n, by uint32 }

func (r refCount) equal(o refCount) bool { return r == o }

// MemoryFile is the memory of a sandbox: ranges of a memfd, counted in references by
// range. It is safe for concurrent use; its lock is the innermost of the package.
//
// A range without references goes to the punched state in the background and is
// reused after that; small ranges are kept unpunched, up to a bound, for those who will overwrite
// them whole.
//
// A Part is the same file with a limit of its own; see there.
type MemoryFile struct {
	*pages
	// part is what allocations are charged to besides the whole; nil: nothing.
	part *account
}

// pages are what a memory file has in common with its parts.
type pages struct {
	fd   int
	mem  hostMapping
	size uint64

	// MaxMappings bounds the mappings of each address space over the file, at most MostMappings.
	MaxMappings atomic.Int64
	// vmas are those of all address spaces, as far as they were counted: see countVMAs.
	vmas atomic.Int64
	// aside is what TakeAside counts, and mostAside its bound, in bytes.
	aside, mostAside atomic.Int64
	// collected is when that last had the garbage collected, in ns.
	collected atomic.Int64

	mu    sync.Mutex
	whole account
	parts map[uint32]*account // that have something, or will
	// lastPart is the id given last, so that the next is found at once.
	lastPart uint32
	drain    sync.Cond // pending became empty, or shrank
	refs     segset[refCount]
	free     freeSpace
	stale    staleRanges
	// full are ranges in use of which the host has every page, as far as is known.
	full segset[nothing]
	// pending are ranges to be punched, pendingBytes how much; punching tells that a
	// goroutine does it.
	pending      segset[nothing]
	pendingBytes uint64
	inPunch      uint64
	punching     bool
	released     bool
}

// NewMemoryFile makes a memory file of which limit bytes may be allocated. It
// needs memfd_create, ftruncate and mmap, and later fallocate.
func NewMemoryFile(limit uint64) (*MemoryFile, error) {
	fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	size := max(minFileSize, min(limit, maxFileSize/spareFactor)*spareFactor) &^ (growth - 1)
	for ; ; size /= 2 {
		if err = unix.Ftruncate(fd, int64(size)); err == nil {
			var mem hostMapping
			if mem, err = mapFile(fd, size); err == nil {
				f := &MemoryFile{pages: &pages{fd: fd, mem: mem, size: size, whole: account{limit: limit &^ (PageSize - 1)}}}
				f.MaxMappings.Store(DefaultMappings)
				f.mostAside.Store(asideLimit(limit))
				f.drain.L = &f.mu
				f.free.top, f.free.size = 0, size
				f.excludeFromCore()
				return f, nil
			}
		}
		if size <= limit || size < growth*2 {
			_ = unix.Close(fd)
			return nil, err
		}
	}
}

// FD is the host descriptor of the memfd.
func (f *MemoryFile) FD() int { return f.fd }

// Limit is how many bytes may be allocated, by its own limit and those that bound it.
func (f *MemoryFile) Limit() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	limit := f.whole.limit
	for a := f.part; a != nil; a = a.in {
		limit = min(limit, a.limit)
	}
	return limit
}

// SetLimit changes how many bytes may be allocated, as far as the file reaches. What is allocated stays so.
func (f *MemoryFile) SetLimit(limit uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.account().limit = min(limit, f.size) &^ (PageSize - 1)
	if f.part == nil {
		f.mostAside.Store(asideLimit(limit))
	}
}

// Usage is how many bytes are allocated. Not all of them need have been touched:
// see Resident.
func (f *MemoryFile) Usage() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.account().allocated
}

// Resident is how many bytes the host has given, as the host counts them. It is a
// host call.
func (f *MemoryFile) Resident() uint64 {
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil {
		return f.Usage()
	}
	return uint64(st.Blocks) * 512
}

// Release gives everything back to the host. No range may be in use.
func (f *MemoryFile) Release() {
	f.mu.Lock()
	f.released = true
	f.pending.clear()
	f.pendingBytes = 0
	for f.punching {
		f.drain.Wait()
	}
	f.mu.Unlock()
	unmapFile(f.mem, f.size)
	_ = unix.Close(f.fd)
}

// Allocate returns a zeroed range of length bytes, a positive multiple of
// PageSize, with one reference. ENOMEM over the limit, which Over counts.
func (f *MemoryFile) Allocate(length uint64) (off uint64, err error) {
	return f.allocateZeroed(length, mustHave)
}

// TryAllocate is Allocate for who can do with less, or without: Over does not count it.
func (f *MemoryFile) TryAllocate(length uint64) (off uint64, err error) {
	return f.allocateZeroed(length, couldHave)
}

func (f *MemoryFile) allocateZeroed(length uint64, n need) (off uint64, err error) {
	off, zeroed, err := f.allocate(length, length <= maxClearBytes, n)
	if err != nil || zeroed {
		return off, err
	}
	err = f.Guard(func() error {
		clear(f.Bytes(off, length))
		return nil
	})
	if err != nil {
		f.DecRef(off, length)
		return 0, unix.ENOMEM
	}
	return off, nil
}

// maxClearBytes is up to where clearing a used range beats a fresh one.
const maxClearBytes = 4 * PageSize

// need says whether an allocation that is refused is one that somebody has to do without.
type need bool

const (
	couldHave need = false
	mustHave  need = true
)

// allocate is Allocate, and tells whether the range is zeroed; with stale set it
// need not be.
func (f *MemoryFile) allocate(length uint64, stale bool, n need) (off uint64, zeroed bool, err error) {
	if length == 0 || length%PageSize != 0 {
		return 0, false, unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.admit(length) {
		if n == mustHave {
			f.refused(length)
		}
		return 0, false, unix.ENOMEM
	}
	if stale {
		if off, ok := f.stale.take(length); ok {
			f.take(off, length)
			return off, false, nil
		}
	}
	off, ok := f.free.take(length)
	for !ok && f.pendingBytes+f.inPunch > 0 {
		f.punchSome()
		off, ok = f.free.take(length)
	}
	if !ok {
		return 0, false, unix.ENOMEM
	}
	f.take(off, length)
	return off, true, nil
}

// admit tells whether length more bytes are within the limits, after punching what is
// to be punched if that helps.
func (f *MemoryFile) admit(length uint64) bool {
	if _, left := f.room(); length > left {
		return false
	}
	w := &f.whole
	for f.pendingBytes+f.inPunch > 0 && w.allocated+f.pendingBytes+f.inPunch+length > w.limit+w.limit/8 {
		f.punchSome()
		if _, left := f.room(); length > left {
			return false
		}
	}
	return true
}

// chunk is the largest allocation that a fault should make: less when memory gets scarce,
// since pages that are never touched count as well.
func (f *MemoryFile) chunk() uint64 {
	f.mu.Lock()
	limit, left := f.room()
	f.mu.Unlock()
	switch {
	case left > limit/2:
		return maxChunk
	case left > limit/4:
		return maxChunk / 8
	case left > limit/8:
		return maxChunk / 32
	}
	return PageSize
}

// IncRef adds a reference to [off, off+length), all of which has some.
func (f *MemoryFile) IncRef(off, length uint64) {
	f.mu.Lock()
	f.incRef(off, length)
	f.mu.Unlock()
}

func (f *MemoryFile) incRef(off, length uint64) {
	var seen uint64
	f.refs.update(off, off+length, func(start, end uint64, r refCount) refCount {
		seen += end - start
		r.n++
		return r
	})
	if seen != length {
		panic("mm: reference to a free range of the memory file")
	}
}

// incRefs is IncRef for many ranges.
func (f *MemoryFile) incRefs(ranges []memRange) {
	f.mu.Lock()
	for _, r := range ranges {
		f.incRef(r.off, r.length)
	}
	f.mu.Unlock()
}

// DecRef drops a reference from [off, off+length). What has none left is free.
func (f *MemoryFile) DecRef(off, length uint64) {
	f.mu.Lock()
	f.decRef(off, length)
	f.startPunching()
	f.mu.Unlock()
}

// decRefs is DecRef for many ranges.
func (f *MemoryFile) decRefs(ranges []memRange) {
	if len(ranges) == 0 {
		return
	}
	f.mu.Lock()
	for _, r := range ranges {
		f.decRef(r.off, r.length)
	}
	f.startPunching()
	f.mu.Unlock()
}

func (f *MemoryFile) decRef(off, length uint64) {
	var seen uint64
	zero := false
	f.refs.update(off, off+length, func(start, end uint64, r refCount) refCount {
		seen += end - start
		zero = zero || r.n == 1
		r.n--
		return r
	})
	if seen != length {
		panic("mm: reference dropped from a free range of the memory file")
	}
	if !zero {
		return
	}
	for p := f.refs.find(off); f.refs.ok(p); p = f.refs.find(off) {
		g := *f.refs.at(p)
		if g.start >= off+length {
			return
		}
		if off = g.end; g.v.n == 0 {
			f.refs.remove(g.start, g.end, nil)
			f.reclaim(g.start, g.end-g.start, g.v.by)
		}
	}
}

// reclaim takes a range that has no reference any more and was charged to a part, 0 for none.
func (f *pages) reclaim(off, length uint64, by uint32) {
	f.whole.allocated -= length
	f.uncharge(by, length)
	f.full.remove(off, off+length, nil)
	if f.stale.put(off, length) {
		return
	}
	f.pending.insert(off, off+length, nothing{})
	f.pendingBytes += length
}

// sharedByTwo tells whether [lo, hi) has two references all over.
func (f *MemoryFile) sharedByTwo(lo, hi uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.refs.get(lo)
	return g != nil && g.v.n == 2 && g.end >= hi
}

// sole tells whether the page at off has one reference, the caller's.
func (f *MemoryFile) sole(off uint64) bool {
	_, _, ok := f.soleAround(off, off, off+PageSize)
	return ok
}

// eachShare calls fn for the parts of [lo, hi), all of which has references, and tells which have one, the caller's, until fn returns false. It
// stays so if only the caller can make more.
func (f *MemoryFile) eachShare(lo, hi uint64, fn func(start, end uint64, sole bool) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs.each(lo, hi, func(start, end uint64, r refCount) bool {
		return fn(start, end, r.n == 1)
	})
}

// soleAround returns the part around off of [lo, hi) that has one reference, the
// caller's. It stays so if only the caller can make more.
func (f *MemoryFile) soleAround(off, lo, hi uint64) (start, end uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.refs.get(off)
	if g == nil || g.v.n != 1 {
		return 0, 0, false
	}
	return max(g.start, lo), min(g.end, hi), true
}
