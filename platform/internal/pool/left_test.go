package pool

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/blank"

	"golang.org/x/sys/unix"
)

// mapped tells whether addr is mapped in the host process.
func mapped(t *testing.T, p *Process[*chair], addr uint64) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains("\n"+string(maps), fmt.Sprintf("\n%08x-", addr))
}

// released is a process that a space with a page at mapAt has just left.
func (e *env) released() *Process[*chair] {
	e.t.Helper()
	e.wait("the store is not full", func() bool { return !e.working })
	as, r := e.space(pageSize), e.sitter()
	r.visit(e.t, as)
	proc := r.proc
	r.Drop()
	as.Release()
	return proc
}

// TestLeft has a space take the process that another one has just left: what that had mapped is gone when the first context may run.
func TestLeft(t *testing.T) {
	e := newEnv(t, 8)
	e.LeaveFor = time.Minute
	proc := e.released()
	if !mapped(t, proc, mapAt) {
		t.Error("it was emptied at once")
	}
	as, r := e.NewSpace(), e.sitter()
	const other = 2 * mapAt
	if err := as.Apply([]platform.Change{{Op: platform.Map, File: int32(e.file), Addr: other, Length: pageSize, Prot: platform.Read}}); err != nil {
		t.Fatal(err)
	}
	r.visit(t, as)
	if r.proc != proc {
		t.Fatal("another process was taken")
	}
	if mapped(t, proc, mapAt) || !mapped(t, proc, other) {
		t.Error("it is not mapped as the new space wants it")
	}
	r.Drop()
	as.Release()
}

// TestLeftAlike has a space take the process that another one has just left, with pages mapped as it wants them: these stay mapped. That of a
// file that may be another by now does not, and neither does any if more may be mapped there.
func TestLeftAlike(t *testing.T) {
	const known, other, rest = mapAt, 2 * mapAt, 3 * mapAt
	for _, more := range []bool{false, true} {
		e := newEnv(t, 8)
		e.LeaveFor = time.Minute
		e.wait("the store is not full", func() bool { return !e.working })
		list := []platform.Change{
			{Op: platform.Map, File: int32(e.file), FileID: 7, Addr: known, Length: pageSize, Prot: platform.Read},
			{Op: platform.Map, File: int32(e.file), FileID: 0, Addr: other, Length: pageSize, Prot: platform.Read},
		}
		old, r := e.NewSpace(), e.sitter()
		if err := old.Apply(append(list, platform.Change{Op: platform.Map, File: int32(e.file), FileID: 7, Addr: rest, Length: pageSize})); err != nil {
			t.Fatal(err)
		}
		r.visit(t, old)
		proc := r.proc
		freed := make(chan struct{})
		if more {
			proc.Afterwards(func() { close(freed) })
		}
		r.Drop()
		old.Release()

		// What is mapped from now on has another name.
		fd, err := unix.MemfdCreate("next", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		unix.Ftruncate(fd, 1<<20)
		unix.Dup3(fd, e.file, unix.O_CLOEXEC)
		unix.Close(fd)
		as := e.NewSpace()
		if err := as.Apply(list); err != nil {
			t.Fatal(err)
		}
		r.visit(t, as)
		if r.proc != proc {
			t.Fatal("another process was taken")
		}
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", proc.PID()))
		for addr, want := range map[uint64]bool{known: !more, other: false} {
			line := fmt.Sprintf("(?m)^%08x-.*memfd:%s", addr, map[bool]string{true: "pool", false: "next"}[want])
			if !regexp.MustCompile(line).Match(maps) {
				t.Errorf("more: %v: no %q in\n%s", more, line, maps)
			}
		}
		if mapped(t, proc, rest) {
			t.Error("what only the space before had mapped still is")
		}
		if more {
			<-freed
		}
		r.Drop()
		as.Release()
	}
}

// at maps a page of e's file at addr.
func (e *env) at(addr uint64) platform.Change {
	return platform.Change{Op: platform.Map, File: int32(e.file), FileID: 7, Addr: addr, Length: pageSize, Prot: platform.Read}
}

// with returns a space to which list was applied.
func (e *env) with(list ...platform.Change) *Space[*chair] {
	e.t.Helper()
	as := e.NewSpace()
	if err := as.Apply(list); err != nil {
		e.t.Fatal(err)
	}
	return as
}

// heir has a space with a page of its own take proc, and looks for what must not be mapped there.
func (e *env) heir(proc *Process[*chair], not uint64) {
	e.t.Helper()
	const own = 0x10000000
	as, r := e.with(e.at(own)), e.sitter()
	r.visit(e.t, as)
	if r.proc != proc {
		e.t.Fatal("another process was taken")
	}
	if mapped(e.t, proc, not) || !mapped(e.t, proc, own) {
		e.t.Error("it is not mapped as the new space wants it")
	}
	r.Drop()
	as.Release()
}

// TestEvictedIsEmpty takes a process from a space that lives on, and has it from the store or from another one.
func TestEvictedIsEmpty(t *testing.T) {
	for _, first := range []bool{true, false} {
		e := newEnv(t, 1)
		e.LeaveFor = time.Minute
		e.wait("the store is not full", func() bool { return !e.working })
		if !first {
			e.released()
		}
		old, r := e.with(e.at(mapAt)), e.sitter()
		r.visit(t, old)
		proc := r.proc
		r.Drop()
		e.heir(proc, mapAt)
		old.Release()
	}
}

// TestSweptIsEmpty gives up a process with much mapped where a page is still to be unmapped.
func TestSweptIsEmpty(t *testing.T) {
	for name, giveUp := range map[string]func(*env, *Space[*chair]){
		"released": func(e *env, as *Space[*chair]) {
			if err := as.Apply([]platform.Change{{Op: platform.Unmap, Addr: mapAt, Length: pageSize}}); err != nil {
				e.t.Fatal(err)
			}
			as.Release()
		},
		"abandoned": func(e *env, as *Space[*chair]) {
			if err := as.Apply([]platform.Change{
				{Op: platform.Unmap, Addr: mapAt, Length: pageSize}, {Op: platform.Unmap, Addr: blank.Low, Length: blank.High - blank.Low},
			}); err != nil {
				e.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, 8)
			e.LeaveFor = time.Minute
			e.wait("the store is not full", func() bool { return !e.working })
			as, r := e.space(muchMapped+pageSize), e.sitter()
			r.visit(t, as)
			proc := r.proc
			r.Drop()
			giveUp(e, as)
			e.wait("not left", func() bool { return slices.Contains(e.left, proc) })
			e.heir(proc, mapAt)
		})
	}
}

// TestLeftDead has the process die that another space has left, mapped as the next one wants it: the space gets another one.
func TestLeftDead(t *testing.T) {
	e := newEnv(t, 8)
	e.LeaveFor = time.Minute
	e.wait("the store is not full", func() bool { return !e.working })
	as, r := e.with(e.at(mapAt)), e.sitter()
	r.visit(t, as)
	proc := r.proc
	r.Drop()
	as.Release()
	unix.Kill(proc.PID(), unix.SIGKILL)
	e.wait("it lives", proc.Dead)
	as = e.with(e.at(mapAt))
	r.visit(t, as)
	if r.proc == proc {
		t.Error("the dead process was taken")
	}
	r.Drop()
	as.Release()
}

// TestLeftBeyond has the host refuse a change in a process in which something is mapped beyond High, where not all is unmapped then. It is not used again.
func TestLeftBeyond(t *testing.T) {
	const high, beyond = 0x10000000, 0x20000000
	e := newEnv(t, 8)
	e.LeaveFor = time.Minute
	e.High = high
	e.wait("the store is not full", func() bool { return !e.working })
	as, r := e.with(e.at(mapAt)), e.sitter()
	as.queue.Add(e.at(beyond)) // as a Watcher may
	r.visit(t, as)
	proc := r.proc
	r.Drop()
	as.Release()
	bad := e.at(2 * mapAt)
	bad.File = 9999
	as = e.with(e.at(mapAt), bad)
	r.visit(t, as)
	if r.proc == proc {
		t.Error("the process was taken")
	}
	if as.Drops() == 0 {
		t.Error("what could not be mapped counts as mapped")
	}
	r.Drop()
	as.Release()
}

// TestUnmapRefused has the host refuse a change, and then to unmap what is there, as one without memory may: the space dies rather than go on with what
// nobody knows of.
func TestUnmapRefused(t *testing.T) {
	e := newEnvAt(t, 8, 1<<48) // of which munmap(2) has EINVAL
	as, r := e.with(e.at(mapAt)), e.sitter()
	r.visit(t, as)
	bad := e.at(2 * mapAt)
	bad.File = 9999
	if err := as.Apply([]platform.Change{bad}); err != nil {
		t.Fatal(err)
	}
	var died *platform.Died
	if err := as.Begin(r); !errors.As(err, &died) {
		t.Errorf("%v, want its death", err)
	}
}

// TestLeftAlone has a process emptied and stored that nobody takes.
func TestLeftAlone(t *testing.T) {
	e := newEnv(t, 8)
	proc := e.released()
	e.wait("it is not stored", func() bool { return len(e.left) == 0 && len(e.retired) == 0 && !e.working })
	if mapped(t, proc, mapAt) {
		t.Error("it is stored full")
	}
}

// TestLeftUseless has the process that another space has left turn out to be of no use: the space gets another one, and learns that nothing is mapped.
func TestLeftUseless(t *testing.T) {
	e := newEnv(t, 8)
	e.LeaveFor = time.Minute
	proc := e.released()
	e.clean = func(p *Process[*chair]) error { return errors.New("of no use") }
	as, r := e.space(pageSize), e.sitter()
	r.visit(t, as)
	if r.proc == proc {
		t.Error("it was taken")
	}
	if !mapped(t, r.proc, mapAt) && as.Drops() == 0 {
		t.Error("what it wants is lost")
	}
	r.Drop()
	as.Release()
}

// TestLeftFull has the host refuse to empty the process that another space has left: the space gets another one.
func TestLeftFull(t *testing.T) {
	e := newEnv(t, 8)
	e.LeaveFor = time.Minute
	proc := e.released()
	e.Clean = func(*Process[*chair]) (Cleaning, error) {
		bad := []blank.Call{blank.UnmapCall(1, pageSize)}
		return Cleaning{All: bad, Rest: bad, Done: func() error { return nil }}, nil
	}
	as, r := e.space(pageSize), e.sitter()
	r.visit(t, as)
	if r.proc == proc {
		t.Error("it has what another space had mapped")
	}
	r.Drop()
	as.Release()
}
