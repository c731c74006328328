package mm

// value is what a segment carries. Values do not depend on where the segment
// starts (offsets are kept as "offset of address 0"), so that a segment can be split
// without touching its value.
type value[V any] interface {
	equal(V) bool
}

// segment is a half-open range [start, end) with a value.
type segment[V value[V]] struct {
	start, end uint64
	v          V
}

// leafSize bounds the segments of a leaf: an insertion moves at most that many.
const leafSize = 64

// segset is an ordered set of disjoint segments. It is a list of leaves, each a
// short sorted array; firsts holds the start of every leaf's first segment. No
// leaf is empty. Adjacent segments with equal values are merged by the operations that
// say so. The zero value is an empty set. It has no lock of its own.
type segset[V value[V]] struct {
	firsts []uint64
	leaves [][]segment[V]
	count  int
}

// pos is a place in a segset, valid until the set is changed.
type pos struct{ leaf, i int }

// len is the number of segments.
func (s *segset[V]) len() int { return s.count }

// ok tells whether p is at a segment rather than behind the last one.
func (s *segset[V]) ok(p pos) bool { return p.leaf < len(s.leaves) }

// at returns the segment at p; its bounds must not be written to.
func (s *segset[V]) at(p pos) *segment[V] { return &s.leaves[p.leaf][p.i] }

// first is the position of the lowest segment.
func (s *segset[V]) first() pos { return pos{} }

func (s *segset[V]) next(p pos) pos {
	p.i++
	if p.i >= len(s.leaves[p.leaf]) {
		return pos{p.leaf + 1, 0}
	}
	return p
}

// prev returns the position before p, which may be behind the last segment; ok
// is false when there is none.
func (s *segset[V]) prev(p pos) (q pos, ok bool) {
	if p.i > 0 {
		return pos{p.leaf, p.i - 1}, true
	}
	if p.leaf == 0 {
		return p, false
	}
	return pos{p.leaf - 1, len(s.leaves[p.leaf-1]) - 1}, true
}

// find returns the position of the first segment that ends above k: the one
// that holds k, or the next one.
func (s *segset[V]) find(k uint64) pos {
	// The last leaf that starts at or below k.
	lo, hi := 0, len(s.firsts)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.firsts[mid] <= k {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return pos{}
	}
	l := lo - 1
	leaf := s.leaves[l]
	lo, hi = 0, len(leaf)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if leaf[mid].end <= k {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(leaf) {
		return pos{l + 1, 0}
	}
	return pos{l, lo}
}

// get returns the segment that holds k, or nil.
func (s *segset[V]) get(k uint64) *segment[V] {
	p := s.find(k)
	if p.leaf < len(s.leaves) {
		if g := &s.leaves[p.leaf][p.i]; g.start <= k {
			return g
		}
	}
	return nil
}

// overlaps tells whether a segment shares a byte with [start, end).
func (s *segset[V]) overlaps(start, end uint64) bool {
	p := s.find(start)
	return s.ok(p) && s.at(p).start < end
}

// gap returns the hole around k, cut to [lo, hi); k must not be in a segment.
func (s *segset[V]) gap(k, lo, hi uint64) (start, end uint64) {
	p := s.find(k)
	if q, ok := s.prev(p); ok {
		lo = max(lo, s.at(q).end)
	}
	if s.ok(p) {
		hi = min(hi, s.at(p).start)
	}
	return lo, hi
}

// clone returns a copy.
func (s *segset[V]) clone() segset[V] {
	c := segset[V]{count: s.count}
	c.firsts = append([]uint64(nil), s.firsts...)
	c.leaves = make([][]segment[V], len(s.leaves))
	for i, leaf := range s.leaves {
		c.leaves[i] = append([]segment[V](nil), leaf...)
	}
	return c
}

// clear removes everything.
func (s *segset[V]) clear() { *s = segset[V]{} }
