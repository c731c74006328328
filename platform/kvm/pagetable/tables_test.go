package pagetable

import (
	"errors"
	"maps"
	"slices"
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

// areas are where the model's pages lie: across the borders of tables of each level.
var areas = [...]uint64{0, 1<<21 - 8*FrameSize, 1<<30 - 8*FrameSize, 1<<39 - 8*FrameSize, Limit - 64*FrameSize}

// TestModel compares random changes of trees that share their tables with maps of pages: what a walk finds, and that
// no processor gets at what it should not, though it remembers as much as it may.
func TestModel(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		t.Run(map[bool]string{false: "hardware", true: "shadow"}[shadow], func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkModel(t, shadow) })
		})
	}
}

// modelTree is a tree, what it should map, and the processor that runs with it.
type modelTree struct {
	*Tables
	pages map[uint64]modelPage
	cpu   *processor
	lost  Lost
}

// modelWorld is some trees of one pool.
type modelWorld struct {
	t      *rapid.T
	pool   *Pool
	shadow bool
	hyp    *hypervisor
	trees  []*modelTree
}

const modelFrames = 1 << 14

func checkModel(t *rapid.T, shadow bool) {
	w := &modelWorld{t: t, pool: testPool(modelFrames), shadow: shadow}
	w.hyp = &hypervisor{pool: w.pool, shadow: shadow, shadows: make(map[shadowKey]map[int]uint64)}
	first, err := New(w.pool, 1<<14, shadow)
	if err != nil {
		t.Fatal(err)
	}
	w.add(first, make(map[uint64]modelPage))
	for range rapid.IntRange(1, 40).Draw(t, "changes") {
		tree := w.trees[rapid.IntRange(0, len(w.trees)-1).Draw(t, "tree")]
		switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
		case op == 9 && len(w.trees) > 1:
			w.release(tree)
		case op == 8 && len(w.trees) < 4:
			w.share(tree)
		case op == 7:
			w.pool.Reuse(w.hyp.flush)
		default:
			w.change(tree, min(op, 5))
			if rapid.Bool().Draw(t, "more") {
				w.remember(tree)
				w.change(tree, rapid.IntRange(0, 2).Draw(t, "then"))
			}
			w.shoot(tree)
		}
		for _, tree := range w.trees {
			checkWalk(t, tree.Tables, tree.pages)
			w.try(tree)
		}
	}
	for len(w.trees) > 0 {
		w.release(w.trees[0])
	}
	if n := w.pool.Left() + w.pool.Aside(); n != modelFrames {
		t.Fatalf("%d frames are lost", modelFrames-n)
	}
}

func (w *modelWorld) add(t *Tables, pages map[uint64]modelPage) {
	w.trees = append(w.trees, &modelTree{Tables: t, pages: pages, cpu: &processor{hyp: w.hyp}})
}

func (w *modelWorld) release(tree *modelTree) {
	var lost Lost
	tree.Release(&lost)
	w.pool.SetAside(lost.Frames)
	w.trees = slices.DeleteFunc(w.trees, func(o *modelTree) bool { return o == tree })
}

func (w *modelWorld) share(tree *modelTree) {
	child, err := tree.Share(&tree.lost)
	if err != nil {
		w.t.Fatal(err)
	}
	for at, p := range tree.pages {
		if p.prot != 0 {
			p.prot = p.prot&^platform.Write | platform.Read
		}
		tree.pages[at] = p
	}
	w.add(child, maps.Clone(tree.pages))
	w.shoot(tree)
}

// shoot does what the owner of a tree does after changes.
func (w *modelWorld) shoot(tree *modelTree) {
	w.remember(tree)
	if w.shadow {
		w.hyp.forget(tree.lost.Extents)
	}
	if tree.lost.Moved || !w.shadow && len(tree.lost.Extents) > 0 {
		tree.Enter()
		tree.cpu.load(tree.Root())
	}
	w.pool.SetAside(tree.lost.Frames)
	tree.lost = Lost{}
}

// remember has the tree's processor use the root that it has, though it should have another by now.
func (w *modelWorld) remember(tree *modelTree) {
	if tree.cpu.root == 0 {
		return
	}
	for at := range tree.pages {
		for _, access := range []platform.Prot{platform.Read, platform.Write, platform.Exec} {
			tree.cpu.access(at, access)
		}
	}
}

// try has the tree's processor access every page in every way.
func (w *modelWorld) try(tree *modelTree) {
	if rapid.Bool().Draw(w.t, "enter") {
		tree.Enter()
		if tree.cpu.root != tree.Root() {
			tree.cpu.load(tree.Root())
		}
	}
	if tree.cpu.root == 0 {
		return
	}
	for _, area := range areas {
		for at := area; at < area+40*FrameSize; at += FrameSize {
			p := tree.pages[at]
			for _, access := range []platform.Prot{platform.Read, platform.Write, platform.Exec} {
				to, ok := tree.cpu.access(at, access)
				if want := p.seen()&access != 0; ok != want || ok && to != p.to {
					w.t.Fatalf("%#x: access %d: %t to %#x, want %t to %#x", at, access, ok, to, want, p.to)
				}
			}
		}
	}
}

// change carries out a random change of a kind.
func (w *modelWorld) change(tree *modelTree, op int) {
	t := w.t
	addr := rapid.SampledFrom(areas[:]).Draw(t, "area") + rapid.Uint64Range(0, 20).Draw(t, "page")*FrameSize
	pages := rapid.Uint64Range(1, 20).Draw(t, "pages")
	to := rapid.Uint64Range(1, 1<<20).Draw(t, "to") * FrameSize
	if rapid.IntRange(0, 3).Draw(t, "huge") == 0 {
		addr, to = addr&^(largeSize-1), to&^(largeSize-1)
		pages = rapid.SampledFrom([]uint64{511, 512, 513, 1024}).Draw(t, "pages")
	}
	if pages = min(pages, (Limit-addr)/FrameSize); op == 3 {
		pages = 1
	}
	if op == 1 && rapid.IntRange(0, 9).Draw(t, "all") == 0 {
		addr, pages = 0, Limit/FrameSize
	}
	prot := platform.Prot(rapid.IntRange(0, 7).Draw(t, "prot"))
	if op == 5 {
		prot |= platform.Read
	}
	was := len(tree.lost.Extents)
	if err := carryOut(tree.Tables, op, addr, pages*FrameSize, to, prot, &tree.lost); err != nil {
		t.Fatal(err)
	}
	old := maps.Clone(tree.pages)
	switch end := addr + pages*FrameSize; op {
	case 0, 5:
		for i := range pages {
			tree.pages[addr+i*FrameSize] = modelPage{to: to + i*FrameSize, prot: prot, held: op == 5}
		}
	case 1:
		maps.DeleteFunc(tree.pages, func(at uint64, _ modelPage) bool { return at >= addr && at < end })
	default:
		for at, p := range tree.pages {
			if at >= addr && at < end {
				tree.pages[at] = p.changed(op, prot)
			}
		}
	}
	checkLost(t, old, tree.pages, tree.lost.Extents[was:])
}

// changed is a page after an operation on what is mapped.
func (m modelPage) changed(op int, prot platform.Prot) modelPage {
	switch {
	case op == 2:
		return modelPage{to: m.to, prot: prot}
	case op == 3 && m.seen() != 0:
		return modelPage{m.to, m.prot | platform.Read, true}
	case op == 4:
		m.held = false
	}
	return m
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
	if op == 4 {
		return t.Unhold(addr, length, lost)
	}
	return t.MapHeld(addr, length, to, prot, lost)
}

// checkLost sees to it that only what is lost is withdrawn.
func checkLost(t *rapid.T, old, now map[uint64]modelPage, told []Extent) {
	need := make(map[uint64]bool)
	for at, was := range old {
		is := now[at]
		if was.seen() != 0 && (was.to != is.to || was.seen()&^is.seen() != 0) {
			need[was.to] = true
		}
	}
	for _, e := range told {
		for i := uint64(0); i < e.Length; i += FrameSize {
			if !need[e.Addr+i] {
				t.Fatalf("%#x is withdrawn for nothing", e.Addr+i)
			}
		}
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
	tables, err := New(testPool(100), 6, true)
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
	tables, _ := New(p, 8, true)
	var lost Lost
	if err := tables.Map(0, FrameSize, 0x5000, platform.Read, &lost); err != nil {
		t.Fatal(err)
	}
	tables.Release(&lost)
	p.SetAside(lost.Frames)
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
