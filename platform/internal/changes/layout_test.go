package changes

import (
	"slices"
	"testing"

	"gosentry/platform"

	"pgregory.net/rapid"
)

// TestSince makes one space of another by what Since says: that is as the queue wants it, and what is so already is left alone, unless its file is not known.
func TestSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var had, is Queue
		var got, want space
		draw := func(q *Queue, s *space, n int) {
			for range n {
				c := drawChange(t)
				s.carry(c, false)
				q.Add(c)
			}
		}
		common := rapid.IntRange(0, 20).Draw(t, "common")
		draw(&is, &want, common)
		got = want
		for _, c := range is.Pending() {
			had.Add(c)
		}
		draw(&had, &got, rapid.IntRange(0, 6).Draw(t, "had"))
		draw(&is, &want, rapid.IntRange(0, 6).Draw(t, "is"))
		had.Done()
		// Behind high something else is mapped.
		high := rapid.Uint64Range(0, 64).Draw(t, "high")
		other := page{file: 99, mapped: true}
		for i := high; i < 64; i++ {
			if !got[i].mapped && !want[i].mapped {
				got[i], want[i] = other, other
			}
		}
		list, ok := is.Since(had.Layout(), high*pageSize)
		if !ok {
			t.Fatal("not known")
		}
		before := got
		gone := 0
		for i := range got {
			if got[i].mapped && got[i] != other && (got[i].id == 0 || !want[i].mapped ||
				got[i].file != want[i].file || got[i].id != want[i].id || got[i].offset != want[i].offset) {
				gone++
			}
		}
		if n, _ := is.Distance(had.Layout(), pageSize, 1<<20); n < len(list)+gone || n > 64+gone || n == 0 != (len(list) == 0) {
			t.Fatalf("the distance is %d, of %d changes that take %d pages away", n, len(list), gone)
		}
		if n, _ := is.Distance(had.Layout(), pageSize, 3); n > 3 {
			t.Fatalf("the distance is %d of at most 3", n)
		}
		for _, c := range list {
			if got.carry(c, true) {
				t.Fatalf("mprotect at a hole: %+v", c)
			}
			for i := c.Addr / pageSize; i < (c.Addr+c.Length)/pageSize; i++ {
				if before[i] == want[i] && before[i].mapped && before[i].id != 0 {
					t.Fatalf("page %d is as it should be, and changed: %+v", i, c)
				}
			}
		}
		if got != want {
			t.Fatalf("got  %+v\nwant %+v\nby   %+v", got, want, list)
		}
		for i, p := range want {
			renewed := slices.ContainsFunc(list, func(c platform.Change) bool {
				return c.Op == platform.Map && c.Addr <= uint64(i)*pageSize && uint64(i)*pageSize < c.Addr+c.Length
			})
			if p.mapped && p != other && p.id == 0 && !renewed {
				t.Fatalf("page %d is of a file that is not known, and kept", i)
			}
		}
	})
}

// TestSinceShort asks for few calls: unmapping runs on over holes, but not behind high.
func TestSinceShort(t *testing.T) {
	var had, is Queue
	for i := uint64(0); i < 20; i += 2 {
		had.Add(platform.Change{Op: platform.Map, File: 3, FileID: 1, Addr: i * pageSize, Length: pageSize})
	}
	had.Done()
	is.Add(platform.Change{Op: platform.Map, File: 3, FileID: 1, Addr: 8 * pageSize, Length: pageSize})
	list, _ := is.Since(had.Layout(), 17*pageSize)
	want := []platform.Change{
		{Op: platform.Unmap, Addr: 0, Length: 7 * pageSize},
		{Op: platform.Unmap, Addr: 10 * pageSize, Length: 7 * pageSize},
		{Op: platform.Unmap, Addr: 18 * pageSize, Length: pageSize},
	}
	if !slices.Equal(list, want) {
		t.Errorf("%+v", list)
	}
}

// TestLayoutUnknown has no layout where changes are pending, or where too many ranges are mapped.
func TestLayoutUnknown(t *testing.T) {
	var q Queue
	add := func(i uint64) {
		q.Add(platform.Change{Op: platform.Map, File: 3, FileID: 1, Addr: 2 * i * pageSize, Length: pageSize})
	}
	add(0)
	if q.Layout() != nil {
		t.Error("known before it is mapped")
	}
	q.Done()
	for i := range uint64(maxLayout) {
		add(i)
	}
	q.Done()
	if q.Layout() == nil {
		t.Error("not known, though little is mapped")
	}
	add(maxLayout)
	q.Done()
	if _, ok := q.Since(&Layout{}, 0); ok || q.Layout() != nil {
		t.Error("known, though much is mapped")
	}
	q.Wipe()
	if q.Layout() == nil {
		t.Error("not known after all was unmapped")
	}
}
