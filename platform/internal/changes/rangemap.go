package changes

import "sort"

// rangeMap gives addresses values, kept as sorted disjoint ranges; those that touch have different ones. The zero value is empty.
type rangeMap[V comparable] struct {
	r     []span[V]
	bytes uint64
}

type span[V comparable] struct {
	start, end uint64
	value      V
}

// after is the index of the first range that ends after addr.
func (m *rangeMap[V]) after(addr uint64) int {
	return sort.Search(len(m.r), func(i int) bool { return m.r[i].end > addr })
}

// overlaps tells whether an address of [start, end) has a value.
func (m *rangeMap[V]) overlaps(start, end uint64) bool {
	i := m.after(start)
	return i < len(m.r) && m.r[i].start < end
}

// next returns the first range of [start, end) that has one value.
func (m *rangeMap[V]) next(start, end uint64) (part span[V], ok bool) {
	i := m.after(start)
	if start >= end || i == len(m.r) || m.r[i].start >= end {
		return part, false
	}
	part = m.r[i]
	part.start, part.end = max(start, part.start), min(end, part.end)
	return part, true
}

// pieces returns all ranges in pieces of at most length bytes, in order.
func (m *rangeMap[V]) pieces(length uint64) (pieces [][2]uint64) {
	for _, r := range m.r {
		for at := r.start; at < r.end; at += length {
			pieces = append(pieces, [2]uint64{at, min(at+length, r.end)})
		}
	}
	return pieces
}

// set gives [start, end) the value v.
func (m *rangeMap[V]) set(start, end uint64, v V) {
	if start < end {
		m.put(start, end, span[V]{start, end, v})
	}
}

// remove takes the values of [start, end) away.
func (m *rangeMap[V]) remove(start, end uint64) { m.put(start, end) }

// put replaces what [start, end) has by parts of it.
func (m *rangeMap[V]) put(start, end uint64, parts ...span[V]) {
	i := sort.Search(len(m.r), func(i int) bool { return m.r[i].end >= start })
	j := i
	for j < len(m.r) && m.r[j].start <= end {
		j++
	}
	var room [3]span[V]
	n := room[:0]
	add := func(s span[V]) {
		switch last := len(n) - 1; {
		case s.start >= s.end:
		case last >= 0 && n[last].end == s.start && n[last].value == s.value:
			n[last].end = s.end
		default:
			n = append(n, s)
		}
	}
	if i < j {
		add(span[V]{m.r[i].start, min(start, m.r[i].end), m.r[i].value})
	}
	for _, s := range parts {
		add(s)
	}
	if i < j {
		add(span[V]{max(end, m.r[j-1].start), m.r[j-1].end, m.r[j-1].value})
	}
	m.replace(i, j, n)
}

// replace puts n where the ranges i to j-1 are.
func (m *rangeMap[V]) replace(i, j int, n []span[V]) {
	for _, o := range m.r[i:j] {
		m.bytes -= o.end - o.start
	}
	for _, o := range n {
		m.bytes += o.end - o.start
	}
	switch grow := len(n) - (j - i); {
	case grow > 0:
		m.r = append(m.r, n[:grow]...)
		copy(m.r[j+grow:], m.r[j:])
	case grow < 0:
		m.r = append(m.r[:j+grow], m.r[j:]...)
	}
	copy(m.r[i:], n)
}
