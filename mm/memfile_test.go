package mm

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func newFile(t testing.TB, limit uint64) *MemoryFile {
	t.Helper()
	f, err := NewMemoryFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// counted is a memory file and the number of references that every page should have.
type counted struct {
	f    *MemoryFile
	refs map[uint64]int
}

const countedPages = 256

// pick chooses some pages that are allocated.
func (c *counted) pick(t *rapid.T) (page, n uint64) {
	if len(c.refs) == 0 {
		t.Skip("nothing allocated")
	}
	pages := slices.Sorted(maps.Keys(c.refs))
	page = pages[rapid.IntRange(0, len(pages)-1).Draw(t, "which")]
	for n = 1; c.refs[page+n] > 0 && n < 40; n++ {
	}
	return page, rapid.Uint64Range(1, n).Draw(t, "pages")
}

func (c *counted) drop(page, n uint64) {
	c.f.DecRef(page*PageSize, n*PageSize)
	for i := page; i < page+n; i++ {
		if c.refs[i]--; c.refs[i] == 0 {
			delete(c.refs, i)
		}
	}
}

func (c *counted) allocate(t *rapid.T) {
	n := rapid.SampledFrom([]uint64{1, 1, 2, 3, 16, 17, 64, 200}).Draw(t, "pages")
	off, err := c.f.Allocate(n * PageSize)
	if over := uint64(len(c.refs))+n > countedPages; over != (err == unix.ENOMEM) {
		t.Fatalf("allocating %d pages beside %d: %v", n, len(c.refs), err)
	}
	if err != nil {
		return
	}
	b := c.f.Bytes(off, n*PageSize)
	for i := range n {
		if c.refs[off/PageSize+i] != 0 {
			t.Fatalf("page %d was in use", off/PageSize+i)
		}
		c.refs[off/PageSize+i] = 1
		page := b[i*PageSize:][:PageSize]
		if page[0] != 0 || page[77] != 0 || page[PageSize-1] != 0 {
			t.Fatalf("page %d is not zeroed", i)
		}
		page[0], page[77], page[PageSize-1] = 1, 2, 3
	}
}

func (c *counted) incRef(t *rapid.T) {
	page, n := c.pick(t)
	c.f.IncRef(page*PageSize, n*PageSize)
	for i := page; i < page+n; i++ {
		c.refs[i]++
	}
}

// sole checks what the allocator thinks has one reference.
func (c *counted) sole(t *rapid.T) {
	page, n := c.pick(t)
	s, e, ok := c.f.soleAround(page*PageSize, page*PageSize, (page+n)*PageSize)
	if ok != (c.refs[page] == 1) {
		t.Fatalf("page %d has %d references, sole is %v", page, c.refs[page], ok)
	}
	for i := s / PageSize; i < e/PageSize; i++ {
		if c.refs[i] != 1 {
			t.Fatalf("page %d has %d references, not one", i, c.refs[i])
		}
	}
}

// TestKnown has the file remember which ranges have all their pages, until a part of them is free.
func TestKnown(t *testing.T) {
	f := newFile(t, 64<<20)
	defer f.Release()
	off, err := f.Allocate(2 * maxChunk)
	if err != nil {
		t.Fatal(err)
	}
	look := func(at uint64) uint64 {
		s, e := f.residentAround(at, at, at+maxChunk)
		return e - s
	}
	if n := look(off); n != PageSize || f.known(off, off+maxChunk) {
		t.Fatalf("untouched: %d bytes, known %v", n, f.known(off, off+maxChunk))
	}
	for i := uint64(0); i < maxChunk; i += PageSize {
		f.Bytes(off+i, 1)[0] = 1
	}
	if n := look(off); n != maxChunk || !f.known(off, off+maxChunk) || f.known(off, off+maxChunk+PageSize) {
		t.Fatalf("touched: %d bytes", n)
	}
	f.DecRef(off+PageSize, PageSize)
	if f.known(off, off+maxChunk) {
		t.Error("what is free is taken for full")
	}
	f.DecRef(off, PageSize)
	f.DecRef(off+2*PageSize, 2*maxChunk-2*PageSize)
}

func TestMemoryFileAgainstModel(t *testing.T) {
	f := newFile(t, countedPages*PageSize)
	defer f.Release()
	rapid.Check(t, func(t *rapid.T) {
		c := &counted{f, map[uint64]int{}}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": c.allocate, "incref": c.incRef, "sole": c.sole,
			"decref": func(t *rapid.T) { c.drop(c.pick(t)) },
			"": func(t *rapid.T) {
				if f.Usage() != uint64(len(c.refs))*PageSize {
					t.Fatalf("usage %d instead of %d pages", f.Usage()/PageSize, len(c.refs))
				}
			},
		})
		for len(c.refs) > 0 {
			for page := range c.refs {
				c.drop(page, 1)
			}
		}
	})
}

// settle waits until freed memory has been punched.
func settle(t testing.TB, f *MemoryFile) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		f.mu.Lock()
		done := !f.punching && f.pendingBytes+f.inPunch == 0
		f.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("freed memory is not punched")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFreedMemoryGoesBackToTheHost(t *testing.T) {
	f := newFile(t, 1<<30)
	defer f.Release()
	off, err := f.Allocate(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	b := f.Bytes(off, 64<<20)
	for i := 0; i < len(b); i += PageSize {
		b[i] = 1
	}
	if r := f.Resident(); r < 64<<20 {
		t.Errorf("%d bytes resident with 64 MiB touched", r)
	}
	f.DecRef(off, 64<<20)
	settle(t, f)
	if r := f.Resident(); r > 1<<20 {
		t.Errorf("%d bytes resident after all was freed", r)
	}
	if f.free.top != 0 {
		t.Errorf("the file is in use up to %d", f.free.top)
	}
}

func TestReferenceToFreeRangePanics(t *testing.T) {
	f := newFile(t, 1<<20)
	defer f.Release()
	for name, call := range map[string]func(){
		"IncRef": func() { f.IncRef(0, PageSize) },
		"DecRef": func() { f.DecRef(4*PageSize, PageSize) },
		"Bytes":  func() { f.Bytes(f.size, 1) },
		"wrap":   func() { f.Bytes(PageSize, ^uint64(0)) },
	} {
		func() {
			defer func() {
				f.mu.TryLock()
				f.mu.Unlock()
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			call()
		}()
	}
}

func TestGuard(t *testing.T) {
	f := newFile(t, 1<<20)
	defer f.Release()
	off, err := f.Allocate(PageSize)
	if err != nil {
		t.Fatal(err)
	}
	// A mapping behind the end of its file gives the SIGBUS of a host without memory.
	if err := unix.Ftruncate(f.fd, int64(off)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.copyGuarded(f.Bytes(off, 8), []byte("12345678")); err != unix.EFAULT || n != 0 {
		t.Errorf("copy to memory that is gone: %d %v", n, err)
	}
	if _, err := f.loadWord(off); err != unix.EFAULT {
		t.Errorf("load from memory that is gone: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a foreign panic was swallowed")
		}
	}()
	_ = f.Guard(func() error {
		var p *int
		*p = 1
		return nil
	})
}

func TestMemoryFileConcurrently(t *testing.T) {
	f := newFile(t, 64<<20)
	defer f.Release()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				n := uint64(1+(i*7+g)%40) * PageSize
				off, err := f.Allocate(n)
				if err != nil {
					t.Error(err)
					return
				}
				b := f.Bytes(off, n)
				for j := range b {
					if b[j] != 0 {
						t.Errorf("not zeroed at %d", j)
						return
					}
				}
				for j := 0; j < len(b); j += 64 {
					b[j] = byte(g + 1)
				}
				f.IncRef(off, PageSize)
				f.DecRef(off, n)
				for j := 0; j < PageSize; j += 64 {
					if b[j] != byte(g+1) {
						t.Errorf("memory in use was changed")
						return
					}
				}
				f.DecRef(off, PageSize)
			}
		})
	}
	wg.Wait()
	if f.Usage() != 0 {
		t.Errorf("usage %d", f.Usage())
	}
}
