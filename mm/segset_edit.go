package mm

import "slices"

// insert adds [start, end), which must not overlap a segment, and merges it with
// its neighbours where they are equal.
func (s *segset[V]) insert(start, end uint64, v V) {
	p := s.find(start)
	if q, ok := s.prev(p); ok {
		if g := s.at(q); g.end == start && g.v.equal(v) {
			g.end = end
			s.mergeNext(q)
			return
		}
	}
	if s.ok(p) {
		if g := s.at(p); g.start == end && g.v.equal(v) {
			s.setStart(p, start)
			return
		}
	}
	s.put(p, segment[V]{start, end, v})
}

// append adds [start, end) behind all others, merging. It is insert for building a set in order.
func (s *segset[V]) append(start, end uint64, v V) {
	if n := len(s.leaves); n > 0 {
		leaf := s.leaves[n-1]
		if g := &leaf[len(leaf)-1]; g.end == start && g.v.equal(v) {
			g.end = end
			return
		}
	}
	s.put(pos{len(s.leaves), 0}, segment[V]{start, end, v})
}

// put places g at p without merging.
func (s *segset[V]) put(p pos, g segment[V]) {
	s.count++
	if p.i == 0 && p.leaf > 0 {
		// Rather the end of the leaf before: keeps leaves full when a set grows upwards.
		if n := len(s.leaves[p.leaf-1]); n < leafSize || p.leaf == len(s.leaves) {
			p = pos{p.leaf - 1, n}
		}
	}
	if len(s.leaves) == 0 {
		s.leaves = append(s.leaves, append(make([]segment[V], 0, 8), g))
		s.firsts = append(s.firsts, g.start)
		return
	}
	leaf := s.leaves[p.leaf]
	if len(leaf) >= leafSize {
		p = s.splitLeaf(p)
		leaf = s.leaves[p.leaf]
	}
	s.leaves[p.leaf] = slices.Insert(leaf, p.i, g)
	if p.i == 0 {
		s.firsts[p.leaf] = g.start
	}
}

// splitLeaf makes room in p's full leaf and returns where p is now. At the end of
// the set the new leaf starts empty but for p's segment, so that sets built
// upwards have full leaves.
func (s *segset[V]) splitLeaf(p pos) pos {
	leaf := s.leaves[p.leaf]
	if p.i == len(leaf) {
		s.leaves = slices.Insert(s.leaves, p.leaf+1, make([]segment[V], 0, 8))
		s.firsts = slices.Insert(s.firsts, p.leaf+1, 0)
		return pos{p.leaf + 1, 0}
	}
	half := len(leaf) / 2
	upper := append(make([]segment[V], 0, leafSize), leaf[half:]...)
	clear(leaf[half:])
	s.leaves[p.leaf] = leaf[:half]
	s.leaves = slices.Insert(s.leaves, p.leaf+1, upper)
	s.firsts = slices.Insert(s.firsts, p.leaf+1, upper[0].start)
	if p.i > half {
		return pos{p.leaf + 1, p.i - half}
	}
	return p
}

func (s *segset[V]) setStart(p pos, start uint64) {
	s.at(p).start = start
	if p.i == 0 {
		s.firsts[p.leaf] = start
	}
}

// drop removes n segments of one leaf from p on.
func (s *segset[V]) drop(p pos, n int) {
	s.count -= n
	leaf := slices.Delete(s.leaves[p.leaf], p.i, p.i+n)
	s.leaves[p.leaf] = leaf
	switch {
	case len(leaf) == 0:
		s.leaves = slices.Delete(s.leaves, p.leaf, p.leaf+1)
		s.firsts = slices.Delete(s.firsts, p.leaf, p.leaf+1)
	case p.i == 0:
		s.firsts[p.leaf] = leaf[0].start
	}
	s.joinLeaves(p.leaf)
}

// joinLeaves merges leaf l with the next when both are small.
func (s *segset[V]) joinLeaves(l int) {
	if l+1 >= len(s.leaves) || len(s.leaves[l])+len(s.leaves[l+1]) > leafSize/2 {
		return
	}
	s.leaves[l] = append(s.leaves[l], s.leaves[l+1]...)
	s.leaves = slices.Delete(s.leaves, l+1, l+2)
	s.firsts = slices.Delete(s.firsts, l+1, l+2)
}

// mergeNext merges the segment at p with the following one if they touch and are equal.
func (s *segset[V]) mergeNext(p pos) bool {
	q := s.next(p)
	if !s.ok(q) {
		return false
	}
	g, h := s.at(p), s.at(q)
	if g.end != h.start || !g.v.equal(h.v) {
		return false
	}
	g.end = h.end
	s.drop(q, 1)
	return true
}

// split makes k a boundary if it lies inside a segment.
func (s *segset[V]) split(k uint64) {
	p := s.find(k)
	if !s.ok(p) {
		return
	}
	g := s.at(p)
	if g.start >= k {
		return
	}
	upper := segment[V]{k, g.end, g.v}
	g.end = k
	s.put(pos{p.leaf, p.i + 1}, upper)
}

// isolate makes start and end boundaries.
func (s *segset[V]) isolate(start, end uint64) {
	s.split(start)
	s.split(end)
}

// mergeRange merges equal neighbours within and at the borders of [start, end].
func (s *segset[V]) mergeRange(start, end uint64) {
	p := s.find(start)
	if q, ok := s.prev(p); ok {
		p = q
	}
	for s.ok(p) && s.at(p).start < end {
		at := s.at(p).start
		if s.mergeNext(p) {
			p = s.find(at) // leaves may have been joined
			continue
		}
		p = s.next(p)
	}
}

// remove takes [start, end) out of the set, splitting segments at its borders.
// removed, which may be nil, is called for every part before that.
func (s *segset[V]) remove(start, end uint64, removed func(start, end uint64, v V)) {
	if start >= end || !s.overlaps(start, end) {
		return
	}
	s.isolate(start, end)
	if removed != nil {
		for p := s.find(start); s.ok(p) && s.at(p).start < end; p = s.next(p) {
			g := s.at(p)
			removed(g.start, g.end, g.v)
		}
	}
	for {
		p := s.find(start)
		if !s.ok(p) || s.at(p).start >= end {
			return
		}
		leaf := s.leaves[p.leaf]
		n := 1
		for p.i+n < len(leaf) && leaf[p.i+n].start < end {
			n++
		}
		s.drop(p, n)
	}
}

// update replaces the values in [start, end) by what f returns, splitting at the
// borders where a value changes and merging afterwards. Holes stay holes.
func (s *segset[V]) update(start, end uint64, f func(start, end uint64, v V) V) {
	if start >= end || !s.overlaps(start, end) {
		return
	}
	s.isolate(start, end)
	for p := s.find(start); s.ok(p) && s.at(p).start < end; p = s.next(p) {
		g := s.at(p)
		g.v = f(g.start, g.end, g.v)
	}
	s.mergeRange(start, end)
}

// each calls f for the parts of segments that lie in [start, end), cut to it, until f
// returns false. f must not change the set.
func (s *segset[V]) each(start, end uint64, f func(start, end uint64, v V) bool) {
	for p := s.find(start); s.ok(p); p = s.next(p) {
		g := s.at(p)
		if g.start >= end || !f(max(g.start, start), min(g.end, end), g.v) {
			return
		}
	}
}
