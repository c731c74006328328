package tmpfs

import (
	"math"
	"math/bits"
	"runtime"
	"sync"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// NameFunc tells what /proc/PID/maps shows of a file.
type NameFunc func() (path string, major, minor uint32, ino uint64)

// Regular is what a regular file contains: sparse pages in the memory file. It is
// an mm.Mappable. It is safe for concurrent use; who wants whole writes
// to exclude each other sees to that (the VFS does).
type Regular struct {
	mm.MappingSet
	name NameFunc

	// gate is held shared over copies and exclusively while pages are taken away.
	gate sync.RWMutex

	mu       sync.RWMutex
	store    *store
	size     int64
	holds    int
	mapped   uint64 // bytes
	writable uint64 // bytes mapped shared and writable
	freed    bool
	seals    uint32
}

// NewRegular returns an empty file with one hold. name may be nil.
func NewRegular(file *mm.MemoryFile, quota *Quota, name NameFunc) *Regular {
	r := &Regular{store: &store{file: file, quota: quota}, holds: 1, name: name}
	r.seals = unix.F_SEAL_SEAL
	runtime.AddCleanup(r, (*store).clear, r.store)
	return r
}

// Hold adds a hold. It is false when the file was freed already.
func (r *Regular) Hold() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.freed {
		return false
	}
	r.holds++
	return true
}

// Drop drops a hold; without holds and mappings the pages are freed.
func (r *Regular) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds--
	r.freeUnused()
}

// Release is Drop.
func (r *Regular) Release() { r.Drop() }

// freeUnused frees the pages of a file that nobody can open or map any more. mu is held. Who found its name a moment ago still sees how long
// it was.
func (r *Regular) freeUnused() {
	if r.holds == 0 && r.mapped == 0 && !r.freed {
		r.freed = true
		r.store.clear()
	}
}

// Size is the length in bytes.
func (r *Regular) Size() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.size
}

// Blocks is how much is there, in units of 512 bytes.
func (r *Regular) Blocks() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.store.pages * (pageSize / 512)
}

// ReadAt reads from off on into dst, up to the end of the file: 0 there.
func (r *Regular) ReadAt(dst *mm.Buffer, off int64) (int, error) {
	r.gate.RLock()
	defer r.gate.RUnlock()
	done := 0
	for dst.Len() > 0 {
		n, err := r.readSome(dst, off)
		done += n
		off += int64(n)
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		if n == 0 {
			break
		}
	}
	return done, nil
}

// readSome reads what lies in one piece at off. The gate is held.
func (r *Regular) readSome(dst *mm.Buffer, off int64) (int, error) {
	r.mu.RLock()
	if off >= r.size {
		r.mu.RUnlock()
		return 0, nil
	}
	want := min(dst.Len(), uint64(r.size-off))
	in := uint64(off) % pageSize
	mem, pages, hole := r.store.find(uint64(off)/pageSize, (in+want+pageSize-1)/pageSize)
	r.mu.RUnlock()
	want = min(want, pages*pageSize-in)
	if hole {
		n, err := dst.ZeroOut(want)
		return int(n), err
	}
	return dst.CopyOut(r.store.file.Bytes(mem+in, want))
}

// WriteAt writes src at off, making the file longer as needed. A short count comes with no error.
// ENOSPC; EFBIG at the greatest offset; EPERM by seals.
func (r *Regular) WriteAt(src *mm.Buffer, off int64) (int, error) {
	r.gate.RLock()
	defer r.gate.RUnlock()
	done := 0
	for src.Len() > 0 {
		n, err := r.writeSome(src, off)
		done += n
		off += int64(n)
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
	}
	return done, nil
}

// writeSome writes what goes into one piece at off. The gate is held.
func (r *Regular) writeSome(src *mm.Buffer, off int64) (int, error) {
	if off == math.MaxInt64 {
		return 0, unix.EFBIG
	}
	want := min(src.Len(), uint64(math.MaxInt64-off))
	in := uint64(off) % pageSize
	page, pages := uint64(off)/pageSize, (in+want+pageSize-1)/pageSize
	r.mu.RLock()
	mem, got, hole := r.store.find(page, pages)
	size, seals := r.size, r.seals
	if off > size {
		r.zeroTail(off)
	}
	r.mu.RUnlock()
	if seals&sealsNoWrite != 0 || seals&unix.F_SEAL_GROW != 0 && off+int64(want) > size {
		return 0, unix.EPERM
	}
	if hole {
		var err error
		if mem, got, err = r.make(page, pages, size); err != nil {
			return 0, err
		}
	}
	want = min(want, got*pageSize-in)
	n, err := src.CopyIn(r.store.file.Bytes(mem+in, want))
	if end := off + int64(n); end > size && n > 0 {
		r.mu.Lock()
		r.size = max(r.size, end)
		r.mu.Unlock()
	}
	return n, err
}

const sealsNoWrite = unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE

// make makes pages be there from page on and returns where.
func (r *Regular) make(page, pages uint64, size int64) (mem, got uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mem, got, hole := r.store.find(page, pages)
	if !hole {
		return mem, got, nil
	}
	reserve := uint64(0)
	if page*pageSize <= uint64(size)+pageSize && page > 0 {
		// It grows: as much ahead as there is.
		reserve = 1 << bits.Len64(uint64(r.store.pages))
	}
	if _, err := r.store.fill(page, pages, reserve); err != nil {
		return 0, 0, err
	}
	mem, got, _ = r.store.find(page, pages)
	return mem, got, nil
}

// zeroTail clears what mappings stored behind the end, in its page, before to. mu is
// held, the end is about to move there.
func (r *Regular) zeroTail(to int64) {
	if r.mapped > 0 && r.size%pageSize != 0 {
		r.zero(r.size, min(to, (r.size|(pageSize-1))+1))
	}
}

// zero clears [from, to), which lies within one page, if that is there. mu is held.
func (r *Regular) zero(from, to int64) {
	mem, _, hole := r.store.find(uint64(from)/pageSize, 1)
	if hole || from >= to {
		return
	}
	in := uint64(from) % pageSize
	_ = r.store.file.Guard(func() error {
		clear(r.store.file.Bytes(mem+in, uint64(to-from)))
		return nil
	})
}

// Truncate sets the size. EPERM by seals.
func (r *Regular) Truncate(size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	r.gate.Lock()
	defer r.gate.Unlock()
	r.mu.Lock()
	old := r.size
	if size < old && r.seals&unix.F_SEAL_SHRINK != 0 || size > old && r.seals&unix.F_SEAL_GROW != 0 {
		r.mu.Unlock()
		return unix.EPERM
	}
	if size > old {
		r.zeroTail(size)
		r.size = size
		r.mu.Unlock()
		return nil
	}
	r.size = size
	r.zero(size, min((size|(pageSize-1))+1, roundUp(old)))
	freed := r.store.cut(uint64(roundUp(size))/pageSize, ^uint64(0))
	r.mu.Unlock()
	r.discard(roundUp(size), math.MaxInt64&^(pageSize-1), freed)
	return nil
}

func roundUp(n int64) int64 {
	if n > math.MaxInt64-pageSize {
		return math.MaxInt64 &^ (pageSize - 1)
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// discard ends mappings of [from, to) and frees what was there. The gate is held exclusively.
func (r *Regular) discard(from, to int64, freed []memRange) {
	if from < to && !r.Empty() {
		r.Invalidate(uint64(from), uint64(to-from))
	}
	r.store.free(freed)
}

// stat returns size and blocks as of one moment.
func (r *Regular) stat() (size, blocks int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.size, r.store.pages * (pageSize / 512)
}
