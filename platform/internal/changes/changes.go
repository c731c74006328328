// Package changes holds what is to be done to a host address space: the list of
// changes not carried out yet, and which ranges are mapped once it is.
//
// A Queue lets the newest change win: a Map or Unmap takes back what older
// entries would have done to its range, so that a descriptor which is closed
// once its last mapping is taken back is never used. A Protect is cut to what is
// mapped, since mprotect(2) stops at a hole.
//
// A Queue is not safe for concurrent use; its owner locks.
package changes

import (
	"gosentry/platform"
)

// Queue is a list of changes and the set of ranges mapped after them. The zero
// value is the queue of an empty address space.
type Queue struct {
	pending []platform.Change
	mapped  RangeSet
}

// Mapped is how many bytes are mapped once all is carried out.
func (q *Queue) Mapped() uint64 { return q.mapped.bytes }

// Pieces returns what is mapped in pieces of at most length bytes, in order.
func (q *Queue) Pieces(length uint64) (pieces [][2]uint64) {
	for _, r := range q.mapped.r {
		for at := r.start; at < r.end; at += length {
			pieces = append(pieces, [2]uint64{at, min(at+length, r.end)})
		}
	}
	return pieces
}

// Overlaps tells whether something of [start, end) is mapped once all is carried out.
func (q *Queue) Overlaps(start, end uint64) bool { return q.mapped.Overlaps(start, end) }

// Len is the number of changes pending.
func (q *Queue) Len() int { return len(q.pending) }

// Pending returns the changes to carry out, in order; valid until the next call.
func (q *Queue) Pending() []platform.Change { return q.pending }

// Done says that the pending changes were carried out.
func (q *Queue) Done() { q.pending = q.pending[:0] }

// Wipe says that everything is unmapped and nothing pending.
func (q *Queue) Wipe() {
	q.pending = nil
	q.mapped = RangeSet{}
}

// Add queues c, whose range the owner has checked.
func (q *Queue) Add(c platform.Change) {
	end := c.Addr + c.Length
	switch c.Op {
	case platform.Map:
		q.takeBack(c.Addr, end)
		q.mapped.Add(c.Addr, end)
		q.push(c)
	case platform.Unmap:
		q.takeBack(c.Addr, end)
		if q.mapped.Overlaps(c.Addr, end) {
			q.mapped.Remove(c.Addr, end)
			q.push(c)
		}
	case platform.Protect:
		q.overrule(c.Addr, end)
		for start := c.Addr; start < end; {
			lo, hi, ok := q.mapped.Next(start, end)
			if !ok {
				return
			}
			part := c
			part.Addr, part.Length = lo, hi-lo
			q.push(part)
			start = hi
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

// push appends c, joined with the last entry where one call can do both.
func (q *Queue) push(c platform.Change) {
	if n := len(q.pending); n > 0 {
		l := &q.pending[n-1]
		if l.Op == c.Op && l.Prot == c.Prot && l.Addr+l.Length == c.Addr &&
			(c.Op != platform.Map || l.File == c.File && l.Fill == c.Fill && l.Offset+l.Length == c.Offset) {
			l.Length += c.Length
			return
		}
	}
	q.pending = append(q.pending, c)
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
