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

// TestKeepWhileRunning goes back while a context runs, and that and another one come before it is done: both go on where the space is then, and
// no process is lost.
func TestKeepWhileRunning(t *testing.T) {
	e := newEnv(t, 8)
	as, old, r := e.aside()
	if err := as.Begin(r); err != nil {
		t.Fatal(err)
	}
	late := e.sitter()
	now, seat := r.proc, r.seat
	done, visited := make(chan bool), make(chan error)
	go func() { done <- as.GoBack([]platform.Change{{Op: platform.Unmap, Addr: mapAt, Length: pageSize}}) }()
	<-seat.kicked
	go func() {
		err := as.Begin(late)
		if err == nil {
			as.Finish(late.proc, late.seat, nil)
		}
		visited <- err
	}()
	as.Finish(now, seat, nil)
	r.visit(t, as)
	if !<-done || as.Process() != old {
		t.Fatal("it does not go back")
	}
	if err := <-visited; err != nil || r.proc != old || late.proc != old {
		t.Errorf("a context is not in the process that the space has (%v)", err)
	}
	e.wait("the space counts as that of several processes", func() bool {
		n := 0
		for _, of := range e.procs {
			if of == as {
				n++
			}
		}
		return n == 1 && slices.Contains(e.spares, now)
	})
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
