package mm

import (
	"slices"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// keeperPages are more than a fork has mapped again at once.
const keeperPages = 64

// keeper is a world whose address space has so many pages of memory written to, and was forked.
type keeper struct {
	*world
	a Addr
	c *MemoryManager
}

// keeperMemory maps the pages where one allocation holds them all.
func (w *world) keeperMemory() Addr {
	return w.mmap(MMapOpts{Addr: 0x4000_0000, Length: keeperPages * pg, Prot: rw, Private: true, Fixed: true})
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	w := newWorldOn(t, &fakePlatform{keep: true}, 1<<30)
	k := &keeper{world: w, a: w.keeperMemory()}
	for i := Addr(0); i < keeperPages; i++ {
		w.write(w.m, k.a+i*pg, byte(i+1))
	}
	k.c = w.fork()
	if _, ok := space(w.m).page(uint64(k.a + 5*pg)); ok {
		t.Fatal("the fork forgets nothing")
	}
	return k
}

// TestGoBack has the child end: what was mapped at the fork is mapped again by the first fault, and can be written to.
func TestGoBack(t *testing.T) {
	k := newKeeper(t)
	defer k.close()
	s := space(k.m)
	if k.read(k.m, k.a); s.backs != 0 {
		t.Error("it goes back while the child has the memory")
	}
	k.c.DecUsers()
	s.reset()
	if k.write(k.m, k.a+63*pg, 70); s.backs != 1 {
		t.Fatal("it does not go back")
	}
	for i := Addr(0); i < keeperPages-1; i++ {
		if p, ok := s.page(uint64(k.a + i*pg)); !ok || p.prot != rw {
			t.Errorf("page %d: %+v, %v", i, p, ok)
		}
		if b := k.read(k.m, k.a+i*pg); b != byte(i+1) {
			t.Errorf("page %d reads %d", i, b)
		}
	}
	if len(s.changes) > 1 {
		t.Errorf("changes: %+v", s.changes)
	}
}

// TestGoBackWithoutRights goes back while another child has a page: it can be read, and a write to it is not seen there.
func TestGoBackWithoutRights(t *testing.T) {
	k := newKeeper(t)
	defer k.close()
	if err := k.c.MUnmap(k.a+pg, (keeperPages-1)*pg); err != nil {
		t.Fatal(err)
	}
	if k.read(k.m, k.a+40*pg); space(k.m).backs != 1 {
		t.Fatal("it does not go back")
	}
	if p, ok := space(k.m).page(uint64(k.a)); !ok || p.prot != platform.Read {
		t.Errorf("what the child has is mapped as %+v, %v", p, ok)
	}
	k.write(k.m, k.a, 99)
	if b := k.read(k.c, k.a); b != 1 {
		t.Errorf("the child reads %d", b)
	}
	k.c.DecUsers()
}

// TestGoBackToWhatIsLeft changes mappings between the fork and the way back: nothing that was withdrawn is mapped again.
func TestGoBackToWhatIsLeft(t *testing.T) {
	k := newKeeper(t)
	defer k.close()
	page := func(i Addr) (fakePage, bool) { return space(k.m).page(uint64(k.a + i*pg)) }
	for _, err := range []error{
		k.m.MUnmap(k.a, pg),
		k.m.MProtect(k.a+pg, pg, platform.Read, false),
		k.m.MProtect(k.a+2*pg, pg, 0, false),
		k.m.MAdvise(k.a+3*pg, pg, unix.MADV_DONTNEED, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	k.write(k.m, k.a+4*pg, 44) // a copy of some pages
	k.c.DecUsers()
	if k.write(k.m, k.a+63*pg, 70); space(k.m).backs != 1 {
		t.Fatal("it does not go back")
	}
	for i, want := range []bool{false, true, false, false, true} {
		if p, ok := page(Addr(i)); ok && !want || ok && i == 1 && p.prot&platform.Write != 0 {
			t.Errorf("page %d is mapped as %+v", i, p)
		}
	}
	if b := k.read(k.m, k.a+3*pg); b != 0 {
		t.Errorf("a page that was given up reads %d", b)
	}
	for i, want := range []byte{4: 44, 5: 6, 6: 7, 20: 21, 63: 70} {
		if want != 0 && k.read(k.m, k.a+Addr(i)*pg) != want {
			t.Errorf("page %d does not read %d", i, want)
		}
	}
}

// TestGoBackToNothing puts a host file in place of memory and takes all rights to it: what was there is not mapped again.
func TestGoBackToNothing(t *testing.T) {
	k := newKeeper(t)
	defer k.close()
	h := newHostFile(t, make([]byte, pg))
	k.mmap(MMapOpts{Addr: k.a, Fixed: true, Length: pg, Prot: platform.Read, File: h, Private: true})
	k.read(k.m, k.a)
	if err := k.m.MProtect(k.a, pg, 0, false); err != nil {
		t.Fatal(err)
	}
	k.c.DecUsers()
	if k.write(k.m, k.a+63*pg, 70); space(k.m).backs != 1 {
		t.Fatal("it does not go back")
	}
	if p, ok := space(k.m).page(uint64(k.a)); ok {
		t.Errorf("a page without rights is mapped as %+v", p)
	}
}

// TestGoBackFillsLittle touches little of much new memory between the fork and the way back: it is not filled.
func TestGoBackFillsLittle(t *testing.T) {
	k := newKeeper(t)
	defer k.close()
	const much = 64 << 20
	b := k.anon(much)
	for at := Addr(0); at < much; at += maxChunk {
		k.write(k.m, b+at, 1)
	}
	k.c.DecUsers()
	space(k.m).reset()
	if k.write(k.m, k.a+63*pg, 70); space(k.m).backs != 1 {
		t.Fatal("it does not go back")
	}
	filled := uint64(0)
	for _, c := range space(k.m).changes {
		if c.Fill {
			filled += c.Length
		}
	}
	if filled > keepFilled {
		t.Errorf("%d bytes are filled", filled)
	}
}

// TestGoBackMapsFilesAnew maps what is of a host file, or executable, again in any case: the platform may have something else there.
func TestGoBackMapsFilesAnew(t *testing.T) {
	w := newWorldOn(t, &fakePlatform{keep: true}, 1<<30)
	defer w.close()
	h := newHostFile(t, make([]byte, 4*pg))
	f := w.mmap(MMapOpts{Length: 4 * pg, Prot: platform.Read, File: h, Private: true})
	x := w.mmap(MMapOpts{Length: pg, Prot: rw | platform.Exec, Private: true})
	a := w.keeperMemory()
	w.read(w.m, f)
	w.write(w.m, x, 1)
	w.write(w.m, a, 1)
	c := w.fork()
	c.DecUsers()
	space(w.m).reset()
	if w.write(w.m, a, 2); space(w.m).backs != 1 {
		t.Fatal("it does not go back")
	}
	maps := map[uint64]bool{}
	for _, c := range space(w.m).changes {
		if c.Op == platform.Map {
			maps[c.Addr] = true
		}
	}
	if !maps[uint64(f)] || !maps[uint64(x)] {
		t.Errorf("changes: %+v", space(w.m).changes)
	}
}

// TestEachPiece cuts two sets into pieces.
func TestEachPiece(t *testing.T) {
	var a, b segset[pma]
	a.append(10, 20, pma{delta: 1})
	a.append(20, 30, pma{delta: 2})
	b.append(5, 12, pma{delta: 3})
	b.append(25, 40, pma{delta: 4})
	var got [][4]uint64
	eachPiece(&a, &b, func(start, end uint64, x, y *pma) bool {
		p := [4]uint64{start, end}
		if x != nil {
			p[2] = x.delta
		}
		if y != nil {
			p[3] = y.delta
		}
		got = append(got, p)
		return true
	})
	want := [][4]uint64{{5, 10, 0, 3}, {10, 12, 1, 3}, {12, 20, 1, 0}, {20, 25, 2, 0}, {25, 30, 2, 4}, {30, 40, 0, 4}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestKeptEnds ends an address space that has something kept to go back to: whoever still refers to it holds none of that.
func TestKeptEnds(t *testing.T) {
	k := newKeeper(t)
	if k.m.kept == nil {
		t.Fatal("nothing is kept")
	}
	k.c.DecUsers()
	k.close()
	if k.m.kept != nil || k.m.pmas.len() != 0 || k.m.vmas.len() != 0 {
		t.Errorf("%v, %d and %d segments are left", k.m.kept, k.m.pmas.len(), k.m.vmas.len())
	}
}
