package changes

import "gosentry/platform"

// maxLayout bounds the ranges of a Layout.
const maxLayout = 1024

// Layout is what is mapped where, in up to maxLayout ranges: when it would have more it is unknown from then on. The zero value has nothing mapped.
type Layout struct {
	ranges  rangeMap[mapping]
	unknown bool
}

// mapping is what a range maps: of a file, the offset of address 0, and the rights.
type mapping struct {
	delta  uint64
	file   int32
	fileID uint32
	prot   platform.Prot
}

// same tells whether two mappings are known to be of the same pages.
func (m mapping) same(o mapping) bool {
	return m.fileID != 0 && m.file == o.file && m.fileID == o.fileID && m.delta == o.delta
}

// add carries out c.
func (l *Layout) add(c platform.Change) {
	if l.unknown {
		return
	}
	end := c.Addr + c.Length
	switch c.Op {
	case platform.Map:
		l.ranges.set(c.Addr, end, mapping{c.Offset - c.Addr, c.File, c.FileID, c.Prot})
	case platform.Unmap:
		l.ranges.remove(c.Addr, end)
	case platform.Protect:
		for part, ok := l.ranges.next(c.Addr, end); ok; part, ok = l.ranges.next(part.end, end) {
			part.value.prot = c.Prot
			l.ranges.set(part.start, part.end, part.value)
		}
	}
	if len(l.ranges.r) > maxLayout {
		*l = Layout{unknown: true}
	}
}

// since returns what makes l of had, and how many bytes of that it takes away. Where neither has anything mapped between two ranges below high that are to be unmapped, one change does for both:
// behind high may be what no change has mapped.
func (l *Layout) since(had *Layout, high uint64) (list []platform.Change, gone uint64) {
	wanted := false // something behind the last change is to be mapped
	for at, now, old := uint64(0), l.ranges.r, had.ranges.r; len(now)+len(old) > 0; {
		is, was := from(now, at), from(old, at)
		at = min(is.start, was.start)
		mapped, had := is.start == at, was.start == at
		next := min(edge(is, mapped), edge(was, had))
		now, old = behind(now, next), behind(old, next)
		c := platform.Change{Addr: at, Length: next - at}
		if had && !(mapped && is.value.same(was.value)) {
			gone += c.Length
		}
		switch {
		case !mapped:
			c.Op = platform.Unmap
			if last := len(list) - 1; last >= 0 && !wanted && list[last].Op == platform.Unmap && next <= high {
				list[last].Length = next - list[last].Addr
			} else {
				list = join(list, c)
			}
		case had && is.value.same(was.value) && is.value.prot == was.value.prot:
		case had && is.value.same(was.value):
			c.Op, c.Prot = platform.Protect, is.value.prot
			list = join(list, c)
		default:
			v := is.value
			c.Op, c.Prot, c.File, c.FileID, c.Offset = platform.Map, v.prot, v.file, v.fileID, at+v.delta
			list = join(list, c)
		}
		wanted = mapped
		at = next
	}
	return list, gone
}

// from is what is left of the first range from addr on; one behind all addresses if there is no range.
func from(r []span[mapping], addr uint64) span[mapping] {
	if len(r) == 0 {
		return span[mapping]{start: ^uint64(0), end: ^uint64(0)}
	}
	s := r[0]
	s.start = max(s.start, addr)
	return s
}

// behind is r without its first range if that ends at addr.
func behind(r []span[mapping], addr uint64) []span[mapping] {
	if len(r) > 0 && r[0].end == addr {
		return r[1:]
	}
	return r
}

// edge is where s begins or, once it has begun, ends.
func edge(s span[mapping], begun bool) uint64 {
	if begun {
		return s.end
	}
	return s.start
}
