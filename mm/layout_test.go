package mm

import (
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

func TestPlaces(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	base := m.Layout().MMapBase
	one := w.anon(pg)
	two := w.mmap(MMapOpts{Length: 3 * pg, Prot: platform.Read, Private: true})
	if one != base-pg || two != one-3*pg {
		t.Errorf("mappings at %#x and %#x below %#x", one, two, base)
	}
	if err := m.MUnmap(one, pg); err != nil {
		t.Fatal(err)
	}
	if a := w.anon(2 * pg); a != two-2*pg {
		t.Errorf("2 pages at %#x", a)
	}
	if a := w.anon(pg); a != one {
		t.Errorf("1 page at %#x and not in the hole at %#x", a, one)
	}
	if a := w.mmap(MMapOpts{Addr: 0x1234_5678, Length: pg, Prot: rw, Private: true}); a != 0x1234_5000 {
		t.Errorf("hint gives %#x", a)
	}
	if a := w.mmap(MMapOpts{Addr: 0x1234_4000, Length: 2 * pg, Prot: rw, Private: true}); a == 0x1234_4000 {
		t.Error("a hint that is taken was followed")
	}
	if a := w.mmap(MMapOpts{Addr: 1, Length: pg, Prot: rw, Private: true}); a != fakeLo {
		t.Errorf("hint of 1 gives %#x", a)
	}
	low := w.mmap(MMapOpts{Length: pg, Prot: rw, Private: true, Bit32: true})
	if low < 1<<30 || low >= 1<<31 {
		t.Errorf("MAP_32BIT gives %#x", low)
	}
	if a := w.mmap(MMapOpts{Addr: 1 << 33, Length: pg, Prot: rw, Private: true, Bit32: true}); a >= 1<<31 || a == low {
		t.Errorf("MAP_32BIT with a hint gives %#x", a)
	}
	if _, err := m.MMap(MMapOpts{Length: 1 << 30, Prot: rw, Private: true, Bit32: true}); err != unix.ENOMEM {
		t.Errorf("1 GiB with MAP_32BIT: %v", err)
	}
}

func TestPlacesKeepTheStacksGap(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	l := w.m.Layout()
	stack := w.mmap(MMapOpts{Addr: l.MMapBase - 64*pg, Length: pg, Prot: rw, Private: true, Fixed: true, GrowsDown: true})
	w.anon(63 * pg)
	if a := w.anon(pg); a > stack-stackGuard-pg {
		t.Errorf("%#x is in the gap below the stack at %#x", a, stack)
	}
	hint := stack - 10*pg
	if a := w.mmap(MMapOpts{Addr: hint, Length: pg, Prot: rw, Private: true}); a == hint {
		t.Error("a hint in the gap was followed")
	}
	if err := w.m.MUnmap(stack, pg); err != nil {
		t.Fatal(err)
	}
	if a := w.anon(pg); a != stack {
		t.Errorf("%#x and not where the stack was, %#x", a, stack)
	}
}

func TestWhenTheTopIsFullPlacesAreAbove(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	base := w.m.Layout().MMapBase
	w.mmap(MMapOpts{Addr: fakeLo, Length: uint64(base) - fakeLo, Private: true, Fixed: true})
	if a := w.anon(pg); a != base {
		t.Errorf("%#x and not at the base, %#x", a, base)
	}
	w.mmap(MMapOpts{Addr: base, Length: uint64(fakeHi - base), Private: true, Fixed: true})
	if _, err := w.m.MMap(MMapOpts{Length: pg, Private: true}); err != unix.ENOMEM {
		t.Errorf("without any room: %v", err)
	}
}

func TestLayoutIsRandomAndInRange(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	seen := map[Addr]int{}
	for range 100 {
		for _, limit := range []uint64{0, 8 << 20, 1 << 40, ^uint64(0)} {
			l := w.m.NewLayout(limit, true)
			seen[l.MMapBase]++
			seen[l.StackTop]++
			seen[l.PIEBase]++
			// The stack can grow to its limit, or to a sixth of all, above mmap's base.
			if l.MMapBase%pg != 0 || l.PIEBase%pg != 0 || l.StackTop > l.Max || l.MMapBase >= l.StackTop ||
				uint64(l.StackTop-l.MMapBase) < min(limit, 1<<30) || l.MMapBase < 1<<30 || l.PIEBase >= l.Max-1<<32 || l.BrkGap%pg != 0 {
				t.Fatalf("stack limit %d: %+v", limit, l)
			}
		}
	}
	if len(seen) < 1000 {
		t.Errorf("%d places in 1200 layouts", len(seen))
	}
	if a, b := w.m.NewLayout(8<<20, false), w.m.NewLayout(8<<20, false); a != b {
		t.Errorf("not random, but %+v and %+v", a, b)
	}
}

func TestBrk(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	if end := m.Brk(0x3000_1000); end != 0 {
		t.Errorf("without a heap it ends at %#x", end)
	}
	m.EditLayout(func(l *Layout) { l.BrkStart = 0x3000_0800 })
	for _, x := range []struct{ to, want Addr }{
		{0, 0x3000_0800}, {0x3000_0900, 0x3000_0900}, {0x3000_0000, 0x3000_0900}, {0x3001_0000, 0x3001_0000},
		{^Addr(0), 0x3001_0000}, {fakeHi, 0x3001_0000}, {0x3000_1000, 0x3000_1000}, {0x3010_0001, 0x3010_0001},
	} {
		if end := m.Brk(x.to); end != x.want {
			t.Errorf("brk(%#x) is %#x, want %#x", x.to, end, x.want)
		}
	}
	w.write(m, 0x3010_0ffe, 7)
	w.mmap(MMapOpts{Addr: 0x3020_0000, Length: pg, Private: true, Fixed: true})
	if end := m.Brk(0x3020_1000); end != 0x3010_0001 {
		t.Errorf("over another mapping: %#x", end)
	}
	m.Brk(0x3000_0800)
	if end := m.Brk(0x3010_0fff); end != 0x3010_0fff {
		t.Errorf("again: %#x", end)
	}
	if b := w.read(m, 0x3010_0ffe); b != 0 {
		t.Errorf("the heap was given up and reads %d", b)
	}
	found := ""
	m.VMAs(func(v VMA) bool {
		if v.Start == 0x3000_1000 {
			found = v.Name
		}
		return true
	})
	if found != "[heap]" {
		t.Errorf("the heap is named %q", found)
	}
}

func TestProcData(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	h := newHostFile(t, make([]byte, 8*pg))
	a := w.mmap(MMapOpts{Addr: 0x5000_0000, Length: 8 * pg, Prot: platform.Read | exec, Private: true, Fixed: true, File: h})
	b := w.anon(8 << 20)
	w.write(m, b, 1)
	w.write(m, b+5*pg, 1)
	if err := m.MProtect(a+2*pg, pg, rw, false); err != nil {
		t.Fatal(err)
	}
	if err := m.MLock(a, pg, true, true, nil); err != nil {
		t.Fatal(err)
	}
	v, ok := m.FindVMA(a + 2*pg + 7)
	if !ok || v.Start != a+2*pg || v.End != a+3*pg || v.Offset != 2*pg || v.Name != "/file" || v.Ino != 42 || v.Major != 8 || v.Prot != rw || !v.Private {
		t.Errorf("%+v", v)
	}
	if v, ok := m.FindVMA(a + 8*pg); ok {
		t.Errorf("in a hole: %+v", v)
	}
	if v, ok = m.FindVMA(a); !ok || !v.Locked {
		t.Errorf("%+v", v)
	}
	s := m.Stats()
	if s.Size != 8<<20+8*pg || s.Anonymous != 2*pg || s.FileRSS != 8*pg || s.Locked != pg || s.Exec != 7*pg || s.Data != 8<<20+pg || s.Mappings != 5 {
		t.Errorf("%+v", s)
	}
	if anon, file := m.Resident(Range{b, b + 4*pg}); anon != pg || file != 0 {
		t.Errorf("resident: %d %d", anon, file)
	}
	vec := make([]byte, 7)
	if err := m.Mincore(b, vec); err != nil || string(vec) != "\x01\x00\x00\x00\x00\x01\x00" {
		t.Errorf("mincore: %v %v", vec, err)
	}
	if err := m.MUnmap(b, 4<<20); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.PeakSize != 8<<20+8*pg || s.PeakRSS < 10*pg || s.Size != 4<<20+8*pg {
		t.Errorf("%+v", s)
	}
}

// patience is a Caller who is killed once it was asked so often.
type patience int

func (p *patience) Killed() bool {
	*p--
	return *p < 0
}

// TestKilled: who is killed while much memory is made resident for it gets no more of it.
func TestKilled(t *testing.T) {
	const much = 64 << 20
	for name, call := range map[string]func(m *MemoryManager, a Addr, by Caller) error{
		"mlock":    func(m *MemoryManager, a Addr, by Caller) error { return m.MLock(a, much, false, true, by) },
		"mlockall": func(m *MemoryManager, _ Addr, by Caller) error { return m.MLockAll(true, false, false, true, by) },
		"madvise": func(m *MemoryManager, a Addr, by Caller) error {
			return m.MAdvise(a, much, madvPopulateWrite, by)
		},
		"mmap": func(m *MemoryManager, a Addr, by Caller) error {
			_, err := m.MMap(MMapOpts{Addr: a, Length: much, Prot: rw, Private: true, Fixed: true, Populate: true, Caller: by})
			if err == nil {
				err = unix.EINTR // the mapping is made, whoever looks at it
			}
			return err
		},
	} {
		w := newWorld(t, 1<<30)
		a := w.anon(much)
		by := patience(3)
		if err := call(w.m, a, &by); err != unix.EINTR {
			t.Errorf("%s: %v", name, err)
		}
		if n := w.f.Usage(); n == 0 || n > much/4 {
			t.Errorf("%s: %d bytes are allocated", name, n)
		}
		w.close()
	}
}

func TestMLockAll(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	a := w.anon(4 * pg)
	if err := m.MLockAll(true, true, false, true, nil); err != nil {
		t.Fatal(err)
	}
	w.anon(2 * pg)
	if n := m.Stats().Locked; n != 6*pg {
		t.Errorf("%d bytes locked", n)
	}
	if err := m.MAdvise(a, pg, unix.MADV_DONTNEED, nil); err != unix.EINVAL {
		t.Errorf("MADV_DONTNEED of locked memory: %v", err)
	}
	if err := m.MSync(a, pg, unix.MS_INVALIDATE); err != unix.EBUSY {
		t.Errorf("MS_INVALIDATE of locked memory: %v", err)
	}
	grown, err := m.MRemap(MRemapOpts{Old: a, OldLength: 4 * pg, NewLength: 40 * pg, MayMove: true, LockAnyway: true})
	if err != nil {
		t.Fatal(err)
	}
	if anon, _ := m.Resident(Range{grown, grown + 40*pg}); m.Stats().Locked != 42*pg || anon > 40*pg {
		t.Errorf("%d bytes locked after growing", m.Stats().Locked)
	}
	if err := m.MUnlock(grown, pg); err != nil || m.Stats().Locked != 41*pg {
		t.Errorf("munlock: %v, %d bytes locked", err, m.Stats().Locked)
	}
	if err := m.MLockAll(false, false, false, false, nil); err != nil || m.Stats().Locked != 0 {
		t.Errorf("munlockall: %v, %d bytes locked", err, m.Stats().Locked)
	}
	w.anon(pg)
	if n := m.Stats().Locked; n != 0 {
		t.Errorf("%d bytes locked after munlockall", n)
	}
}

// TestRemapKeepsBytes grows and moves memory.
func TestRemapKeepsBytes(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	for _, private := range []bool{true, false} {
		a := w.mmap(MMapOpts{Addr: 0x4000_0000, Length: 2 * pg, Prot: rw, Private: private})
		w.write(m, a, 1)
		w.write(m, a+pg, 2)
		b, err := m.MRemap(MRemapOpts{Old: a, OldLength: 2 * pg, NewLength: 4 * pg})
		if err != nil || b != a {
			t.Fatalf("in place: %#x %v", b, err)
		}
		w.mmap(MMapOpts{Addr: a + 4*pg, Length: pg, Private: true, Fixed: true})
		if b, err = m.MRemap(MRemapOpts{Old: a, OldLength: 4 * pg, NewLength: 8 * pg, MayMove: true}); err != nil || b == a {
			t.Fatalf("moved: %#x %v", b, err)
		}
		if x, y := w.read(m, b), w.read(m, b+pg); x != 1 || y != 2 {
			t.Errorf("reads %d %d", x, y)
		}
		if private {
			w.write(m, b+7*pg, 3)
		} else if _, ok := m.HandleFault(b+7*pg, 0).(*BusError); !ok {
			t.Error("shared memory grew")
		}
		if err := m.HandleFault(a, 0); err == nil {
			t.Error("the old place is still mapped")
		}
		if !private {
			d, err := m.MRemap(MRemapOpts{Old: b, NewLength: 2 * pg, MayMove: true})
			if err != nil {
				t.Fatal(err)
			}
			w.write(m, d, 9)
			if x := w.read(m, b); x != 9 {
				t.Errorf("the other mapping reads %d", x)
			}
		}
		if err := m.MUnmap(0x4000_0000, 0x1000_0000); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChangesAreFew counts what common calls ask the platform for.
func TestChangesAreFew(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	h := newHostFile(t, make([]byte, 64*pg))
	w.mmap(MMapOpts{Addr: 0x4000_0000, Length: 4 << 20, Prot: rw, Private: true, Fixed: true})
	w.mmap(MMapOpts{Addr: 0x5000_0000, Length: 64 * pg, Prot: platform.Read, Private: true, Fixed: true, File: h})
	for _, x := range []struct {
		what                          string
		call                          func() error
		lists, maps, unmaps, protects int
	}{
		{"munmap of what was never touched", func() error { return m.MUnmap(0x4030_0000, 1<<20) }, 0, 0, 0, 0},
		{"first touch", func() error { return m.HandleFault(0x4000_0000, platform.Write) }, 1, 1, 0, 0},
		{"munmap of what was touched", func() error { return m.MUnmap(0x4000_0000, 1<<20) }, 1, 0, 1, 0},
		{"mprotect of what was touched", func() error { return m.MProtect(0x4010_0000, pg, platform.Read, false) }, 1, 0, 0, 1},
		{"mprotect of what was not", func() error { return m.MProtect(0x4028_0000, pg, platform.Read, false) }, 0, 0, 0, 0},
		{"a segment over a mapped file", func() error {
			_, err := m.MMap(MMapOpts{Addr: 0x5000_0000, Length: 32 * pg, Prot: platform.Read | exec, Private: true, Fixed: true, File: h})
			return err
		}, 1, 1, 0, 0},
		{"MADV_DONTNEED", func() error { return m.MAdvise(0x4000_0000, 4<<20, unix.MADV_DONTNEED, nil) }, 1, 0, 1, 0},
		{"MADV_DONTNEED again", func() error { return m.MAdvise(0x4000_0000, 4<<20, unix.MADV_DONTNEED, nil) }, 0, 0, 0, 0},
		{"a small mapping", func() error {
			_, err := m.MMap(MMapOpts{Length: 64 << 10, Prot: rw, Private: true})
			return err
		}, 1, 1, 0, 0},
		{"a large mapping", func() error {
			_, err := m.MMap(MMapOpts{Length: 64 << 20, Prot: rw, Private: true})
			return err
		}, 0, 0, 0, 0},
	} {
		s := space(m)
		s.reset()
		if err := x.call(); err != nil && err != unix.ENOMEM {
			t.Errorf("%s: %v", x.what, err)
		}
		if s.applies != x.lists || s.count(platform.Map) != x.maps || s.count(platform.Unmap) > x.unmaps || s.count(platform.Protect) != x.protects {
			t.Errorf("%s: %d lists, %+v", x.what, s.applies, s.changes)
		}
	}
}

// TestNoMerging: advice about merging is refused, as by a Linux without CONFIG_KSM, which /sys has no sign of.
func TestNoMerging(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(pg)
	for _, advice := range []int{unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE} {
		if err := w.m.MAdvise(a, pg, advice, nil); err != unix.EINVAL {
			t.Errorf("advice %d: %v", advice, err)
		}
	}
}

// TestFewerMappings changes how many mappings there may be while there are some.
func TestFewerMappings(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(9 * pg)
	w.m.file.MaxMappings.Store(4)
	if err := w.m.MUnmap(a+pg, pg); err != nil {
		t.Fatal(err)
	}
	w.m.file.MaxMappings.Store(2)
	if err := w.m.MUnmap(a+3*pg, pg); err != unix.ENOMEM {
		t.Errorf("a hole too many: %v", err)
	}
	if _, err := w.m.MMap(MMapOpts{Length: pg, Prot: platform.Read, Private: true}); err != unix.ENOMEM {
		t.Errorf("a mapping too many: %v", err)
	}
	if err := w.m.MUnmap(a, pg); err != nil {
		t.Errorf("a mapping less: %v", err)
	}
}
