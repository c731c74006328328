package pool

import (
	"slices"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// aside returns a space that has set much aside, the process of that, and its context.
func (e *env) aside() (*Space[*chair], *Process[*chair], *sitter) {
	e.t.Helper()
	as, r := e.space(2*muchMapped), e.sitter()
	e.wait("the store is not full", func() bool { return !e.working })
	r.visit(e.t, as)
	old := r.proc
	if !as.SetAside(0) {
		e.t.Fatal("not set aside")
	}
	r.visit(e.t, as)
	if r.proc == old || maps(e.t, as) {
		e.t.Error("it goes on in the same process, or has something mapped")
	}
	return as, old, r
}

// TestKeep goes back to a process, changed; the one that was used meanwhile goes to the store.
func TestKeep(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	meanwhile := r.proc
	if !as.GoBack([]platform.Change{{Op: platform.Unmap, Addr: mapAt, Length: pageSize}}) || as.Process() != old {
		t.Fatal("it does not go back")
	}
	r.visit(t, as)
	if r.proc != old || as.Queue().Mapped() != 2*muchMapped-pageSize || len(e.kept) != 0 || as.Drops() != 0 {
		t.Errorf("%d bytes are mapped, %d drops, %d kept", as.Queue().Mapped(), as.Drops(), len(e.kept))
	}
	e.wait("not stored", func() bool { return slices.Contains(e.spares, meanwhile) })
}

// TestKeepWhileRunning goes back while a context runs, and another one comes before that has stopped.
func TestKeepWhileRunning(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	if err := as.Begin(r); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { done <- as.GoBack(nil) }()
	<-r.seat.kicked
	late := e.sitter()
	late.visit(t, as)
	other := late.proc
	as.Finish(r.proc, r.seat, nil)
	if !<-done || as.Process() != old {
		t.Error("it does not go back")
	}
	late.visit(t, as)
	if late.proc != old {
		t.Error("it goes on in a process that the space does not have")
	}
	e.wait("the other one is not in store", func() bool { return slices.Contains(e.spares, other) })
}

// TestKeepForAWhile sets a process aside that nobody comes back to.
func TestKeepForAWhile(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	e.wait("not stored", func() bool { return slices.Contains(e.spares, old) })
	if as.GoBack(nil) {
		t.Error("it goes back to what it gave up")
	}
	r.visit(t, as)
}

// TestKeepOne sets a process aside and then another one, then the space is released: neither is kept.
func TestKeepOne(t *testing.T) {
	e := newEnv(t, 8)
	as, _, r := e.aside()
	if !as.SetAside(0) || len(e.kept) != 1 {
		t.Errorf("%d are kept", len(e.kept))
	}
	r.Drop()
	as.Release()
	if len(e.kept) != 0 {
		t.Error("it is kept after the end")
	}
}

// TestKeepHeld does not go back as long as a context has a seat there.
func TestKeepHeld(t *testing.T) {
	e := newEnv(t, 8)
	as, r := e.space(2*muchMapped), e.sitter()
	r.visit(t, as)
	if !as.SetAside(0) || as.GoBack(nil) {
		t.Error("it goes back while a seat is held")
	}
	r.Drop()
	if !as.GoBack(nil) {
		t.Error("it does not go back")
	}
}

// TestGoBackUnderRunner goes back while another context runs guest code: that one goes on where the space is then, and no process is lost.
func TestGoBackUnderRunner(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	r.Drop()
	if err := as.Begin(r); err != nil {
		t.Fatal(err)
	}
	now, seat := r.proc, r.seat
	done := make(chan bool)
	go func() { done <- as.GoBack([]platform.Change{{Op: platform.Unmap, Addr: mapAt, Length: pageSize}}) }()
	<-seat.kicked
	as.Finish(now, seat, nil)
	r.visit(t, as)
	if !<-done {
		t.Fatal("it does not go back")
	}
	if r.proc != old || as.Process() != old {
		t.Error("the context is not in the process that the space has")
	}
	n := 0
	e.mu.Lock()
	for _, of := range e.procs {
		if of == as {
			n++
		}
	}
	e.mu.Unlock()
	if n != 1 {
		t.Errorf("the space counts as that of %d processes", n)
	}
}

// TestKeptDies has the process that was set aside die: everything is forgotten, the guest goes on.
func TestKeptDies(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	unix.Kill(old.PID(), unix.SIGKILL)
	change := platform.Change{Op: platform.Map, File: int32(e.file), Addr: mapAt, Length: pageSize, Prot: platform.Read}
	if as.GoBack([]platform.Change{change}) || as.Drops() != 1 {
		t.Errorf("%d drops", as.Drops())
	}
	r.visit(t, as)
}

// TestKeepFew has more spaces set something aside than may.
func TestKeepFew(t *testing.T) {
	e := newEnv(t, 2*maxKept+4)
	for i := range maxKept + 1 {
		as, r := e.space(2*muchMapped), e.sitter()
		r.visit(t, as)
		if ok := as.SetAside(0); ok != (i < maxKept) {
			t.Errorf("the %dth: %v", i, ok)
		}
		r.Drop()
	}
}
