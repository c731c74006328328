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
	if _, err := a.TryAllocate(2 * page); err != unix.ENOMEM {
		t.Errorf("tried for two pages more: %v", err)
	}
	if over, _ := a.Over(); over != 1 {
		t.Errorf("%d refused, want the one that was not only tried", over)
	}
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

// TestPartsOfParts: what a part of a part allocates is charged to both, and both limits bind; what is allocated through one that is closed
// is charged to the other.
func TestPartsOfParts(t *testing.T) {
	const page = PageSize
	f := newFile(t, 20*page)
	outer := f.Part(8 * page)
	inner, beside := outer.Part(4*page), outer.Part(100*page)
	check := func(what string, p *MemoryFile, usage, peak, over, overBelow, limit uint64) {
		t.Helper()
		here, below := p.Over()
		if p.Usage() != usage*page || p.Peak() != peak*page || here != over || below != overBelow || p.Limit() != limit*page {
			t.Errorf("%s: %d pages, peak %d, %d and %d over, limit %d", what, p.Usage()/page, p.Peak()/page, here, below, p.Limit()/page)
		}
	}
	take := func(p *MemoryFile, pages uint64, want error) uint64 {
		t.Helper()
		off, err := p.Allocate(pages * page)
		if err != want {
			t.Errorf("%d pages: %v, want %v", pages, err, want)
		}
		return off
	}
	x := take(inner, 4, nil)
	take(inner, 1, unix.ENOMEM)
	check("inner", inner, 4, 4, 1, 0, 4)
	check("outer", outer, 4, 4, 0, 1, 8)
	y := take(beside, 4, nil)
	take(beside, 1, unix.ENOMEM)
	check("beside", beside, 4, 4, 0, 0, 8)
	check("outer", outer, 8, 8, 1, 1, 8)
	f.DecRef(y, 4*page)
	inner.ClosePart()
	z := take(inner, 2, nil)
	check("closed", inner, 4, 4, 1, 0, 4)
	check("outer", outer, 6, 8, 1, 1, 8)
	f.DecRef(x, 4*page)
	f.DecRef(z, 2*page)
	beside.ClosePart()
	outer.ClosePart()
	if f.Usage() != 0 || len(f.parts) != 0 {
		t.Errorf("%d bytes and %d parts are left", f.Usage(), len(f.parts))
	}
}

// TestPartIDs: a part that was forgotten, and is charged once more for one inside it, leaves another part alone.
func TestPartIDs(t *testing.T) {
	const page = PageSize
	f := newFile(t, 10*page)
	outer := f.Part(8 * page)
	inner := outer.Part(8 * page)
	outer.ClosePart()
	f.lastPart = outer.part.id - 1 // as after all others were given
	other := f.Part(8 * page)
	x, err := other.Allocate(page)
	if err != nil {
		t.Fatal(err)
	}
	y, err := inner.Allocate(page)
	if err != nil {
		t.Fatal(err)
	}
	f.DecRef(y, page)
	f.DecRef(x, page)
	if n := other.Usage(); n != 0 {
		t.Errorf("%d bytes stay charged", n)
	}
}
