package mm

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// TestTogether lets threads of a guest do everything at once in the same pages, while each
// checks that a page of its own keeps its bytes.
func TestTogether(t *testing.T) {
	w := newWorld(t, 1<<30)
	h := newHostFile(t, make([]byte, 32*pg))
	const base, pages = Addr(0x4000_0000), 24
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			own, err := w.m.MMap(MMapOpts{Length: 2 * pg, Prot: rw, Private: true})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 400 {
				stir(w.m, h, rng, base, pages)
				var b [8]byte
				b[0], b[7] = byte(i), byte(g)
				if _, err := w.m.CopyOut(own+pg-4, b[:]); err != nil {
					t.Error(err)
				}
				stir(w.m, h, rng, base, pages)
				var c [8]byte
				if _, err := w.m.CopyIn(own+pg-4, c[:]); err != nil || b != c {
					t.Errorf("%v instead of %v: %v", c, b, err)
				}
			}
		})
	}
	wg.Wait()
	w.close()
	if h.mapped() != 0 || !h.Empty() {
		t.Errorf("%d bytes are still mapped", h.mapped())
	}
}

// stir makes one call at random.
func stir(m *MemoryManager, h *hostFile, rng *rand.Rand, base Addr, pages int) {
	i := rng.IntN(pages)
	a, n := base+Addr(i)*pg, uint64(1+rng.IntN(pages-i))*pg
	prot := []platform.Prot{rw, rw, platform.Read, 0}[rng.IntN(4)]
	buf := make([]byte, 100)
	switch rng.IntN(16) {
	case 0, 1:
		o := MMapOpts{Addr: a, Length: n, Prot: prot, Fixed: true, Private: rng.IntN(2) == 0, Populate: rng.IntN(3) == 0}
		if rng.IntN(2) == 0 {
			o.File = h
		}
		_, _ = m.MMap(o)
	case 2:
		_ = m.MUnmap(a, n)
	case 3:
		_ = m.MProtect(a, n, prot, false)
	case 4:
		_ = m.MAdvise(a, n, []int{unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_REMOVE}[rng.IntN(3)], nil)
	case 5:
		_, _ = m.MRemap(MRemapOpts{Old: a, OldLength: pg, NewLength: n, MayMove: true, Fixed: true, New: base + Addr(rng.IntN(pages))*pg})
	case 6:
		if c, err := m.Fork(); err == nil {
			_, _ = c.CopyOut(a, buf)
			_ = c.HandleFault(a, 0)
			c.DecUsers()
		}
	case 7:
		h.Invalidate(uint64(i)*pg, n)
	case 8, 9:
		b := SingleBuffer(m, a, n)
		_, _ = b.WithBytes(1<<20, rng.IntN(2) == 0, func(segs [][]byte) (int, error) { return len(segs[0]), nil })
	case 10:
		_, _ = m.CompareAndSwapUint32(a, 0, 1)
	case 11:
		_ = m.MSync(a, n, unix.MS_SYNC)
		m.Stats()
		m.VMAs(func(VMA) bool { return true })
	case 12:
		_, _ = m.CopyIn(a+pg-50, buf)
	case 13:
		_, _ = m.CopyOut(a+pg-50, buf)
	default:
		_ = m.HandleFault(a, []platform.Prot{0, platform.Read, platform.Write}[rng.IntN(3)])
	}
}

// TestAtomics counts with compare-and-swap from many sides.
func TestAtomics(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.mmap(MMapOpts{Length: pg, Prot: rw})
	c := w.fork()
	defer c.DecUsers()
	var wg sync.WaitGroup
	for _, m := range []*MemoryManager{w.m, w.m, c, c} {
		wg.Go(func() {
			for range 500 {
				for v, err := m.LoadUint32(a); ; {
					prev, e := m.CompareAndSwapUint32(a, v, v+1)
					if e != nil || err != nil {
						t.Error(e, err)
						return
					}
					if prev == v {
						break
					}
					v = prev
				}
			}
		})
	}
	wg.Wait()
	if v, err := c.SwapUint32(a, 7); v != 2000 || err != nil {
		t.Errorf("counted to %d: %v", v, err)
	}
	if v, err := w.m.LoadUint32(a); v != 7 || err != nil {
		t.Errorf("reads %d: %v", v, err)
	}
	k1, err1 := w.m.FutexKey(a, false)
	k2, err2 := c.FutexKey(a, false)
	k3, _ := c.FutexKey(a, true)
	if k1 != k2 || k1 == k3 || err1 != nil || err2 != nil {
		t.Errorf("keys %v %v %v", k1, k2, k3)
	}
	p := w.anon(pg)
	k1, _ = w.m.FutexKey(p, false)
	k2, _ = w.m.FutexKey(p, true)
	if k1 != k2 {
		t.Errorf("keys of private memory: %v %v", k1, k2)
	}
}

// TestFaultsOfManyThreads has threads fault on the same pages: a thread that lost the race
// must not be taken for one whose access is forbidden.
func TestFaultsOfManyThreads(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(64 << 20)
	var bad atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		if !w.m.IncUsers() {
			t.Fatal("no user")
		}
		wg.Go(func() {
			defer w.m.DecUsers()
			for i := Addr(0); i < 64<<20; i += maxChunk {
				if w.m.HandleFault(a+i, 0) != nil {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n != 0 {
		t.Errorf("%d faults were refused", n)
	}
}
