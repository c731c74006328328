package pool

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// chair is a seat in which nothing runs.
type chair struct {
	pairs.Guest
	kicked chan struct{} // has room for one
}

func (c *chair) Kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}

// sitter is a context that only sits.
type sitter struct {
	thread *pairs.Thread
	proc   *Process[*chair]
	seat   *chair
}

func (r *sitter) Thread() *pairs.Thread                  { return r.thread }
func (r *sitter) Seat() (*Process[*chair], *chair)       { return r.proc, r.seat }
func (r *sitter) Rank(*chair) int                        { return Usable }
func (r *sitter) Sit(p *Process[*chair], s *chair) error { r.proc, r.seat = p, s; return nil }
func (r *sitter) Drop()                                  { r.proc.Leave(r.seat); r.proc = nil }

// visit goes in and out, and keeps the seat.
func (r *sitter) visit(t *testing.T, as *Space[*chair]) {
	t.Helper()
	if err := as.Begin(r); err != nil {
		t.Fatal(err)
	}
	as.Finish(r.proc, r.seat, nil)
}

type env struct {
	*Pool[*chair]
	t     *testing.T
	file  int
	clean func(*Process[*chair]) error
}

func newEnv(t *testing.T, limit int) *env { return newEnvAt(t, limit, blank.High) }

// newEnvAt is newEnv where Reset unmaps up to high.
func newEnvAt(t *testing.T, limit int, high uint64) *env {
	t.Helper()
	runtime.LockOSThread()
	set, err := pairs.New(8)
	if err != nil {
		t.Fatal(err)
	}
	factory, err := blank.NewFactory(blank.Config{Limit: 2 * limit, High: high})
	if err != nil {
		t.Fatal(err)
	}
	e := &env{t: t, clean: func(*Process[*chair]) error { return nil }}
	e.Pool, err = New(Config[*chair]{
		Factory: factory, Pairs: set, Limit: limit, High: blank.High,
		Spawn: func(p *Process[*chair]) (*chair, error) {
			tid, err := p.SpawnThread()
			return &chair{pairs.NewGuest(tid, p.LeaderCPU()), make(chan struct{}, 1)}, err
		},
		Clean: func(p *Process[*chair]) (Cleaning, error) {
			return Cleaning{All: []blank.Call{blank.UnmapCall(0, blank.High)}, Done: func() error { return nil }}, e.clean(p)
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Release)
	if e.file, err = unix.MemfdCreate("pool", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(e.file) })
	unix.Ftruncate(e.file, 2*muchMapped)
	return e
}

func (e *env) sitter() *sitter { return &sitter{thread: e.Pairs.Thread()} }

const mapAt = 0x400000

// space returns an address space with so many bytes mapped.
func (e *env) space(size uint64) *Space[*chair] {
	e.t.Helper()
	as := e.NewSpace()
	c := platform.Change{Op: platform.Map, File: int32(e.file), Addr: mapAt, Length: size, Prot: platform.Read}
	if err := as.Apply([]platform.Change{c}); err != nil {
		e.t.Fatal(err)
	}
	return as
}

// wait waits until f says so, with mu held.
func (e *env) wait(what string, f func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		ok := f()
		e.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatal(what)
		}
	}
}

// TestEviction has more spaces than processes: the one that was left first loses its process, which is emptied, and knows.
func TestEviction(t *testing.T) {
	e := newEnv(t, 2)
	cleaned := 0
	e.clean = func(p *Process[*chair]) error { cleaned++; return nil }
	var all []*Space[*chair]
	for range 3 {
		as, r := e.space(pageSize), e.sitter()
		e.wait("the store is not full", func() bool { return !e.working })
		r.visit(t, as)
		r.Drop()
		all = append(all, as)
	}
	if all[0].Process() != nil || all[1].Process() == nil || all[2].Process() == nil || cleaned != 1 {
		t.Errorf("the processes are %v, %v, %v after %d were emptied", all[0].Process(), all[1].Process(), all[2].Process(), cleaned)
	}
	if all[0].Drops() != 1 || all[1].Drops() != 0 {
		t.Errorf("drops are %d and %d", all[0].Drops(), all[1].Drops())
	}
}

// TestHeld keeps what is held: who comes too late is refused until a seat is given back.
func TestHeld(t *testing.T) {
	e := newEnv(t, 1)
	first, second := e.space(pageSize), e.space(pageSize)
	r, late := e.sitter(), e.sitter()
	r.visit(t, first)
	if err := second.Begin(late); !blank.Refused(err) {
		t.Fatalf("%v, want a refusal", err)
	}
	r.Drop()
	late.visit(t, second)
}

// TestReuse releases a space while a seat is held: its process is emptied and used again, but not before.
func TestReuse(t *testing.T) {
	e := newEnv(t, 1)
	as, r := e.space(pageSize), e.sitter()
	r.visit(t, as)
	proc := r.proc
	after := make(chan struct{})
	as.watch = watch{func() { close(after) }}
	as.Release()
	select {
	case <-after:
		t.Error("said to be empty while a seat is held")
	case <-time.After(20 * time.Millisecond):
	}
	r.Drop()
	<-after
	e.wait("not stored", func() bool { return len(e.spares) == 1 })
	next := e.sitter()
	next.visit(t, e.space(pageSize))
	if next.proc != proc {
		t.Error("another process is used")
	}
}

type watch struct{ after func() }

func (w watch) Before(platform.Change) {}
func (w watch) After(platform.Change)  {}
func (w watch) Lose()                  {}
func (w watch) Recover()               {}
func (w watch) End() func()            { return w.after }

// TestUnclean has a process that cannot be emptied: it is killed, and another one is made.
func TestUnclean(t *testing.T) {
	e := newEnv(t, 1)
	as, r := e.space(pageSize), e.sitter()
	r.visit(t, as)
	proc := r.proc
	e.clean = func(*Process[*chair]) error { return unix.E2BIG }
	r.Drop()
	as.Release()
	e.wait("not gone", func() bool { return e.procs[proc] == nil && len(e.spares) == 1 && e.spares[0] != proc })
}

// TestAbandon unmaps all of a space with much in it: who is inside is kicked, and goes on in another process.
func TestAbandon(t *testing.T) {
	e := newEnv(t, 8)
	as, r := e.space(muchMapped), e.sitter()
	if err := as.Begin(r); err != nil {
		t.Fatal(err)
	}
	old, seat := r.proc, r.seat
	done := make(chan error)
	go func() {
		done <- as.Apply([]platform.Change{{Op: platform.Unmap, Addr: blank.Low, Length: blank.High - blank.Low}})
	}()
	<-seat.kicked
	select {
	case <-done:
		t.Error("unmapped while guest code runs")
	case <-seat.kicked: // again: the first one may have come too early
	}
	as.Finish(old, seat, nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.visit(t, as)
	if r.proc == old {
		t.Error("goes on in the same process")
	}
	if as.Drops() != 0 {
		t.Error("counts as a drop")
	}
}

// maps tells whether the process of as has something mapped at mapAt.
func maps(t *testing.T, as *Space[*chair]) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", as.Process().PID()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), fmt.Sprintf("%08x-", mapAt))
}

// TestAhead unmaps all of a space with much in it and maps something again: that is under way in another process before a context comes.
// What the host refuses then is as if it had been forgotten.
func TestAhead(t *testing.T) {
	e := newEnv(t, 8)
	for _, test := range []struct {
		name  string
		file  int32
		drops uint64
	}{{"done", int32(e.file), 0}, {"refused", 9999, 1}} {
		as, r := e.space(muchMapped), e.sitter()
		r.visit(t, as)
		e.wait("no spares", func() bool { return len(e.spares) > 0 })
		old := as.Process()
		if err := as.Apply([]platform.Change{
			{Op: platform.Unmap, Addr: blank.Low, Length: blank.High - blank.Low},
			{Op: platform.Map, File: test.file, Addr: mapAt, Length: pageSize, Prot: platform.Read},
		}); err != nil {
			t.Fatal(err)
		}
		if as.Process() == nil || as.Process() == old || as.Queue().Len() != 0 {
			t.Errorf("%s: nothing is done ahead", test.name)
		}
		r.visit(t, as)
		if mapped := maps(t, as); as.Drops() != test.drops || mapped != (test.drops == 0) {
			t.Errorf("%s: %d drops, mapped: %v", test.name, as.Drops(), mapped)
		}
	}
}

// TestAheadUnmapped takes back what is being mapped ahead.
func TestAheadUnmapped(t *testing.T) {
	e := newEnv(t, 8)
	as, r := e.space(muchMapped), e.sitter()
	r.visit(t, as)
	e.wait("no spares", func() bool { return len(e.spares) > 0 })
	for _, list := range [][]platform.Change{{
		{Op: platform.Unmap, Addr: blank.Low, Length: blank.High - blank.Low},
		{Op: platform.Map, File: int32(e.file), Addr: mapAt, Length: pageSize, Prot: platform.Read},
	}, {
		{Op: platform.Unmap, Addr: mapAt, Length: pageSize},
	}} {
		if err := as.Apply(list); err != nil {
			t.Fatal(err)
		}
	}
	if as.ahead != nil {
		t.Error("a descriptor may still be used that may be closed now")
	}
	r.visit(t, as)
	if maps(t, as) {
		t.Error("it is still mapped")
	}
}

// TestRefused maps what the host refuses to map, as an executable file where nothing may be executed: the guest goes on, with
// nothing mapped, and whoever asks again is told.
func TestRefused(t *testing.T) {
	e := newEnv(t, 8)
	as, r := e.space(pageSize), e.sitter()
	bad := []platform.Change{{Op: platform.Map, File: 9999, Addr: mapAt + pageSize, Length: pageSize, Prot: platform.Read}}
	if err := as.Apply(bad); err != nil {
		t.Fatal(err)
	}
	r.visit(t, as)
	if as.Drops() != 1 || maps(t, as) {
		t.Errorf("%d drops, mapped: %v", as.Drops(), maps(t, as))
	}
	for range 2 {
		if err := as.Apply(bad); err != unix.EBADF {
			t.Errorf("asked again: %v, want %v", err, unix.EBADF)
		}
	}
	good := []platform.Change{{Op: platform.Map, File: int32(e.file), Addr: mapAt, Length: pageSize, Prot: platform.Read}}
	if err := as.Apply(good); err != nil || !maps(t, as) {
		t.Errorf("what can be mapped: %v", err)
	}
	r.visit(t, as)
}

// TestSweep gives up a process with much in it: it comes back to the store empty.
func TestSweep(t *testing.T) {
	e := newEnv(t, 8)
	as, r := e.space(2*muchMapped), e.sitter()
	r.visit(t, as)
	proc := as.Process()
	r.Drop()
	as.Release()
	e.wait("not stored", func() bool { return slices.Contains(e.spares, proc) })
	if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", proc.PID())); strings.Contains(string(b), "memfd:pool") {
		t.Errorf("it is not empty:\n%s", b)
	}
}

// TestSparesDie kills what is in store: whoever gets one of those dies, nobody else.
func TestSparesDie(t *testing.T) {
	e := newEnv(t, 8)
	killed := make(map[*Process[*chair]]bool)
	e.wait("no spares", func() bool {
		if e.working || len(e.spares) < minSpares {
			return false
		}
		for _, proc := range e.spares {
			killed[proc] = true
			unix.Kill(proc.PID(), unix.SIGKILL)
		}
		return true
	})
	deaths := 0
	for range 2*minSpares + 1 {
		as, r := e.space(pageSize), e.sitter()
		err := as.Begin(r)
		var died *platform.Died
		switch {
		case errors.As(err, &died):
			if deaths++; !killed[as.lost] {
				t.Error("one died whose process lives")
			}
		case err != nil:
			t.Fatal(err)
		case killed[r.proc]:
			t.Error("one lives in a process that was killed")
		}
	}
	if deaths == 0 {
		t.Error("nobody died")
	}
}
