package pagetable

import (
	"errors"
	"maps"
	"testing"

	"gosentry/platform"

	"pgregory.net/rapid"
)

const poolBase = 1 << 40

func testPool(limit int) *Pool {
	p := NewPool(poolBase, limit, func(int) ([]Table, error) { return make([]Table, BlockFrames), nil })
	p.SetKernel(KernelBranch(0x123000))
	return p
}

// modelPage is a page of the model.
type modelPage struct {
	to   uint64
	prot platform.Prot
	held bool
}

func (m modelPage) seen() platform.Prot {
	switch {
	case m.held:
		return 0
	case m.prot != 0:
		return m.prot | platform.Read
	}
	return 0
}

// branches are the entries that lead to tables, by where they are.
func branches(t *Tables) map[[2]uint64]uint64 {
	out := make(map[[2]uint64]uint64)
	for _, frame := range t.frames {
		for i, e := range t.pool.Table(frame) {
			if e&present != 0 && e&mapped == 0 {
				out[[2]uint64{frame, uint64(i)}] = e
			}
		}
	}
	return out
}

// areas are where the model's pages lie: across the borders of tables of each level.
var areas = [...]uint64{0, 1<<21 - 8*FrameSize, 1<<30 - 8*FrameSize, 1<<39 - 8*FrameSize, Limit - 64*FrameSize}

// TestModel compares random changes with a map of pages: what a walk finds, what may be stale, and that the way to a
// page never changes.
func TestModel(t *testing.T) {
	for _, large := range []bool{false, true} {
		rapid.Check(t, func(t *rapid.T) { checkModel(t, large) })
	}
}

func checkModel(t *rapid.T, large bool) {
	tables, err := New(testPool(1<<14), 1<<14, large)
	if err != nil {
		t.Fatal(err)
	}
	model := make(map[uint64]modelPage)
	for range rapid.IntRange(1, 40).Draw(t, "changes") {
		addr := rapid.SampledFrom(areas[:]).Draw(t, "area") + rapid.Uint64Range(0, 20).Draw(t, "page")*FrameSize
		pages := rapid.Uint64Range(1, 20).Draw(t, "pages")
		to := rapid.Uint64Range(1, 1<<20).Draw(t, "to") * FrameSize
		if large && rapid.Bool().Draw(t, "huge") {
			addr, to = addr&^(largeSize-1), to&^(largeSize-1)
			pages = rapid.SampledFrom([]uint64{511, 512, 513, 1024}).Draw(t, "pages")
		}
		pages = min(pages, (Limit-addr)/FrameSize)
		prot := platform.Prot(rapid.IntRange(0, 7).Draw(t, "prot"))
		before := branches(tables)
		old := make(map[uint64]modelPage)
		var lost Lost
		op := rapid.IntRange(0, 4).Draw(t, "op")
		if op > 2 {
			pages = 1
		}
		err := carryOut(tables, op, addr, pages*FrameSize, to, prot, &lost)
		if err != nil {
			t.Fatal(err)
		}
		for i := range pages {
			at := addr + i*FrameSize
			p, there := model[at]
			old[at] = p
			switch {
			case op == 0:
				model[at] = modelPage{to: to + i*FrameSize, prot: prot}
			case op == 1:
				delete(model, at)
			case !there:
			case op == 2:
				model[at] = modelPage{to: p.to, prot: prot}
			case op == 3 && p.seen() != 0:
				model[at] = modelPage{p.to, p.prot | platform.Read, true}
			case op == 4:
				model[at] = modelPage{p.to, p.prot, false}
			}
		}
		checkLost(t, old, model, lost)
		if !large {
			for at, e := range branches(tables) {
				if was, ok := before[at]; ok && was != e {
					t.Fatalf("the entry at %x changed from %#x to %#x", at, was, e)
				}
				delete(before, at)
			}
			if len(before) > 0 {
				t.Fatalf("entries are gone: %x", before)
			}
		}
		checkWalk(t, tables, model)
	}
}

func carryOut(t *Tables, op int, addr, length, to uint64, prot platform.Prot, lost *Lost) error {
	switch op {
	case 0:
		return t.Map(addr, length, to, prot, lost)
	case 1:
		return t.Unmap(addr, length, lost)
	case 2:
		return t.Protect(addr, length, prot, lost)
	case 3:
		return t.Hold(addr, lost)
	}
	return t.Unhold(addr)
}

// checkLost compares lost with what the pages were and are.
func checkLost(t *rapid.T, old, now map[uint64]modelPage, lost Lost) {
	stale := make(map[uint64]bool)
	for _, e := range lost.Extents {
		for i := uint64(0); i < e.Length; i += FrameSize {
			stale[e.Addr+i] = true
		}
	}
	need := make(map[uint64]bool)
	for at, was := range old {
		is := now[at]
		if was.seen() != 0 && (was.to != is.to || was.seen()&^is.seen() != 0) {
			need[was.to] = true
		}
	}
	if !maps.Equal(need, stale) {
		t.Fatalf("told of %v, want %v", stale, need)
	}
}

func checkWalk(t *rapid.T, tables *Tables, model map[uint64]modelPage) {
	for at, want := range model {
		got := tables.Walk(at + 5)
		if got.Addr != want.to+5 || got.Prot != want.seen() || !got.Mapped || got.Held != want.held {
			t.Fatalf("%#x: %+v, want %+v", at, got, want)
		}
	}
	tables.Each(func(addr, size, to uint64, prot platform.Prot) {
		for i := uint64(0); i < size; i += FrameSize {
			if p, ok := model[addr+i]; !ok || p.to != to+i || p.seen() != prot {
				t.Fatalf("%#x is mapped to %#x with %d, want %+v", addr+i, to+i, prot, p)
			}
		}
	})
	if e := tables.pool.Table(tables.root)[entries-1]; e != KernelBranch(0x123000) {
		t.Fatalf("the kernel's entry is %#x", e)
	}
}

// TestFull runs out of frames in the middle of a Map; nothing is lost of what was there.
func TestFull(t *testing.T) {
	tables, err := New(testPool(100), 6, false)
	if err != nil {
		t.Fatal(err)
	}
	var lost Lost
	if err := tables.Map(0x1000, FrameSize, 0x5000, platform.Read, &lost); err != nil {
		t.Fatal(err)
	}
	if err := tables.Map(1<<39-FrameSize, 2*FrameSize, 0x7000, platform.Read, &lost); !errors.Is(err, ErrFull) {
		t.Fatalf("%v, want ErrFull", err)
	}
	if p := tables.Walk(0x1000); p.Addr != 0x5000 {
		t.Errorf("%+v", p)
	}
	if tables.Frames() > 6 {
		t.Errorf("%d frames", tables.Frames())
	}
}

// TestReuse keeps frames of a released tree from being used before a flush.
func TestReuse(t *testing.T) {
	p := testPool(8)
	tables, _ := New(p, 8, false)
	if err := tables.Map(0, FrameSize, 0x5000, platform.Read, nil); err != nil {
		t.Fatal(err)
	}
	tables.Release()
	if p.Aside() != 4 || p.Left() != 4 {
		t.Fatalf("%d aside, %d left", p.Aside(), p.Left())
	}
	flushed := false
	p.Reuse(func() {
		flushed = true
		if p.Left() != 4 {
			t.Errorf("%d left while flushing", p.Left())
		}
	})
	if !flushed || p.Left() != 8 {
		t.Fatalf("%d left", p.Left())
	}
	for range 8 {
		addr, ok := p.Alloc()
		if !ok || *p.Table(addr) != (Table{}) {
			t.Fatalf("frame %#x: %t, not zeroed", addr, ok)
		}
	}
	if _, ok := p.Alloc(); ok {
		t.Error("one frame too many")
	}
}
