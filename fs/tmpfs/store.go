package tmpfs

import (
	"math/bits"
	"sort"

	"gosentry/mm"

	"github.com/tidwall/btree"
	"golang.org/x/sys/unix"
)

const (
	pageSize   = mm.PageSize
	blockPages = 512
	blockShift = 9
)

// store is where a file's pages are. Page numbers are those of the file. It has no lock: see Regular.mu.
type store struct {
	file   *mm.MemoryFile
	quota  *Quota
	blocks btree.Map[uint64, *block]
	pages  int64 // that are there
}

// block is blockPages pages of a file.
type block struct {
	present [blockPages / 64]uint64
	extents []extent // by page, disjoint
}

// extent is a run of pages in the memory file. page counts from the block's first.
type extent struct {
	page, pages uint16
	mem         uint64
}

func (e *extent) end() int { return int(e.page) + int(e.pages) }

// at returns the index of the first extent that ends behind page.
func (b *block) at(page int) int {
	return sort.Search(len(b.extents), func(i int) bool { return b.extents[i].end() > page })
}

func (b *block) has(page int) bool { return b.present[page/64]&(1<<(page%64)) != 0 }

// next returns the first page from page on that is there, or that is not; at most limit.
func (b *block) next(page, limit int, there bool) int {
	for page < limit {
		w := b.present[page/64]
		if !there {
			w = ^w
		}
		if w >>= page % 64; w != 0 {
			return min(page+bits.TrailingZeros64(w), limit)
		}
		page = (page/64 + 1) * 64
	}
	return limit
}

// mark sets or clears [from, to) and returns how many pages changed.
func (b *block) mark(from, to int, there bool) int64 {
	changed := 0
	for from < to {
		n := min(64-from%64, to-from)
		mask := (^uint64(0) >> (64 - n)) << (from % 64)
		w := &b.present[from/64]
		if there {
			changed += bits.OnesCount64(mask &^ *w)
			*w |= mask
		} else {
			changed += bits.OnesCount64(mask & *w)
			*w &^= mask
		}
		from += n
	}
	return int64(changed)
}

// find looks at up to n pages from page on: where they are in the memory file, or hole; it
// returns how many of them are alike, at least one.
func (s *store) find(page, n uint64) (mem, pages uint64, hole bool) {
	in := int(page % blockPages)
	limit := int(min(uint64(in)+n, blockPages))
	b, ok := s.blocks.Get(page >> blockShift)
	if !ok {
		return 0, uint64(limit - in), true
	}
	if !b.has(in) {
		return 0, uint64(b.next(in, limit, true) - in), true
	}
	e := &b.extents[b.at(in)]
	end := b.next(in, min(limit, e.end()), false)
	return e.mem + uint64(in-int(e.page))*pageSize, uint64(end - in), false
}

// fill makes pages be there, from page, which is a hole, on: at least one, at most
// n. It returns how many; reserve is up to how many to allocate ahead. ENOSPC.
func (s *store) fill(page, n, reserve uint64) (uint64, error) {
	index := page >> blockShift
	b, ok := s.blocks.Get(index)
	if !ok {
		b = &block{}
	}
	in := int(page % blockPages)
	end := b.next(in, int(min(uint64(in)+n, blockPages)), true)
	i := b.at(in)
	have := i < len(b.extents) && int(b.extents[i].page) <= in
	if have {
		end = min(end, b.extents[i].end())
	} else if i < len(b.extents) {
		end = min(end, int(b.extents[i].page))
	}
	if err := s.quota.charge(int64(end - in)); err != nil {
		if end-in == 1 {
			return 0, err
		}
		end = in + 1
		if err := s.quota.charge(1); err != nil {
			return 0, err
		}
	}
	if !have {
		if err := s.extend(b, i, in, end, reserve); err != nil {
			s.quota.uncharge(int64(end - in))
			return 0, err
		}
	}
	if !ok {
		s.blocks.Set(index, b)
	}
	s.pages += b.mark(in, end, true)
	return uint64(end - in), nil
}

// extend allocates an extent for [in, end) before b's i-th one, longer if reserve says so.
func (s *store) extend(b *block, i, in, end int, reserve uint64) error {
	room := blockPages
	if i < len(b.extents) {
		room = int(b.extents[i].page)
	}
	pages := max(end-in, min(int(min(reserve, blockPages)), room-in))
	mem, err := s.file.TryAllocate(uint64(pages) * pageSize)
	if err != nil {
		pages = end - in
		mem, err = s.file.Allocate(uint64(pages) * pageSize)
	}
	if err != nil {
		return unix.ENOSPC
	}
	if i > 0 {
		if p := &b.extents[i-1]; p.end() == in && p.mem+uint64(p.pages)*pageSize == mem {
			p.pages += uint16(pages)
			return nil
		}
	}
	b.extents = append(b.extents, extent{})
	copy(b.extents[i+1:], b.extents[i:])
	b.extents[i] = extent{page: uint16(in), pages: uint16(pages), mem: mem}
	return nil
}

// memRange is a range of the memory file, in bytes.
type memRange struct{ off, length uint64 }

// cut takes [from, to) out of the tables and returns what to free.
func (s *store) cut(from, to uint64) []memRange {
	var freed []memRange
	var empty []uint64
	s.blocks.Ascend(from>>blockShift, func(index uint64, b *block) bool {
		first := index << blockShift
		if first >= to {
			return false
		}
		lo, hi := 0, blockPages
		if from > first {
			lo = int(from - first)
		}
		if to < first+blockPages {
			hi = int(to - first)
		}
		gone := b.mark(lo, hi, false)
		s.pages -= gone
		s.quota.uncharge(gone)
		freed = b.cut(lo, hi, freed)
		if len(b.extents) == 0 {
			empty = append(empty, index)
		}
		return true
	})
	for _, index := range empty {
		s.blocks.Delete(index)
	}
	return freed
}

// cut takes [lo, hi) out of the extents and appends the memory to freed.
func (b *block) cut(lo, hi int, freed []memRange) []memRange {
	kept := make([]extent, 0, len(b.extents)+1)
	for _, e := range b.extents {
		from, to := max(lo, int(e.page)), min(hi, e.end())
		if from >= to {
			kept = append(kept, e)
			continue
		}
		freed = append(freed, memRange{e.mem + uint64(from-int(e.page))*pageSize, uint64(to-from) * pageSize})
		if from > int(e.page) {
			kept = append(kept, extent{e.page, uint16(from) - e.page, e.mem})
		}
		if to < e.end() {
			kept = append(kept, extent{uint16(to), uint16(e.end() - to), e.mem + uint64(to-int(e.page))*pageSize})
		}
	}
	b.extents = kept
	return freed
}

// nextPage returns the first page from page on that is there, or is not; end when
// that would lie at end or behind.
func (s *store) nextPage(page, end uint64, there bool) uint64 {
	found, hit := end, false
	expect := page
	s.blocks.Ascend(page>>blockShift, func(index uint64, b *block) bool {
		first := index << blockShift
		if !there && first > expect {
			return false
		}
		if first >= end {
			return false
		}
		from := 0
		if expect > first {
			from = int(expect - first)
		}
		if in := b.next(from, blockPages, there); in < blockPages {
			found, hit = first+uint64(in), true
			return false
		}
		expect = first + blockPages
		return true
	})
	if !there && !hit {
		found = expect
	}
	return min(found, end)
}

// free gives ranges back.
func (s *store) free(ranges []memRange) {
	for _, r := range ranges {
		s.file.DecRef(r.off, r.length)
	}
}

// clear frees everything.
func (s *store) clear() { s.free(s.cut(0, ^uint64(0))) }
