package kvm

import (
	"errors"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

const readWrite = platform.Read | platform.Write

// counterText adds 1 to the word at (%rbx) for ever; readerText copies the word at (%rbx) to (%rcx) for ever.
var (
	counterText = []byte{0x48, 0xff, 0x03, 0xeb, 0xfb}
	readerText  = []byte{0x48, 0x8b, 0x03, 0x48, 0x89, 0x01, 0xeb, 0xf8}
)

// runner runs a loop in as on a processor of its own until a fault or an interrupt.
func (g *testGuest) runner(as *addressSpace, rbx, rcx uint64) (c *context, done chan platform.Event) {
	c = g.p.NewContext(nil).(*context)
	done = make(chan platform.Event, 1)
	go func() {
		defer c.Release()
		regs := arch.Registers{Rip: codeAt, Rsp: stackAt - 64, Rbx: rbx, Rcx: rcx, Eflags: fixedFlags}
		ev, err := c.Run(as, &regs)
		if died := new(platform.Died); err != nil && !errors.As(err, &died) {
			g.Error(err)
		}
		done <- ev
	}()
	return c, done
}

// moves waits until the word at page changes.
func (g *testGuest) moves(page uint64) {
	g.Helper()
	g.movesFrom(page, g.word(page).Load())
}

// movesFrom waits until the word at page is another than old.
func (g *testGuest) movesFrom(page, old uint64) {
	g.Helper()
	for deadline := time.Now().Add(time.Minute); g.word(page).Load() == old; time.Sleep(10 * time.Microsecond) {
		if time.Now().After(deadline) {
			g.Fatalf("nothing is written to page %d", page)
		}
	}
}

// rests sees to it that the word at page does not change.
func (g *testGuest) rests(page uint64, after string) {
	g.Helper()
	old := g.word(page).Load()
	time.Sleep(2 * time.Millisecond)
	if now := g.word(page).Load(); now != old {
		g.Fatalf("after %s page %d is still written to: %d, %d", after, page, old, now)
	}
}

// TestStaleAfterDeath has an address space die while another processor writes to a page there, and the page taken away after that.
func TestStaleAfterDeath(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, counterText...)
	defer g.as.Release()
	g.apply(g.at(codeAt, 0, platform.Read|platform.Exec), g.at(dataAt, 2, readWrite))
	c, done := g.runner(g.as, dataAt, 0)
	g.moves(2)
	_ = g.as.die("for a test")
	g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt, Length: pageSize})
	g.rests(2, "unmap")
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it runs on")
		c.Interrupt()
		<-done
	}
}

// TestStaleUnderRunner takes the right to write from a page that another processor writes to, in each way there is: when
// that returns, nothing is written any more, and the writer faults. Pages around it stay.
func TestStaleUnderRunner(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	const block = 2 << 20
	unmap := func(addr, length uint64) platform.Change {
		return platform.Change{Op: platform.Unmap, Addr: addr, Length: length}
	}
	protect := func(addr, length uint64, prot platform.Prot) platform.Change {
		return platform.Change{Op: platform.Protect, Prot: prot, Addr: addr, Length: length}
	}
	for _, way := range []struct {
		name string
		list func(g *testGuest) []platform.Change // nil: shared with another address space
	}{
		{"unmap", func(*testGuest) []platform.Change { return []platform.Change{unmap(dataAt, pageSize)} }},
		{"unmap of a table", func(*testGuest) []platform.Change { return []platform.Change{unmap(dataAt, block)} }},
		{"unmap of many tables", func(*testGuest) []platform.Change { return []platform.Change{unmap(dataAt-block, 2<<30)} }},
		{"unmap of all", func(*testGuest) []platform.Change { return []platform.Change{unmap(userLow, userHigh-userLow)} }},
		{"protection", func(*testGuest) []platform.Change { return []platform.Change{protect(dataAt, pageSize, platform.Read)} }},
		{"protection of a table", func(*testGuest) []platform.Change { return []platform.Change{protect(dataAt, block, platform.Read)} }},
		{"no rights", func(*testGuest) []platform.Change { return []platform.Change{protect(dataAt, pageSize, 0)} }},
		{"another page", func(g *testGuest) []platform.Change { return []platform.Change{g.at(dataAt, 3, platform.Read)} }},
		{"sharing", nil},
	} {
		t.Run(way.name, func(t *testing.T) {
			g := newGuest(t, p, counterText...)
			defer g.as.Release()
			for round := range 6 {
				g.apply(g.at(codeAt, 0, platform.Read|platform.Exec), g.at(dataAt, 2, readWrite), g.at(dataAt+pageSize, 3, readWrite))
				_, done := g.runner(g.as, dataAt, 0)
				g.moves(2)
				if way.list != nil {
					g.apply(way.list(g)...)
				} else {
					child := p.newSpace()
					if err := g.as.Share(child); err != nil {
						t.Fatal(err)
					}
					defer child.Release()
				}
				g.rests(2, way.name)
				if ev := <-done; ev.Kind != platform.Fault || ev.Addr != dataAt && ev.Addr&^(pageSize-1) != codeAt {
					t.Fatalf("round %d: %+v", round, ev)
				}
			}
		})
	}
}

// TestShared has two address spaces begin with the same pages, and change them apart from each other.
func TestShared(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, storeText...)
	const far = 0x7000_0000_0000
	g.apply(g.at(dataAt, 2, readWrite), g.at(far, 3, readWrite))
	write := func(as *addressSpace, addr, v uint64) platform.Event {
		t.Helper()
		g.as, g.regs.Rbx, g.regs.Rax = as, addr, v
		return g.run()
	}
	refused := func(as *addressSpace, addr uint64) {
		t.Helper()
		want := platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: segvAccErr, Access: platform.Write, Addr: addr}
		if ev := write(as, addr, 99); ev != want {
			t.Fatalf("%+v, want %+v", ev, want)
		}
	}
	parent := g.as
	for round := range uint64(20) {
		for _, addr := range []uint64{dataAt, far} {
			if ev := write(parent, addr, round); ev != syscallEvent {
				t.Fatalf("round %d: %+v", round, ev)
			}
		}
		child := p.newSpace()
		if err := parent.Share(child); err != nil {
			t.Fatal(err)
		}
		if n := child.tables.Frames(); n != parent.tables.Frames() {
			t.Errorf("%d frames, the parent has %d", n, parent.tables.Frames())
		}
		first, second := parent, child
		if round%2 == 1 {
			first, second = child, parent
		}
		refused(first, dataAt)
		refused(second, far)
		// The first gets a copy and the second keeps the page, which it may write to again.
		g.as = first
		g.apply(g.at(dataAt, 4, readWrite))
		if ev := write(first, dataAt, 100+round); ev != syscallEvent {
			t.Fatalf("%+v", ev)
		}
		refused(second, dataAt)
		g.as = second
		g.apply(platform.Change{Op: platform.Protect, Prot: readWrite, Addr: dataAt, Length: pageSize})
		if ev := write(second, dataAt, 200+round); ev != syscallEvent {
			t.Fatalf("%+v", ev)
		}
		if a, b := g.word(4).Load(), g.word(2).Load(); a != 100+round || b != 200+round {
			t.Fatalf("round %d: the pages have %d and %d", round, a, b)
		}
		refused(first, far)
		refused(second, far)
		child.Release()
		if round%4 == 0 {
			p.reuse()
		}
		g.as = parent
		g.apply(g.at(dataAt, 2, readWrite), g.at(far, 3, readWrite))
	}
	parent.Release()
}

// TestSecrets gives a page that a reader has lost to another address space, which writes a secret to it: the
// reader, a child that shares its tables, and whoever gets their tables' frames never see that.
func TestSecrets(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	const out, secret = dataAt + 16*pageSize, 0x5ec2e7
	g := newGuest(t, p, readerText...)
	read := func(as *addressSpace, to uint64) func() {
		g.as = as
		g.apply(g.at(out, to, readWrite))
		c, done := g.runner(as, dataAt, out)
		return func() {
			c.Interrupt()
			<-done
		}
	}
	parent := g.as
	for round := range uint64(12) {
		g.as = parent
		g.word(2).Store(round)
		g.apply(g.at(dataAt, 2, platform.Read))
		child := p.newSpace()
		if err := parent.Share(child); err != nil {
			t.Fatal(err)
		}
		stops := []func(){read(parent, 10), read(child, 11)}
		for page := range uint64(2) {
			g.word(10 + page).Store(secret)
			g.movesFrom(10+page, secret)
		}
		// DONTNEED, a fork's copy, or an end: the page is another's now.
		for i, as := range []*addressSpace{parent, child} {
			g.as = as
			if i == int(round%2) {
				g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt, Length: pageSize})
			} else {
				g.apply(g.at(dataAt, 5, platform.Read))
			}
		}
		g.word(2).Store(secret)
		time.Sleep(time.Millisecond)
		for _, stop := range stops {
			stop()
		}
		for page := range uint64(2) {
			if w := g.word(10 + page).Load(); w == secret {
				t.Fatalf("round %d: reader %d saw the secret", round, page)
			}
		}
		child.Release()
		if round%3 == 0 {
			p.reuse()
		}
	}
	parent.Release()
}

// TestSharedEnds releases one of two address spaces that share tables while a processor runs in the other, and
// uses frames again.
func TestSharedEnds(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, counterText...)
	g.apply(g.at(dataAt, 2, readWrite))
	for round := range 10 {
		child := p.newSpace()
		if err := g.as.Share(child); err != nil {
			t.Fatal(err)
		}
		parent := g.as
		g.as = child
		g.apply(g.at(dataAt, 2, readWrite))
		c, done := g.runner(child, dataAt, 0)
		g.moves(2)
		parent.Release()
		p.reuse()
		g.as = p.newSpace()
		for i := range uint64(8) { // takes the frames
			g.apply(g.at(dataAt+i<<30, 6, platform.Read))
		}
		g.moves(2)
		c.Interrupt()
		if ev := <-done; ev.Kind != platform.Interrupted {
			t.Fatalf("round %d: %+v", round, ev)
		}
		g.as.Release()
		g.as = child
	}
	g.as.Release()
	if p.reuse(); p.pool.Left() < poolFrames-100 {
		t.Errorf("%d frames are lost", poolFrames-p.pool.Left())
	}
}

// TestShareFails has no frames left: the parent stays as it was, and keeps its right to write.
func TestShareFails(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, storeText...)
	g.apply(g.at(dataAt, 2, readWrite))
	g.regs.Rbx, g.regs.Rax = dataAt, 1
	g.want(syscallEvent)
	p.reuse()
	var taken []uint64
	for {
		frame, ok := p.pool.Alloc()
		if !ok {
			break
		}
		taken = append(taken, frame)
	}
	p.pool.SetAside(taken[:5])
	child := p.newSpace()
	g.as.running[nil] = struct{}{} // else it is emptied for its frames
	if err := g.as.Share(child); err != unix.ENOMEM {
		t.Errorf("shared without frames: %v", err)
	}
	delete(g.as.running, nil)
	if p.pool.Left()+p.pool.Aside() != 5 {
		t.Errorf("%d frames are left, expected 5", p.pool.Left()+p.pool.Aside())
	}
	child.Release()
	if g.want(syscallEvent); g.as.Drops() != 0 {
		t.Errorf("%d drops", g.as.Drops())
	}
	p.pool.SetAside(taken[5:])
}

// TestPatchedShared has an address space begin with another's patched text: it has a table, trampolines and answers of its own,
// which the other's end does not touch.
func TestPatchedShared(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := patchGuest(t, p)
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told}})
	if g.next(marker); g.regs.Rbx != told {
		t.Fatalf("the answer is %d", g.regs.Rbx)
	}
	parent, first := g.as, g.c
	child := p.newSpace()
	if err := parent.Share(child); err != nil {
		t.Fatal(err)
	}
	g.c = p.NewContext(nil).(*context)
	defer g.c.Release()
	g.as, g.regs.Rip = child, codeAt
	if !g.patched() {
		t.Error("the child's text is not patched")
	}
	g.next(asked)
	g.next(marker)
	g.c.SetAnswers([]platform.Answer{{Number: asked, Value: told + 1}})
	if g.next(marker); g.regs.Rbx != told+1 {
		t.Errorf("the child's answer is %d", g.regs.Rbx)
	}
	regs := arch.Registers{Rip: codeAt}
	if ev, err := first.Run(parent, &regs); err != nil || regs.Rbx != told {
		t.Errorf("the parent's answer is %d: %+v %v", regs.Rbx, ev, err)
	}
	first.Release()
	parent.Release()
	other := patchGuest(t, p) // takes the parent's slot
	defer other.as.Release()
	for range 3 {
		if g.next(marker); g.regs.Rbx != told+1 {
			t.Fatalf("the child's answer is %d once the parent is gone", g.regs.Rbx)
		}
		other.next(asked)
		other.next(marker)
	}
}
