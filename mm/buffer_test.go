package mm

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"gosentry/platform"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// scattered is a buffer over ranges of a space of 24 pages: 8 of memory, 8 of a host file, 8
// where nothing is.
type scattered struct {
	b     *Buffer
	space [24 * pg]byte
	order []int // index into space of every byte that is left
}

const scatteredBase = Addr(0x4000_0000)

// drawIOVs fills in order.
func (s *scattered) drawIOVs(r *rapid.T) (iovs []Range) {
	for range rapid.IntRange(0, 5).Draw(r, "ranges") {
		start := rapid.IntRange(0, 17*pg).Draw(r, "start")
		n := rapid.SampledFrom([]int{0, 1, 7, pg, 3*pg + 5}).Draw(r, "length")
		iovs = append(iovs, Range{scatteredBase + Addr(start), scatteredBase + Addr(start+n)})
		for i := range n {
			s.order = append(s.order, start+i)
		}
	}
	return iovs
}

// good is how many of the next limit bytes can be accessed.
func (s *scattered) good(limit int) (n int) {
	for n < min(limit, len(s.order)) && s.order[n] < 16*pg {
		n++
	}
	return n
}

func (s *scattered) skip(r *rapid.T) {
	n := rapid.IntRange(0, 2*pg).Draw(r, "n")
	s.b.Skip(uint64(n))
	s.order = s.order[min(n, len(s.order)):]
}

func (s *scattered) copy(r *rapid.T) {
	p := bytes.Repeat([]byte{rapid.Byte().Draw(r, "value")}, rapid.SampledFrom([]int{0, 1, 100, 2 * pg}).Draw(r, "n"))
	out := rapid.Bool().Draw(r, "out")
	var n int
	var err error
	if out {
		n, err = s.b.CopyOut(p)
	} else {
		n, err = s.b.CopyIn(p)
	}
	if want := s.good(len(p)); n != want || (err != nil) != (want < min(len(p), len(s.order))) {
		r.Fatalf("copied %d of %d: %v, want %d", n, len(p), err, want)
	}
	for i := range n {
		if out {
			s.space[s.order[i]] = p[i]
		} else if p[i] != s.space[s.order[i]] {
			r.Fatalf("byte %d is %d instead of %d", i, p[i], s.space[s.order[i]])
		}
	}
	s.order = s.order[n:]
}

func (s *scattered) direct(r *rapid.T) {
	limit := rapid.SampledFrom([]int{0, 1, 100, 3 * pg, 1 << 30}).Draw(r, "limit")
	write := rapid.Bool().Draw(r, "write")
	value := rapid.Byte().Draw(r, "value")
	less := rapid.IntRange(0, 50).Draw(r, "less")
	want, moved := s.good(limit), 0
	n, err := s.b.WithBytes(limit, write, func(segs [][]byte) (int, error) {
		for _, seg := range segs {
			for i := range seg {
				if moved++; moved > want {
					r.Fatalf("more than %d bytes", want)
				}
				if write {
					seg[i] = value
				} else if at := s.order[moved-1]; seg[i] != s.space[at] {
					r.Fatalf("byte %d is %d instead of %d", moved-1, seg[i], s.space[at])
				}
			}
		}
		return moved - less, nil
	})
	if (err != nil) != (want == 0 && limit > 0 && len(s.order) > 0) || n != max(0, moved-less) || want > 0 && moved == 0 {
		r.Fatalf("WithBytes(%d): %d %v, moved %d of %d", limit, n, err, moved, want)
	}
	for i := 0; i < moved && write; i++ {
		if i < n || s.order[i] < 8*pg {
			s.space[s.order[i]] = value
		}
	}
	s.order = s.order[n:]
}

func (s *scattered) check(r *rapid.T) {
	if s.b.Len() != uint64(len(s.order)) {
		r.Fatalf("%d bytes left instead of %d", s.b.Len(), len(s.order))
	}
}

// TestBufferAgainstModel moves bytes through buffers over scattered ranges, some of them
// empty, on memory, on a host file, or bad.
func TestBufferAgainstModel(t *testing.T) {
	content := bytes.Repeat([]byte{9}, 8*pg)
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r, 1<<30)
		defer func() {
			w.m.DecUsers()
			w.f.Release()
		}()
		h := newHostFile(t, content)
		defer h.f.Close()
		var s scattered
		copy(s.space[8*pg:], content)
		w.mmap(MMapOpts{Addr: scatteredBase, Length: 8 * pg, Prot: rw, Private: true, Fixed: true})
		w.mmap(MMapOpts{Addr: scatteredBase + 8*pg, Length: 8 * pg, Prot: rw, Fixed: true, File: h})
		iovs := s.drawIOVs(r)
		keep := slices.Clone(iovs)
		s.b = NewBuffer(w.m, iovs)
		r.Repeat(map[string]func(*rapid.T){"skip": s.skip, "copy": s.copy, "copy2": s.copy, "direct": s.direct, "": s.check})
		if !slices.Equal(iovs, keep) {
			r.Fatalf("the caller's ranges were changed")
		}
		var all [16 * pg]byte
		if _, err := w.m.CopyIn(scatteredBase, all[:]); err != nil || !bytes.Equal(all[:], s.space[:16*pg]) {
			r.Fatalf("memory is not as it should be: %v", err)
		}
	})
}

// TestPinnedMemoryOutlivesItsMapping unmaps memory that a call is reading into.
func TestPinnedMemoryOutlivesItsMapping(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(4 * pg)
	b := SingleBuffer(w.m, a+100, pg)
	n, err := b.WithBytes(1<<20, true, func(segs [][]byte) (int, error) {
		if err := w.m.MUnmap(a, 4*pg); err != nil {
			t.Error(err)
		}
		other := w.anon(4 * pg)
		w.write(w.m, other+100, 1)
		for _, s := range segs {
			for i := range s {
				s[i] = 0xee
			}
		}
		if b := w.read(w.m, other+101); b != 0 {
			t.Errorf("memory in use was given to another mapping: reads %#x", b)
		}
		return pg, unix.EINTR
	})
	if n != pg || err != unix.EINTR {
		t.Errorf("%d %v", n, err)
	}
	if w.f.Usage() > 4*pg {
		t.Errorf("%d bytes allocated", w.f.Usage())
	}
}

// TestForkWhileReading forks while a call is reading into memory, and stores beside that: the parent gets all that is read, and the child's
// memory does not change any more once it is there.
func TestForkWhileReading(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(4 * pg)
	w.write(w.m, a, 1)
	var c *MemoryManager
	var before byte
	forked := make(chan struct{})
	b := SingleBuffer(w.m, a+pg, pg)
	_, err := b.WithBytes(pg, true, func(segs [][]byte) (int, error) {
		go func() {
			defer close(forked)
			c = w.fork()
			before = w.read(c, a+pg)
			w.write(w.m, a, 2)
		}()
		select {
		case <-forked:
		case <-time.After(50 * time.Millisecond):
		}
		segs[0][0] = 0xee
		return pg, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-forked
	defer c.DecUsers()
	if got := w.read(w.m, a+pg); got != 0xee {
		t.Errorf("what was read is lost: %#x", got)
	}
	if after := w.read(c, a+pg); after != before {
		t.Errorf("the child's memory was %#x and is %#x", before, after)
	}
}

func TestBufferWithoutAllocation(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(16 * pg)
	_, _ = w.m.CopyOut(a, make([]byte, 16*pg))
	var b Buffer
	p := make([]byte, pg)
	fn := func(segs [][]byte) (int, error) { return len(segs[0]), nil }
	for name, f := range map[string]func(){
		"CopyIn":  func() { _, _ = w.m.CopyIn(a+1, p) },
		"CopyOut": func() { _, _ = w.m.CopyOut(a+1, p) },
		"Load":    func() { _, _ = w.m.LoadUint32(a) },
		"Buffer": func() {
			b.Reset(w.m, a, 8*pg)
			_, _ = b.CopyOut(p)
			_, _ = b.CopyIn(p)
		},
		"WithBytes": func() {
			b.Reset(w.m, a, 8*pg)
			_, _ = b.WithBytes(8*pg, true, fn)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s makes %v allocations", name, n)
		}
	}
}

func TestInvalidate(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	h := newHostFile(t, bytes.Repeat([]byte{1}, 4*pg))
	s := w.mmap(MMapOpts{Length: 4 * pg, Prot: rw, File: h})
	p := w.mmap(MMapOpts{Length: 4 * pg, Prot: platform.Read, Private: true, File: h, Offset: pg})
	w.write(w.m, s, 2)
	w.read(w.m, p)
	if err := h.f.Truncate(2 * pg); err != nil {
		t.Fatal(err)
	}
	h.Invalidate(2*pg, ^uint64(0))
	for _, x := range []struct {
		addr Addr
		bus  bool
	}{{s, false}, {s + pg, false}, {s + 2*pg, true}, {p, false}, {p + pg, true}} {
		var b byte
		err := access(w.m, x.addr, false, false, &b)
		if _, ok := err.(*BusError); ok != x.bus || err != nil != x.bus {
			t.Errorf("%#x: %v", x.addr, err)
		}
	}
	if err := h.f.Truncate(4 * pg); err != nil {
		t.Fatal(err)
	}
	if b := w.read(w.m, s+3*pg); b != 0 {
		t.Errorf("reads %d", b)
	}
	// A host file that shrinks without our knowledge.
	w.read(w.m, s+3*pg)
	_ = h.f.Truncate(pg)
	if _, ok := w.m.HandleFault(s+3*pg, 0).(*BusError); !ok {
		t.Error("no bus error behind the end of a file that the host cut")
	}
}

func TestPunchHole(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.mmap(MMapOpts{Length: 8 * pg, Prot: rw})
	c := w.fork()
	defer c.DecUsers()
	for i := Addr(0); i < 8; i++ {
		w.write(w.m, a+i*pg, 5)
	}
	w.read(c, a+2*pg)
	if err := w.m.MAdvise(a+pg, 3*pg, unix.MADV_REMOVE, nil); err != nil {
		t.Fatal(err)
	}
	w.write(w.m, a+3*pg, 6)
	for i, want := range []byte{5, 0, 0, 6, 5} {
		if b := w.read(c, a+Addr(i)*pg); b != want {
			t.Errorf("page %d reads %d, want %d", i, b, want)
		}
	}
}
