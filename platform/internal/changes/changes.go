// Package changes holds what is to be done to a host address space: the list of
// changes not carried out yet, and which ranges are mapped once it is.
//
// A Queue lets the newest change win: a Map or Unmap takes back what older
// entries would have done to its range, so that a descriptor which is closed
// once its last mapping is taken back is never used. A Protect is cut to what is
// mapped, since mprotect(2) stops at a hole.
//
// A Layout says what is mapped where, so long as that is not much: what has to be done to have one instead of another is a list of changes, too.
//
// None of them is safe for concurrent use; their owners lock.
package changes

import (
	"gosentry/platform"
)

// Queue is a list of changes and the set of ranges mapped after them. The zero
// value is the queue of an empty address space.
type Queue struct {
	pending []platform.Change
	mapped  rangeMap[struct{}]
	layout  Layout // the same, with what is mapped there
}

// Mapped is how many bytes are mapped once all is carried out.
func (q *Queue) Mapped() uint64 { return q.mapped.bytes }

// Pieces returns what is mapped once all is carried out, in pieces of at most length bytes, in order.
func (q *Queue) Pieces(length uint64) [][2]uint64 { return q.mapped.pieces(length) }

// Overlaps tells whether something of [start, end) is mapped once all is carried out.
func (q *Queue) Overlaps(start, end uint64) bool { return q.mapped.overlaps(start, end) }

// Len is the number of changes pending.
func (q *Queue) Len() int { return len(q.pending) }

// Pending returns the changes to carry out, in order; valid until the next call.
func (q *Queue) Pending() []platform.Change { return q.pending }

// Done says that the pending changes were carried out.
func (q *Queue) Done() { q.pending = q.pending[:0] }

// Wipe says that everything is unmapped and nothing pending.
func (q *Queue) Wipe() {
	q.pending = nil
	q.mapped = rangeMap[struct{}]{}
	q.layout = Layout{}
}

// Since returns the changes that turn had into what is to be mapped here. An address space ends at high: beyond it something else may be mapped.
// ok is false when either is not known.
func (q *Queue) Since(had *Layout, high uint64) (list []platform.Change, ok bool) {
	if !q.comparable(had) {
		return nil, false
	}
	return q.layout.since(had, high), true
}

// Distance is about how many changes Since would return, one more for each unit bytes of had that they take away, or most if it is more than that. ok is as of Since.
func (q *Queue) Distance(had *Layout, unit uint64, most int) (n int, ok bool) {
	if !q.comparable(had) {
		return 0, false
	}
	return q.layout.distance(had, unit, most), true
}

// comparable tells whether it is known what is mapped of both.
func (q *Queue) comparable(had *Layout) bool {
	return had != nil && !had.unknown && !q.layout.unknown
}

// Layout is what is mapped, nil when that is not known: some changes are pending, or too much is mapped. It is valid until the next call.
func (q *Queue) Layout() *Layout {
	if len(q.pending) > 0 || q.layout.unknown {
		return nil
	}
	return &q.layout
}

// Add queues c, whose range the owner has checked.
func (q *Queue) Add(c platform.Change) {
	end := c.Addr + c.Length
	q.layout.add(c)
	switch c.Op {
	case platform.Map:
		q.takeBack(c.Addr, end)
		q.mapped.set(c.Addr, end, struct{}{})
		q.push(c)
	case platform.Unmap:
		q.takeBack(c.Addr, end)
		if q.mapped.overlaps(c.Addr, end) {
			q.mapped.remove(c.Addr, end)
			q.push(c)
		}
	case platform.Protect:
		q.overrule(c.Addr, end)
		for start := c.Addr; start < end; {
			in, ok := q.mapped.next(start, end)
			if !ok {
				return
			}
			part := c
			part.Addr, part.Length = in.start, in.end-in.start
			q.push(part)
			start = in.end
		}
	}
}

// overrule takes [start, end) off the pending Protect entries of which no more than one part is left by that.
func (q *Queue) overrule(start, end uint64) {
	kept := q.pending[:0]
	for _, c := range q.pending {
		last := c.Addr + c.Length
		if c.Op == platform.Protect && c.Addr < end && start < last {
			switch {
			case start <= c.Addr && last <= end:
				continue
			case start <= c.Addr:
				c.Addr, c.Length = end, last-end
			case last <= end:
				c.Length = start - c.Addr
			}
		}
		kept = append(kept, c)
	}
	q.pending = kept
}

// push appends c.
func (q *Queue) push(c platform.Change) { q.pending = join(q.pending, c) }

// join appends c to list, joined with the last entry where one call can do both.
func join(list []platform.Change, c platform.Change) []platform.Change {
	if n := len(list); n > 0 {
		l := &list[n-1]
		if l.Op == c.Op && l.Prot == c.Prot && l.Addr+l.Length == c.Addr &&
			(c.Op != platform.Map || l.File == c.File && l.FileID == c.FileID && l.Fill == c.Fill && l.Offset+l.Length == c.Offset) {
			l.Length += c.Length
			return list
		}
	}
	return append(list, c)
}

// takeBack cuts [start, end) out of the pending Map and Protect entries. What
// they would have replaced stays until the caller's own entry replaces it.
func (q *Queue) takeBack(start, end uint64) {
	touched := false
	for i := range q.pending {
		c := &q.pending[i]
		if c.Op != platform.Unmap && c.Addr < end && start < c.Addr+c.Length {
			touched = true
			break
		}
	}
	if !touched {
		return
	}
	old := q.pending
	q.pending = make([]platform.Change, 0, len(old)+1)
	for _, c := range old {
		last := c.Addr + c.Length
		if c.Op == platform.Unmap || last <= start || end <= c.Addr {
			q.pending = append(q.pending, c)
			continue
		}
		if c.Addr < start {
			left := c
			left.Length = start - c.Addr
			q.pending = append(q.pending, left)
		}
		if end < last {
			right := c
			right.Addr, right.Length = end, last-end
			right.Offset += end - c.Addr
			q.pending = append(q.pending, right)
		}
	}
}
