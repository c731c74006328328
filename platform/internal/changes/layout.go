package changes

import (
	"iter"

	"gosentry/platform"
)

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
	fill   bool // a hint, which tells no mappings apart
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
		l.ranges.set(c.Addr, end, mapping{c.Offset - c.Addr, c.File, c.FileID, c.Prot, c.Fill})
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

// Pieces returns what is mapped in pieces of at most length bytes, in order.
func (l *Layout) Pieces(length uint64) [][2]uint64 { return l.ranges.pieces(length) }

// stretch is a range that one layout maps in one way, or not at all, and another one, too.
type stretch struct {
	start, end uint64
	now, old   mapping
	mapped     bool // now
	had        bool // old
}

// same tells whether the stretch maps the same pages now as of old.
func (s *stretch) same() bool { return s.mapped && s.had && s.now.same(s.old) }

// against yields the stretches, in order, in which l or had has something mapped.
func (l *Layout) against(had *Layout) iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		for at, now, old := uint64(0), l.ranges.r, had.ranges.r; len(now)+len(old) > 0; {
			is, was := from(now, at), from(old, at)
			at = min(is.start, was.start)
			s := stretch{start: at, now: is.value, old: was.value, mapped: is.start == at, had: was.start == at}
			s.end = min(edge(is, s.mapped), edge(was, s.had))
			if !yield(s) {
				return
			}
			at = s.end
			now, old = behind(now, at), behind(old, at)
		}
	}
}

// since returns what makes l of had. Where neither has anything mapped between two ranges below high that are to be unmapped, one change does
// for both: behind high may be what no change has mapped.
func (l *Layout) since(had *Layout, high uint64) (list []platform.Change) {
	wanted := false // something behind the last change is to be mapped
	for s := range l.against(had) {
		c := platform.Change{Addr: s.start, Length: s.end - s.start, Prot: s.now.prot}
		switch {
		case !s.mapped:
			c.Op, c.Prot = platform.Unmap, 0
			if last := len(list) - 1; last >= 0 && !wanted && list[last].Op == platform.Unmap && s.end <= high {
				list[last].Length = s.end - list[last].Addr
			} else {
				list = join(list, c)
			}
		case s.same() && s.now.prot == s.old.prot:
		case s.same():
			c.Op = platform.Protect
			list = join(list, c)
		default:
			c.Op, c.File, c.FileID, c.Fill, c.Offset = platform.Map, s.now.file, s.now.fileID, s.now.fill, s.start+s.now.delta
			list = join(list, c)
		}
		wanted = s.mapped
	}
	return list
}

// distance tells how far it is from had to l; see Queue.Distance.
func (l *Layout) distance(had *Layout, unit uint64, most int) int {
	n, gone := 0, uint64(0)
	for s := range l.against(had) {
		if s.same() && s.now.prot == s.old.prot {
			continue
		}
		n++
		if s.had && !s.same() {
			gone += s.end - s.start
		}
		if n+int(gone/unit) >= most {
			return most
		}
	}
	return n + int(gone/unit)
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
