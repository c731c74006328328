package mm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestParts: each part has its own limit and is charged what it allocated, for as long as somebody uses it.
func TestParts(t *testing.T) {
	const page = PageSize
	f := newFile(t, 10*page)
	a, b := f.Part(4*page), f.Part(8*page)
	usage := func(what string, whole, ofA, ofB uint64) {
		t.Helper()
		if f.Usage() != whole*page || a.Usage() != ofA*page || b.Usage() != ofB*page {
			t.Errorf("%s: %d in all, %d and %d; want pages %d, %d and %d", what, f.Usage(), a.Usage(), b.Usage(), whole, ofA, ofB)
		}
	}
	allocate := func(part *MemoryFile, pages uint64, want error) uint64 {
		t.Helper()
		off, err := part.Allocate(pages * page)
		if err != want {
			t.Fatalf("%d pages: %v, want %v", pages, err, want)
		}
		return off
	}
	x := allocate(a, 3, nil)
	usage("three for a", 3, 3, 0)
	allocate(a, 2, unix.ENOMEM)
	y := allocate(b, 6, nil)
	usage("six for b", 9, 3, 6)
	allocate(b, 2, unix.ENOMEM) // within its own limit, but not the file's
	allocate(f, 2, unix.ENOMEM)
	if got := b.Limit(); got != 8*page {
		t.Errorf("limit %d", got)
	}
	// What b uses of a's stays a's.
	b.IncRef(x, 3*page)
	a.DecRef(x, 3*page)
	usage("a's three in b's hands", 9, 3, 6)
	b.DecRef(x+page, page)
	usage("two of them", 8, 2, 6)
	a.ClosePart()
	if len(f.parts) != 2 {
		t.Errorf("%d parts while one that is closed has pages", len(f.parts))
	}
	b.DecRef(x, page)
	b.DecRef(x+2*page, page)
	b.DecRef(y, 6*page)
	usage("nothing", 0, 0, 0)
	b.ClosePart()
	if len(f.parts) != 0 {
		t.Errorf("%d parts are left", len(f.parts))
	}
}
