package platformtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

func unmap(addr, length uint64) platform.Change {
	return platform.Change{Op: platform.Unmap, Addr: addr, Length: length}
}

func protect(addr, length uint64, prot platform.Prot) platform.Change {
	return platform.Change{Op: platform.Protect, Addr: addr, Length: length, Prot: prot}
}

// probe tells what a guest finds at addr: the word there, or the si_code of the
// fault; and then the same for a write of the word.
func (e *env) probe(c platform.Context, as platform.AddressSpace, addr uint64) (word uint64, read, write int32) {
	e.tb.Helper()
	regs := start()
	regs.Rbx = addr
	regs.Rip = codeAt + 64 // load; syscall; store; syscall
	copy(e.mem[64:], program{}.load().syscall().store().syscall())
	ev := e.run(c, as, regs)
	if ev.Kind == platform.Fault {
		read = ev.Code
	}
	word = regs.Rax
	regs.Rip, regs.Rax = codeAt+69, word
	if ev = e.run(c, as, regs); ev.Kind == platform.Fault {
		write = ev.Code
	}
	return word, read, write
}

func testChanges(t *testing.T, e *env) {
	const at = 0x50000000
	m := func(i, n, filePage uint64, prot platform.Prot) platform.Change {
		return e.file(at+i*page, n*page, filePage*page, prot)
	}
	for i := range 64 {
		e.poke((200+i)*page, uint64(1000+i))
	}
	none, ro := "none", "r"
	for _, test := range []struct {
		name string
		list []platform.Change
		want []string // of pages from at on: rights
		word []uint64
	}{
		{"map", []platform.Change{m(0, 2, 200, rw)}, []string{"rw", "rw", none}, []uint64{1000, 1001}},
		{"replace", []platform.Change{m(0, 3, 200, rw), m(1, 1, 210, platform.Read)},
			[]string{"rw", ro, "rw"}, []uint64{1000, 1010, 1002}},
		{"unmap the middle", []platform.Change{m(0, 3, 200, rw), unmap(at+page, page)},
			[]string{"rw", none, "rw"}, []uint64{1000, 0, 1002}},
		{"unmap nothing", []platform.Change{unmap(at, page), unmap(at, 64*page)}, []string{none, none}, nil},
		{"unmap and map", []platform.Change{m(0, 2, 200, rw), unmap(at, 2*page), m(1, 1, 205, rw)},
			[]string{none, "rw", none}, []uint64{0, 1005}},
		{"protect a part", []platform.Change{m(0, 3, 200, rw), protect(at+page, page, platform.Read)},
			[]string{"rw", ro, "rw"}, []uint64{1000, 1001, 1002}},
		{"protect over holes", []platform.Change{m(1, 1, 200, rw), m(3, 1, 201, rw), protect(at, 8*page, platform.Read)},
			[]string{none, ro, none, ro, none}, []uint64{0, 1000, 0, 1001}},
		{"protect nothing", []platform.Change{protect(at, page, rw)}, []string{none}, nil},
		{"protect twice", []platform.Change{m(0, 2, 200, platform.Read), protect(at, 2*page, 0), protect(at, page, rw)},
			[]string{"rw", none}, []uint64{1000}},
		{"protect then map", []platform.Change{m(0, 3, 200, rw), protect(at, 3*page, 0), m(1, 1, 209, rw)},
			[]string{none, "rw", none}, []uint64{0, 1009}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := e.with(t)
			c := e.context(nil)
			for _, split := range []bool{false, true} {
				as := e.space(calls...)
				if split { // a list for each, carried out one by one
					for _, change := range test.list {
						e.apply(as, change)
						e.want(c, as, start(), platform.Syscall)
					}
				} else {
					e.apply(as, test.list...)
				}
				e.check(c, as, at, test.want, test.word)
				as.Release()
			}
		})
	}
}

// check compares what a guest finds from at on, page by page.
func (e *env) check(c platform.Context, as platform.AddressSpace, at uint64, want []string, words []uint64) {
	e.tb.Helper()
	for i, rights := range want {
		word, read, write := e.probe(c, as, at+uint64(i)*page)
		got := "none"
		switch {
		case read == 0 && write == 0:
			got = "rw"
		case read == 0:
			got = "r"
		}
		if got != rights {
			e.tb.Errorf("page %d: %s, want %s", i, got, rights)
		}
		if got != "none" && word != words[i] {
			e.tb.Errorf("page %d: word %d, want %d", i, word, words[i])
		}
	}
}

func testBadChanges(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	lo, hi := e.p.UserRange()
	for _, change := range []platform.Change{
		unmap(hi-page, 2*page), unmap(hi, page), unmap(0, page+lo), unmap(dataAt+1, page), unmap(dataAt, 100),
		unmap(dataAt, ^uint64(0)&^(page-1)), e.file(dataAt, page, 12, rw), e.file(hi, page, 0, rwx), protect(hi, page, rwx),
	} {
		if err := as.Apply([]platform.Change{change}); err != unix.EINVAL {
			t.Errorf("%+v: %v, want EINVAL", change, err)
		}
	}
	e.apply(as, unmap(dataAt, 0))
	e.want(c, as, start(), platform.Syscall)
}

// testClosedDescriptor closes a descriptor whose mapping was taken back before any Run.
func testClosedDescriptor(t *testing.T, e *env) {
	as := e.space(calls...)
	c := e.context(nil)
	const at = 0x50000000
	fd, err := unix.Dup(e.fd)
	if err != nil {
		t.Fatal(err)
	}
	change := e.file(at, 4*page, 0, rw)
	change.File, change.FileID = int32(fd), 0
	e.apply(as, change)
	e.apply(as, unmap(at, 2*page), e.file(at+2*page, 2*page, 0, rw))
	unix.Close(fd)
	e.want(c, as, start(), platform.Syscall)
	e.check(c, as, at, []string{"none", "none", "rw", "rw"}, []uint64{0, 0, e.peek(0), e.peek(page)})
}

// testConcurrentChanges changes the address space while another context runs
// in it: what Apply took away must be gone when it returns.
func testConcurrentChanges(t *testing.T, e *env) {
	const at = dataAt
	as := e.space(program{}.set(rbx, at).load().back(10)...)
	e.poke(dataPage*page, 1)
	var stopped atomic.Bool
	c := e.context(nil)
	events := make(chan platform.Event)
	resume := make(chan struct{})
	go func() {
		defer close(events)
		regs := start()
		for range resume {
			ev, err := c.Run(as, regs)
			if err != nil {
				t.Errorf("Run: %v", err)
				break
			}
			stopped.Store(true)
			events <- ev
		}
		c.Leave()
	}()
	for round := range 50 {
		stopped.Store(false)
		resume <- struct{}{}
		if round%2 == 0 {
			time.Sleep(time.Millisecond)
		}
		e.apply(as, protect(at, page, rw), protect(at+page, page, platform.Read))
		if stopped.Load() {
			t.Fatal("a change without effect stopped the guest")
		}
		e.apply(as, unmap(at, page))
		if ev := <-events; ev.Kind != platform.Fault || ev.Addr != at {
			t.Fatalf("%+v", ev)
		}
		e.apply(as, e.file(at, page, dataPage*page, rw))
	}
	close(resume)
	for range events {
	}
}

// testReplaceUnderRunner replaces a page under a context that copies a word from it: after
// Apply the old page must not be read nor written again.
func testReplaceUnderRunner(t *testing.T, e *env) {
	const from, to, pages = 300, 301, 302
	const in, out = 0x50000000, 0x60000000
	as := e.space(program{}.set(rbx, in).set(rcx, out).
		load().raw(0x48, 0x89, 0x01).back(20)...) // mov %rax,(%rcx)
	c := e.context(nil)
	e.apply(as, e.file(in, page, from*page, platform.Read), e.file(out, page, pages*page, rw))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ev, err := c.Run(as, start()); err != nil || ev.Kind != platform.Interrupted {
			t.Errorf("%+v %v", ev, err)
		}
		c.Leave()
	}()
	for i := range uint64(200) {
		src, dst := from+int(i%2), pages+int(i%2)
		e.poke(src*page, i+1)
		e.apply(as, e.file(in, page, uint64(src)*page, platform.Read), e.file(out, page, uint64(dst)*page, rw))
		old := pages + int(i+1)%2
		e.poke(old*page, 0)
		waitFor(t, "the new word", func() bool { return e.atomic(dst*page) == i+1 })
		if got := e.atomic(old * page); got != 0 {
			t.Fatalf("round %d: the page taken away was written: %d", i, got)
		}
	}
	c.Interrupt()
	<-done
}

// testForgetUnderRunners unmaps all that a guest may use, much memory among it, under contexts that write:
// after Apply nothing is written any more, and they go on where it is mapped again.
func testForgetUnderRunners(t *testing.T, e *env) {
	lo, hi := e.p.UserRange()
	as := e.empty()
	copy(e.mem, program{}.set(rbx, dataAt).set(rax, 7).store().back(20))
	const contexts, rounds = 3, 20
	resume, events, end := e.runners(as, contexts, false)
	for range rounds {
		fill := e.file(0x50000000, filePages*page, 0, rw)
		fill.Fill = true
		e.apply(as, e.file(codeAt, codePages*page, 0, rx), e.file(dataAt, page, dataPage*page, rw), fill)
		for range contexts {
			resume <- struct{}{}
		}
		waitFor(t, "a store", func() bool { return e.atomic(dataPage*page) == 7 })
		e.apply(as, unmap(lo, hi-lo))
		e.poke(dataPage*page, 0)
		for range contexts {
			if ev := <-events; ev.Kind != platform.Fault {
				t.Fatalf("%+v", ev)
			}
		}
		if e.atomic(dataPage*page) != 0 {
			t.Fatal("what was unmapped was written to")
		}
	}
	end()
}

// runners are contexts that run once for each word from resume, and tell what came of it. leave says that they let go of their threads
// each time.
func (e *env) runners(as platform.AddressSpace, contexts int, leave bool) (resume chan struct{}, events chan platform.Event, end func()) {
	resume, events = make(chan struct{}), make(chan platform.Event)
	var left sync.WaitGroup
	for range contexts {
		c := e.context(nil)
		left.Go(func() {
			defer c.Leave()
			regs := start()
			for range resume {
				ev, err := c.Run(as, regs)
				if err != nil {
					e.tb.Errorf("Run: %v", err)
				}
				if leave {
					c.Leave()
				}
				events <- ev
			}
		})
	}
	return resume, events, func() {
		close(resume)
		left.Wait()
	}
}

// testManyMappings maps more pages apart than a host process can have mappings; the
// platform may forget any of them.
func testManyMappings(t *testing.T, e *env) {
	const at = 0x100000000
	as := e.space(calls...)
	c := e.context(nil)
	const n = 70000
	for i := uint64(0); i < n; i += 100 {
		var list []platform.Change
		for j := i; j < i+100; j++ {
			list = append(list, e.file(at+2*j*page, page, (j%filePages)*page, platform.Read))
		}
		if err := as.Apply(list); err != nil {
			t.Fatalf("mapping %d: %v", i, err)
		}
		regs := start()
		if ev := e.run(c, as, regs); ev.Kind == platform.Fault {
			if ev.Addr != codeAt {
				t.Fatalf("%+v", ev)
			}
			e.apply(as, e.file(codeAt, codePages*page, 0, rx))
			e.want(c, as, regs, platform.Syscall)
		}
	}
	if word, read, _ := e.probe(c, as, at+2*(n-1)*page); read != 0 || word != e.peek((n-1)%filePages*page) {
		t.Errorf("the last mapping: %d, si_code %d", word, read)
	}
}
