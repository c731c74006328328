package changes

import "sort"

// RangeSet is a set of addresses, kept as sorted disjoint ranges that do not
// touch. The zero value is empty.
type RangeSet struct {
	r     []span
	bytes uint64
}

type span struct{ start, end uint64 }

// Len is the number of ranges.
func (s *RangeSet) Len() int { return len(s.r) }

// after is the index of the first range that ends after addr.
func (s *RangeSet) after(addr uint64) int {
	return sort.Search(len(s.r), func(i int) bool { return s.r[i].end > addr })
}

// Overlaps tells whether an address of [start, end) is in the set.
func (s *RangeSet) Overlaps(start, end uint64) bool {
	i := s.after(start)
	return i < len(s.r) && s.r[i].start < end
}

// Next returns the first part of [start, end) that is in the set.
func (s *RangeSet) Next(start, end uint64) (lo, hi uint64, ok bool) {
	i := s.after(start)
	if i == len(s.r) || s.r[i].start >= end {
		return 0, 0, false
	}
	return max(start, s.r[i].start), min(end, s.r[i].end), true
}

// Add puts [start, end) into the set.
func (s *RangeSet) Add(start, end uint64) {
	if start >= end {
		return
	}
	i := sort.Search(len(s.r), func(i int) bool { return s.r[i].end >= start })
	j := i
	for ; j < len(s.r) && s.r[j].start <= end; j++ {
		start, end = min(start, s.r[j].start), max(end, s.r[j].end)
	}
	s.replace(i, j, span{start, end})
}

// Remove takes [start, end) out of the set.
func (s *RangeSet) Remove(start, end uint64) {
	i := s.after(start)
	j := i
	var left []span
	for ; j < len(s.r) && s.r[j].start < end; j++ {
		if s.r[j].start < start {
			left = append(left, span{s.r[j].start, start})
		}
		if s.r[j].end > end {
			left = append(left, span{end, s.r[j].end})
		}
	}
	s.replace(i, j, left...)
}

// replace puts n where the ranges i to j-1 are.
func (s *RangeSet) replace(i, j int, n ...span) {
	for _, o := range s.r[i:j] {
		s.bytes -= o.end - o.start
	}
	for _, o := range n {
		s.bytes += o.end - o.start
	}
	switch grow := len(n) - (j - i); {
	case grow > 0:
		s.r = append(s.r, n[:grow]...)
		copy(s.r[j+grow:], s.r[j:])
	case grow < 0:
		s.r = append(s.r[:j+grow], s.r[j:]...)
	}
	copy(s.r[i:], n)
}
