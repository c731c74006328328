package mm

import (
	"errors"
	"slices"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

func (w *world) fork() *MemoryManager {
	w.t.Helper()
	c, err := w.m.Fork()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestForkAdvice(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(4 * pg)
	for i := Addr(0); i < 4; i++ {
		w.write(w.m, a+i*pg, byte(i+1))
	}
	for i, advice := range []int{unix.MADV_DONTFORK, unix.MADV_WIPEONFORK} {
		if err := w.m.MAdvise(a+Addr(i+1)*pg, pg, advice, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.m.MLock(a, 4*pg, false, true, nil); err != nil {
		t.Fatal(err)
	}
	c := w.fork()
	defer c.DecUsers()
	if b := w.read(c, a); b != 1 {
		t.Errorf("page 0 reads %d", b)
	}
	var fault *FaultError
	if err := c.HandleFault(a+pg, 0); !errors.As(err, &fault) || !fault.MapErr {
		t.Errorf("MADV_DONTFORK: %v", err)
	}
	if b := w.read(c, a+2*pg); b != 0 {
		t.Errorf("MADV_WIPEONFORK reads %d", b)
	}
	g := w.fork()
	if s := c.Stats(); s.Locked != 0 || s.Size != 3*pg {
		t.Errorf("the child has %d bytes locked of %d", s.Locked, s.Size)
	}
	if s := w.m.Stats(); s.Locked != 4*pg {
		t.Errorf("the parent has %d bytes locked", s.Locked)
	}
	g.DecUsers()
}

// TestForkWithdrawsRightsAtOnce counts what a fork asks the platform for.
func TestForkWithdrawsRightsAtOnce(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	h := newHostFile(t, make([]byte, 8*pg))
	base := Addr(0x4000_0000)
	for i := Addr(0); i < 10; i++ {
		o := MMapOpts{Addr: base + i*16*pg, Length: 8 * pg, Prot: rw, Private: true, Fixed: true}
		if i == 5 {
			o.Prot, o.File = platform.Read|exec, h // one change for what lies before, one for what lies behind
		}
		w.mmap(o)
		w.read(w.m, o.Addr)
	}
	space(w.m).reset()
	c := w.fork()
	defer c.DecUsers()
	if s := space(w.m); s.applies != 1 || s.count(platform.Protect) != 2 || len(s.changes) != 2 {
		t.Errorf("%d lists: %+v", s.applies, s.changes)
	}
	if s := space(c); s.applies != 1 || s.count(platform.Map) != 10 {
		t.Errorf("for the child %d lists: %+v", s.applies, s.changes)
	}
	space(w.m).reset()
	d := w.fork()
	defer d.DecUsers()
	if s := space(w.m); s.applies != 0 {
		t.Errorf("the second fork changes rights again: %+v", s.changes)
	}
}

// TestForkShares forks on address spaces that can be shared: nothing is changed in the parent's, and the child's has all but
// what it does not inherit.
func TestForkShares(t *testing.T) {
	w := newWorldOn(t, &fakePlatform{share: true}, 1<<30)
	defer w.close()
	a := w.anon(2 * forgetOver)
	space(w.m).drop()
	for i := Addr(0); i < 2*forgetOver; i += pg {
		w.write(w.m, a+i, 7)
	}
	for i, advice := range []int{unix.MADV_DONTFORK, unix.MADV_WIPEONFORK} {
		if err := w.m.MAdvise(a+Addr(i)*pg, pg, advice, nil); err != nil {
			t.Fatal(err)
		}
	}
	space(w.m).reset()
	c := w.fork()
	defer c.DecUsers()
	if s := space(w.m); s.applies != 0 {
		t.Errorf("the parent's is changed: %+v", s.changes)
	}
	if c.drops != 1 {
		t.Errorf("the child believes that it forgot everything: %d", c.drops)
	}
	want := []platform.Change{unmapChange(uint64(a), uint64(a)+2*pg)}
	if s := space(c); !slices.Equal(s.changes, want) {
		t.Errorf("the child's is changed by %+v, want %+v", s.changes, want)
	}
	for _, m := range []*MemoryManager{w.m, c} {
		for _, i := range []Addr{2, 3, forgetOver / pg} {
			if p, ok := space(m).page(uint64(a + i*pg)); !ok || p.prot != platform.Read {
				t.Errorf("page %d: %+v %t", i, p, ok)
			}
		}
	}
	w.write(w.m, a+2*pg, 8)
	w.write(c, a+3*pg, 9)
	if x, y := w.read(c, a+2*pg), w.read(w.m, a+3*pg); x != 7 || y != 7 {
		t.Errorf("the sides read %d and %d", x, y)
	}
	space(w.m).shareFrom = 2*forgetOver + 1
	d := w.fork()
	defer d.DecUsers()
	if space(w.m).shares != 1 {
		t.Error("shared although it is not worth it")
	}
}

// forkWork is what a fork and the child's end ask the platform for.
type forkWork struct {
	changes   int
	protected uint64 // bytes whose rights change: the host looks at each page
	mapped    int    // mappings of the child
}

// measureFork forks a process with a number of mappings of so many bytes, all touched.
func measureFork(t *testing.T, mappings int, size uint64) (work forkWork) {
	w := newWorld(t, 2<<30)
	defer w.close()
	base := Addr(0x4000_0000)
	for i := range mappings {
		a := base + Addr(i)*Addr(size+maxChunk)
		w.mmap(MMapOpts{Addr: a, Length: size, Prot: rw, Private: true, Fixed: true})
		for off := Addr(0); off < Addr(size); off += pg {
			w.write(w.m, a+off, 1)
		}
	}
	s := space(w.m)
	s.reset()
	c := w.fork()
	child := space(c)
	work.changes, work.mapped = len(s.changes)+len(child.changes), child.count(platform.Map)
	for _, c := range s.changes {
		if c.Op == platform.Protect {
			work.protected += c.Length
		}
	}
	c.DecUsers()
	work.changes += len(child.changes) - work.mapped
	return work
}

// TestForkCost counts what a fork costs by mappings and by memory. Times are in the benchmarks.
func TestForkCost(t *testing.T) {
	t.Run("C01_by_mappings_not_by_memory", func(t *testing.T) {
		little, much := measureFork(t, 1, 1<<20), measureFork(t, 1, 256<<20)
		if much.changes > 2*little.changes || much.protected >= forgetOver {
			t.Errorf("1 MiB: %+v, 256 MiB: %+v", little, much)
		}
		if many := measureFork(t, 32, 1<<20); many.changes > 32*little.changes || many.protected >= forgetOver {
			t.Errorf("32 mappings: %+v", many)
		}
	})
}

// TestForkOfMuchMemory has the parent's address space forget everything, also when other threads
// are in it, and maps memory again in growing pieces.
func TestForkOfMuchMemory(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	if !w.m.IncUsers() {
		t.Fatal("no user")
	}
	defer w.m.DecUsers()
	a := w.anon(2*forgetOver + maxChunk)
	a = (a + maxChunk - 1) &^ (maxChunk - 1)
	for i := Addr(0); i < 2*forgetOver; i += pg {
		w.write(w.m, a+i, 7)
	}
	s := space(w.m)
	s.reset()
	c := w.fork()
	if n, m := s.count(platform.Protect), s.count(platform.Unmap); n != 0 || m != 1 {
		t.Errorf("%d changes of rights, %d unmappings", n, m)
	}
	w.write(w.m, a, 8)
	if b, d := w.read(c, a), w.read(c, a+maxChunk); b != 7 || d != 7 {
		t.Errorf("the child reads %d %d", b, d)
	}
	c.DecUsers()
	s.reset()
	for i := Addr(maxChunk); i < 2*forgetOver; i += pg {
		w.write(w.m, a+i, 9)
	}
	if n, blocks := s.count(platform.Map), 2*forgetOver/maxChunk-1; n > blocks+1 || s.count(platform.Protect) != 0 {
		t.Errorf("%d mappings for %d blocks, %d changes of rights", n, blocks, s.count(platform.Protect))
	}
	for _, c := range s.changes {
		if !c.Fill {
			t.Errorf("faults are left to the guest: %+v", c)
		}
	}
}

// TestTouchesAfterForkAreNotAmplified: a page touched here and there brings little along.
func TestTouchesAfterForkAreNotAmplified(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(2*forgetOver + maxChunk)
	a = (a + maxChunk - 1) &^ (maxChunk - 1)
	for i := Addr(0); i < 2*forgetOver; i += pg {
		w.write(w.m, a+i, 7)
	}
	c := w.fork()
	defer c.DecUsers()
	for _, m := range []*MemoryManager{w.m, c} {
		space(m).reset()
		for i := Addr(maxChunk); i < 2*forgetOver; i += 4 * maxChunk {
			w.read(m, a+i)
		}
		for _, c := range space(m).changes {
			if c.Length > cowChunk {
				t.Errorf("a touched page maps %d bytes", c.Length)
			}
		}
	}
}

// TestForkCopiesWhatIsWrittenToFirst forks as a shell does: from the second child on, the pages that both sides
// write to at once are copied without a fault, and nothing else is.
func TestForkCopiesWhatIsWrittenToFirst(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(16 << 20)
	for i := Addr(0); i < 16<<20; i += pg {
		w.write(w.m, a+i, 1)
	}
	stack, data := a+2<<20, a+5<<20
	for round := byte(1); round < 2*hotForks; round++ {
		before := w.f.Usage()
		c := w.fork()
		copied := w.f.Usage() - before
		switch {
		case round == 1 && copied != 0, copied > 2*hotChunk:
			t.Fatalf("fork %d copies %d bytes", round, copied)
		case round == 2:
			for _, at := range []Addr{stack, data} {
				for _, m := range []*MemoryManager{w.m, c} {
					if p, ok := space(m).page(uint64(at)); !ok || p.prot&platform.Write == 0 {
						t.Errorf("%#x faults: %+v", at, p)
					}
				}
			}
		}
		for _, at := range []Addr{stack, data} {
			w.write(w.m, at, 2*round)
			w.write(c, at, 2*round+1)
			if x, y := w.read(w.m, at), w.read(c, at); x != 2*round || y != 2*round+1 {
				t.Fatalf("fork %d: the sides read %d and %d", round, x, y)
			}
		}
		if x := w.read(c, stack+pg); x != 1 {
			t.Fatalf("the child reads %d beside it", x)
		}
		c.DecUsers()
	}
}

// TestForkLeavesRights has a parent that writes to one place between its forks: it may do so all the time, so nothing is changed for it, and the child sees
// nothing of that.
func TestForkLeavesRights(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(64 * pg)
	for i := Addr(0); i < 64*pg; i += pg {
		w.write(w.m, a+i, 1)
	}
	stack := a + 8*pg
	for round := byte(1); round < 8; round++ {
		space(w.m).reset()
		c := w.fork()
		if s := space(w.m); round > 2 && s.applies != 0 {
			t.Errorf("fork %d: %+v", round, s.changes)
		}
		if p, ok := space(w.m).page(uint64(stack)); round > 1 && (!ok || p.prot&platform.Write == 0) {
			t.Errorf("fork %d: the parent faults: %+v", round, p)
		}
		if p, ok := space(w.m).page(uint64(a + 32*pg)); ok && p.prot&platform.Write != 0 {
			t.Errorf("fork %d: the parent writes to what the child has, too", round)
		}
		w.write(w.m, stack, 2*round)
		if x := w.read(c, stack); round > 1 && x != 2*round-2 {
			t.Errorf("fork %d: the child reads %d", round, x)
		}
		c.DecUsers()
	}
}

// TestWarmUp has children write to a page that their parent leaves alone: from the second on they have a copy of it before they run, and
// nothing of that is the fork's work.
func TestWarmUp(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(16 << 20)
	for i := Addr(0); i < 16<<20; i += pg {
		w.write(w.m, a+i, 1)
	}
	at := uint64(a + 5<<20)
	for round := byte(1); round < 2*hotForks; round++ {
		before := w.f.Usage()
		c := w.fork()
		if copied := w.f.Usage() - before; copied != 0 {
			t.Fatalf("fork %d copies %d bytes", round, copied)
		}
		c.WarmUp()
		c.WarmUp()
		p, ok := space(c).page(at)
		if wrote := ok && p.prot&platform.Write != 0; wrote != (round > 1 && round != hotForks) {
			t.Errorf("child %d may write: %v", round, wrote)
		}
		w.write(c, Addr(at), round)
		if x, y := w.read(w.m, Addr(at)), w.read(c, Addr(at)); x != 1 || y != round {
			t.Fatalf("fork %d: the sides read %d and %d", round, x, y)
		}
		c.DecUsers()
	}
}

// TestWarmUpBounds has a child write to many places: the next one has copies of some before it runs, of fewer where it has less, and of none where little
// memory is left.
func TestWarmUpBounds(t *testing.T) {
	for _, test := range []struct {
		pieces, want int
		scarce       bool
	}{{4 * maxLessons, maxLessons, false}, {maxLessons, maxLessons/warmPart + hotPages, false}, {4 * maxLessons, 0, true}} {
		const limit, length = 1 << 30, cowChunk
		w := newWorld(t, limit)
		piece := func(i int) Addr { return Addr(0x4000_0000 + 2*i*length) }
		for i := range test.pieces {
			w.mmap(MMapOpts{Addr: piece(i), Length: length, Prot: rw, Private: true, Fixed: true})
			w.write(w.m, piece(i), 1)
		}
		c := w.fork()
		for i := range test.pieces {
			w.write(c, piece(i), 2)
		}
		c.DecUsers()
		if test.scarce {
			rest := limit - w.f.Usage() - maxLessons*cowChunk/2
			off, err := w.f.Allocate(rest)
			if err != nil {
				t.Fatal(err)
			}
			defer w.f.DecRef(off, rest)
		}
		c = w.fork()
		c.WarmUp()
		copied := 0
		for i := range test.pieces {
			if p, ok := space(c).page(uint64(piece(i))); ok && p.prot&platform.Write != 0 {
				copied++
			}
		}
		if copied != test.want {
			t.Errorf("%+v: %d places are copied", test, copied)
		}
		if x := w.read(c, piece(0)); x != 1 {
			t.Errorf("the next child reads %d", x)
		}
		c.DecUsers()
	}
}

// refusingFile lets only so many mappings be added.
type refusingFile struct {
	hostFile
	left int
}

func (r *refusingFile) AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error {
	if r.left--; r.left < 0 {
		return unix.ENFILE
	}
	return r.hostFile.AddMapping(m, ar, off, writable)
}

func TestForkFailsWithoutTrace(t *testing.T) {
	w := newWorld(t, 1<<30)
	h := newHostFile(t, make([]byte, 64*pg))
	r := &refusingFile{hostFile: hostFile{f: h.f}, left: 5}
	for i := Addr(0); i < 5; i++ {
		w.mmap(MMapOpts{Addr: 0x4000_0000 + i*16*pg, Length: 4 * pg, Prot: rw, Private: true, Fixed: true, File: r})
		w.write(w.m, 0x4000_0000+i*16*pg, 1)
	}
	before, mapped := w.f.Usage(), r.mapped()
	for n := range 5 {
		r.left = n
		space(w.m).reset()
		if _, err := w.m.Fork(); err != unix.ENFILE {
			t.Errorf("with %d mappings to be had: %v", n, err)
		}
		if r.mapped() != mapped || w.f.Usage() != before || space(w.m).applies != 0 {
			t.Errorf("with %d mappings to be had: %d bytes mapped instead of %d, %d instead of %d allocated", n, r.mapped(), mapped, w.f.Usage(), before)
		}
	}
	for _, s := range w.p.spaces[1:] {
		if !s.released {
			t.Error("an address space is left")
		}
	}
	w.p.fail = unix.EMFILE
	if _, err := w.m.Fork(); err != unix.EMFILE {
		t.Errorf("without an address space: %v", err)
	}
	if _, err := w.m.MMap(MMapOpts{Length: pg, Prot: rw, File: r}); err != unix.ENFILE {
		t.Errorf("MMap: %v", err)
	}
	w.close()
	if r.mapped() != 0 {
		t.Errorf("%d bytes are still mapped", r.mapped())
	}
}

func TestCopyLeavesUntouchedPagesAlone(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(4 << 20)
	w.write(w.m, a, 1)
	w.write(w.m, a+3*pg, 3)
	before := w.f.Resident()
	c := w.fork()
	defer c.DecUsers()
	w.write(c, a+pg, 2)
	if n := w.f.Resident() - before; n > 3*pg {
		t.Errorf("a write to a block with 2 pages takes %d pages", n/pg)
	}
	for i, want := range []byte{1, 2, 0, 3, 0} {
		if b := w.read(c, a+Addr(i)*pg); b != want {
			t.Errorf("page %d reads %d, want %d", i, b, want)
		}
	}
}

// noexecSpace refuses to map files for execution, as a file system mounted noexec has it.
type noexecSpace struct {
	*fakeSpace
	memory int32
}

func (s noexecSpace) Apply(list []platform.Change) error {
	for _, c := range list {
		if c.Op == platform.Map && c.Prot&exec != 0 && c.File != s.memory {
			return unix.EPERM
		}
	}
	return s.fakeSpace.Apply(list)
}

func TestNoexecFile(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	w.m.as = noexecSpace{w.p.spaces[0], int32(w.f.FD())}
	h := newHostFile(t, []byte("code"))
	a := w.mmap(MMapOpts{Length: pg, Prot: platform.Read | exec, Private: true, File: h})
	if b := w.read(w.m, a+1); b != 'o' {
		t.Errorf("reads %q", b)
	}
}

// TestLateFaultsAfterForks has threads fault on a page, whose right to be written to each fork withdraws, after another one's fault was
// answered: they are not taken for threads that do what is forbidden, however often that happens.
func TestLateFaultsAfterForks(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(pg)
	for range 100 {
		w.fork().DecUsers()
		for range suspectBase {
			if err := w.m.HandleFault(a, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range suspectBase + 2 {
		if w.m.HandleFault(a, 0) != nil {
			return
		}
	}
	t.Error("a thread that comes again and again is let go")
}
