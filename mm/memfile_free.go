package mm

import (
	"github.com/tidwall/btree"
	"golang.org/x/sys/unix"
)

// nothing is the value of segments that have none.
type nothing struct{}

func (nothing) equal(nothing) bool { return true }

// freeSpace are the ranges of the memory file that read as zero and are not in
// use: holes below top, kept by place (to merge them) and by size (to find the best fit), and
// all from top on.
type freeSpace struct {
	top, size uint64
	holes     segset[nothing]
	bySize    btree.Set[uint64] // sizeKey of every hole
}

// A sizeKey orders holes by size, then by place, in one word: 28 bits of pages (more counts
// as that) and 36 bits of page number.
func sizeKey(start, length uint64) uint64 {
	return min(length/PageSize, 1<<28-1)<<36 | start/PageSize
}

// growth is how much the used part of the file grows at least: small ranges
// share such a block, so that large ones stay next to each other.
const growth = 2 << 20

// take returns a range of length bytes.
func (s *freeSpace) take(length uint64) (off uint64, ok bool) {
	var key uint64
	s.bySize.Ascend(sizeKey(0, length), func(k uint64) bool {
		key, ok = k, true
		return false
	})
	if ok {
		start := key & (1<<36 - 1) * PageSize
		g := *s.holes.get(start)
		if g.end-g.start >= length { // not so for holes of 2^28 pages
			s.forget(g.start, g.end)
			if g.start+length < g.end {
				s.remember(g.start+length, g.end)
			}
			return g.start, true
		}
	}
	grow := (length + growth - 1) &^ uint64(growth-1)
	if grow < length || grow > s.size-s.top {
		return 0, false
	}
	off = s.top
	s.top += grow
	if grow > length {
		s.give(off+length, grow-length)
	}
	return off, true
}

// give adds a range that reads as zero.
func (s *freeSpace) give(off, length uint64) {
	start, end := off, off+length
	p := s.holes.find(start)
	if s.holes.ok(p) && s.holes.at(p).start == end {
		g := *s.holes.at(p)
		s.forget(g.start, g.end)
		end = g.end
	}
	if q, ok := s.holes.prev(s.holes.find(start)); ok && s.holes.at(q).end == start {
		g := *s.holes.at(q)
		s.forget(g.start, g.end)
		start = g.start
	}
	if end == s.top && start%growth == 0 {
		s.top = start
		return
	}
	s.remember(start, end)
}

func (s *freeSpace) remember(start, end uint64) {
	s.holes.insert(start, end, nothing{})
	s.bySize.Insert(sizeKey(start, end-start))
}

func (s *freeSpace) forget(start, end uint64) {
	s.holes.remove(start, end, nil)
	s.bySize.Delete(sizeKey(start, end-start))
}

// Bounds of staleRanges: the pages of a range, and of all together.
const (
	maxStalePages = 16
	maxStaleBytes = 4 << 20
)

// staleRanges are a few small free ranges with old contents: whoever overwrites a
// range whole spares the host the punching, zeroing and faulting.
type staleRanges struct {
	bytes uint64
	lists [maxStalePages + 1][]uint64 // by pages
}

func (s *staleRanges) put(off, length uint64) bool {
	if length > maxStalePages*PageSize || s.bytes+length > maxStaleBytes {
		return false
	}
	s.bytes += length
	n := length / PageSize
	s.lists[n] = append(s.lists[n], off)
	return true
}

func (s *staleRanges) take(length uint64) (off uint64, ok bool) {
	if length > maxStalePages*PageSize {
		return 0, false
	}
	list := &s.lists[length/PageSize]
	if len(*list) == 0 {
		return 0, false
	}
	off = (*list)[len(*list)-1]
	*list = (*list)[:len(*list)-1]
	s.bytes -= length
	return off, true
}

// punchPiece bounds how long one host call takes, and how much memory waits for it.
const punchPiece = 32 << 20

// startPunching lets a goroutine punch what is pending. It ends when all is done.
func (f *MemoryFile) startPunching() {
	if f.pendingBytes == 0 || f.punching || f.released {
		return
	}
	f.punching = true
	go func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for f.pendingBytes > 0 {
			f.punchPiece()
		}
		f.punching = false
		f.drain.Broadcast()
	}()
}

// punchSome makes progress: it punches a piece, or waits for those who do.
func (f *MemoryFile) punchSome() {
	if f.pendingBytes > 0 {
		f.punchPiece()
		return
	}
	f.drain.Wait()
}

// punchPiece punches one pending range, without the lock.
func (f *MemoryFile) punchPiece() {
	g := *f.pending.at(f.pending.first())
	g.end = min(g.end, g.start+punchPiece)
	f.pending.remove(g.start, g.end, nil)
	n := g.end - g.start
	f.pendingBytes -= n
	f.inPunch += n
	f.mu.Unlock()
	f.punch(g.start, n)
	f.mu.Lock()
	f.inPunch -= n
	f.free.give(g.start, n)
	f.drain.Broadcast()
}

// punch makes a range read as zero, and gives its memory back if the host can.
func (f *MemoryFile) punch(off, length uint64) {
	for {
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(length))
		if err == nil {
			return
		}
		if err != unix.EINTR {
			break
		}
	}
	_ = f.Guard(func() error {
		clear(f.Bytes(off, length))
		return nil
	})
}
