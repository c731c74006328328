package platformtest

import (
	"testing"

	"gosentry/platform"
)

// testGoBack sets aside what contexts write to: they write to nothing of it any more. It goes back to what is left of that.
func testGoBack(t *testing.T, e *env) {
	as := e.empty()
	keeper, ok := as.(platform.Keeper)
	if !ok {
		t.Skip("not a Keeper")
	}
	const fillAt, contexts = 0x50000000, 3
	text := e.file(codeAt, codePages*page, 0, rx)
	fill := e.file(fillAt, filePages*page, 0, rw)
	fill.Fill = true
	resume, events, end := e.runners(as, contexts, true)
	defer end()
	c := e.context(nil)
	for round := range 10 {
		copy(e.mem, program{}.set(rbx, dataAt).set(rax, 7).store().back(20))
		e.apply(as, unmap(fillAt, filePages*page), text, e.file(dataAt, page, dataPage*page, rw), fill)
		for range contexts {
			resume <- struct{}{}
		}
		waitFor(t, "a store", func() bool { return e.atomic(dataPage*page) == 7 })
		e.setAside(keeper)
		e.poke(dataPage*page, 0)
		for range contexts {
			if ev := <-events; ev.Kind != platform.Fault {
				t.Fatalf("%+v", ev)
			}
		}
		if e.atomic(dataPage*page) != 0 {
			t.Fatal("what was set aside was written to")
		}
		e.apply(as, text, e.file(dataAt, page, (dataPage+1)*page, rw))
		e.poke((dataPage+1)*page, uint64(round))
		e.check(c, as, dataAt, []string{"rw"}, []uint64{uint64(round)})
		c.Leave()
		e.poke(200*page, uint64(1000+round))
		if !keeper.GoBack([]platform.Change{text, unmap(dataAt, page), unmap(fillAt, 200*page), protect(fillAt+201*page, page, platform.Read)}) {
			t.Fatal("it does not go back")
		}
		if keeper.GoBack(nil) {
			t.Error("it goes back twice")
		}
		e.check(c, as, fillAt+199*page, []string{"none", "rw", "r", "rw"}, []uint64{0, uint64(1000 + round), e.peek(201 * page), e.peek(202 * page)})
		e.check(c, as, dataAt, []string{"none"}, nil)
		c.Leave()
	}
}

// setAside sets all of an address space aside, if that was not forgotten.
func (e *env) setAside(as platform.Keeper) {
	e.tb.Helper()
	drops := as.(interface{ Drops() uint64 }).Drops()
	if as.SetAside(drops + 1) {
		e.tb.Fatal("set aside although it was forgotten")
	}
	if !as.SetAside(drops) {
		e.tb.Fatal("not set aside")
	}
}
