package changes

import (
	"testing"

	"gosentry/platform"

	"pgregory.net/rapid"
)

// space is a naive address space: a byte says what a page holds. It stands for the host.
type space [64]page

type page struct {
	file   int32
	id     uint32
	offset uint64
	prot   platform.Prot
	mapped bool
}

const pageSize = 4096

// carry carries out a change as mmap, munmap and mprotect do. It tells whether
// mprotect would stop at a hole.
func (s *space) carry(c platform.Change, strict bool) (hole bool) {
	for i := uint64(0); i < c.Length; i += pageSize {
		p := &s[(c.Addr+i)/pageSize]
		switch c.Op {
		case platform.Map:
			*p = page{c.File, c.FileID, c.Offset + i, c.Prot, true}
		case platform.Unmap:
			*p = page{}
		case platform.Protect:
			if p.mapped {
				p.prot = c.Prot
			} else if strict {
				return true
			}
		}
	}
	return false
}

// TestQueue compares what the queue has the host do with doing each change at once,
// flushing at random times.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want, got space
		var q Queue
		flush := func() {
			for _, c := range q.Pending() {
				if got.carry(c, true) {
					t.Fatalf("mprotect at a hole: %+v", c)
				}
			}
			q.Done()
			if got != want {
				t.Fatalf("got  %+v\nwant %+v", got, want)
			}
			mapped := uint64(0)
			for _, p := range got {
				if p.mapped {
					mapped += pageSize
				}
			}
			if q.Mapped() != mapped {
				t.Fatalf("%d bytes are mapped, not %d", mapped, q.Mapped())
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			c := drawChange(t)
			want.carry(c, false)
			q.Add(c)
			if rapid.IntRange(0, 5).Draw(t, "flush") == 0 {
				flush()
			}
		}
		flush()
		var mapped int
		for start := uint64(0); start < 64*pageSize; {
			part, ok := q.mapped.next(start, 64*pageSize)
			if !ok {
				break
			}
			mapped += int((part.end - part.start) / pageSize)
			start = part.end
		}
		for _, p := range want {
			if p.mapped {
				mapped--
			}
		}
		if mapped != 0 {
			t.Fatalf("the set of mapped ranges is off by %d pages", mapped)
		}
	})
}

// drawChange draws a change of a space.
func drawChange(t *rapid.T) platform.Change {
	start := rapid.Uint64Range(0, 62).Draw(t, "start")
	c := platform.Change{
		Op:     platform.Op(rapid.IntRange(0, 2).Draw(t, "op")),
		Addr:   start * pageSize,
		Length: rapid.Uint64Range(1, min(10, 64-start)).Draw(t, "length") * pageSize,
		Prot:   platform.Prot(rapid.IntRange(0, 3).Draw(t, "prot")),
	}
	if c.Op == platform.Map {
		c.File = int32(rapid.IntRange(3, 4).Draw(t, "file"))
		c.FileID = uint32(rapid.IntRange(0, 2).Draw(t, "id"))
		c.Offset = rapid.Uint64Range(0, 64).Draw(t, "offset") * pageSize
	}
	return c
}

// TestTakenBack has no Map left that a later change undoes: its descriptor may be closed.
func TestTakenBack(t *testing.T) {
	var q Queue
	q.Add(platform.Change{Op: platform.Map, Addr: 0, Length: 4 * pageSize, File: 9})
	q.Add(platform.Change{Op: platform.Unmap, Addr: 0, Length: pageSize})
	q.Add(platform.Change{Op: platform.Map, Addr: pageSize, Length: 3 * pageSize, File: 8})
	for _, c := range q.Pending() {
		if c.Op == platform.Map && c.File == 9 {
			t.Errorf("still pending: %+v", c)
		}
	}
}

// TestOverruled has a Protect that a later one makes useless left out, and never more calls than there were changes.
func TestOverruled(t *testing.T) {
	for _, c := range []struct{ start, end, calls uint64 }{{2, 6, 1}, {1, 7, 1}, {2, 3, 2}, {5, 7, 2}, {3, 4, 2}, {6, 7, 2}} {
		var q Queue
		q.Add(platform.Change{Op: platform.Map, Length: 9 * pageSize})
		q.Done()
		q.Add(platform.Change{Op: platform.Protect, Addr: 2 * pageSize, Length: 4 * pageSize, Prot: platform.Read})
		q.Add(platform.Change{Op: platform.Protect, Addr: c.start * pageSize, Length: (c.end - c.start) * pageSize, Prot: platform.Write})
		if uint64(q.Len()) != c.calls {
			t.Errorf("%+v: %+v", c, q.Pending())
		}
	}
}

// TestJoined joins neighbours: a list of n pages is one call.
func TestJoined(t *testing.T) {
	var q Queue
	for i := uint64(0); i < 100; i++ {
		q.Add(platform.Change{Op: platform.Map, Addr: i * pageSize, Length: pageSize, Offset: i * pageSize})
	}
	q.Add(platform.Change{Op: platform.Protect, Addr: 0, Length: 200 * pageSize})
	if q.Len() != 2 {
		t.Errorf("%d calls, want 2", q.Len())
	}
}
