package ptrace

import (
	"errors"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// guest is a program that calls, or loops, in an address space of its own.
type guest struct {
	*context
	as   *addressSpace
	regs *arch.Registers
}

const (
	pageSize = 4096
	codeAt   = 0x400000
)

// newGuest makes a guest with code. Its platform is released at the end of the test.
func newGuest(t testing.TB, p *Platform, code ...byte) *guest {
	t.Helper()
	fd, err := unix.MemfdCreate("code", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	unix.Ftruncate(fd, 2*pageSize)
	unix.Pwrite(fd, code, 0)
	as, _ := p.NewAddressSpace(nil)
	err = as.Apply([]platform.Change{
		{Op: platform.Map, File: int32(fd), Addr: codeAt, Length: pageSize, Prot: platform.Read | platform.Exec},
		{Op: platform.Map, File: int32(fd), Addr: codeAt + pageSize, Length: pageSize, Offset: pageSize, Prot: platform.Read | platform.Write},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{p.NewContext(nil).(*context), as.(*addressSpace), &arch.Registers{Rip: codeAt, Rsp: codeAt + 2*pageSize}}
	t.Cleanup(g.Release)
	return g
}

func testPlatform(t testing.TB, processes, running int) *Platform {
	t.Helper()
	p, err := newPlatform(processes, running)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p
}

var (
	callCode = []byte{0x0f, 0x05, 0xeb, 0xfc} // syscall; jmp back
	loopCode = []byte{0xeb, 0xfe}             // jmp .
)

func (g *guest) call(t *testing.T) {
	t.Helper()
	if ev, err := g.Run(g.as, g.regs); err != nil || ev.Kind != platform.Syscall {
		t.Fatalf("%+v %v", ev, err)
	}
}

func (g *guest) callAndLeave(t *testing.T) {
	t.Helper()
	g.call(t)
	g.Leave()
}

// pid is the blank process of g, 0 if there is none.
func (g *guest) pid() int {
	g.as.Lock()
	defer g.as.Unlock()
	if proc := g.as.Process(); proc != nil {
		return proc.PID()
	}
	return 0
}

// wantDied runs g, whose process was killed.
func (g *guest) wantDied(t *testing.T) {
	t.Helper()
	var died *platform.Died
	if ev, err := g.Run(g.as, g.regs); !errors.As(err, &died) {
		t.Fatalf("%+v %v, want Died", ev, err)
	}
}

// TestKilled kills blank processes in every state; only their own guests notice.
func TestKilled(t *testing.T) {
	p := testPlatform(t, 8, 8)
	other := newGuest(t, p, callCode...)
	for _, test := range []struct {
		name string
		f    func(t *testing.T, g *guest)
	}{
		{"held", func(t *testing.T, g *guest) {}},
		{"left", func(t *testing.T, g *guest) { g.Leave() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, p, callCode...)
			g.call(t)
			test.f(t, g)
			pid := g.pid()
			unix.Kill(pid, unix.SIGKILL)
			time.Sleep(time.Millisecond)
			g.wantDied(t)
			g.wantDied(t)
			g.Leave()
			for deadline := time.Now().Add(time.Minute); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the dead process is not reaped")
				}
			}
			other.callAndLeave(t)
		})
	}
	t.Run("in guest code", func(t *testing.T) {
		g := newGuest(t, p, loopCode...)
		go func() {
			pid := 0 // to kill would be this process's own group
			for g.running.Load() == nil || pid == 0 {
				time.Sleep(time.Millisecond)
				pid = g.pid()
			}
			unix.Kill(pid, unix.SIGKILL)
		}()
		g.wantDied(t)
		other.callAndLeave(t)
	})
	t.Run("with changes pending", func(t *testing.T) {
		g := newGuest(t, p, callCode...)
		g.call(t)
		unix.Kill(g.pid(), unix.SIGKILL)
		time.Sleep(time.Millisecond)
		g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: codeAt, Length: pageSize}})
		g.wantDied(t)
		if err := g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: codeAt, Length: pageSize}}); err != nil {
			t.Error(err)
		}
		g.as.Release()
		other.callAndLeave(t)
	})
}

// TestStopped stops a blank process from outside for a while.
func TestStopped(t *testing.T) {
	p := testPlatform(t, 8, 8)
	g := newGuest(t, p, callCode...)
	g.call(t)
	pid := g.pid()
	unix.Kill(pid, unix.SIGSTOP)
	unix.Kill(pid, unix.SIGTERM)
	unix.Tgkill(pid, g.t.TID, unix.SIGSEGV)
	time.AfterFunc(30*time.Millisecond, func() { unix.Kill(pid, unix.SIGCONT) })
	for range 10 {
		g.call(t)
	}
	g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: codeAt + pageSize, Length: pageSize}})
	g.call(t)
}

// TestNoVsyscallPage emulates the page as on a host that has none.
func TestNoVsyscallPage(t *testing.T) {
	p := testPlatform(t, 8, 8)
	g := newGuest(t, p, callCode...)
	g.call(t)
	stack := uint64(codeAt) // where code is read as the return address
	regs := &arch.Registers{Rip: vsyscallStart + 0x400, Rsp: stack}
	ev := platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: segvMapErr, Addr: regs.Rip}
	missing := *regs
	missing.Rsp = 0x12345000
	evMissing := ev
	g.vsyscall(regs, &ev)
	if ev.Kind != platform.Syscall || regs.Rax != unix.SYS_TIME || regs.Rip != 0xfceb050f || regs.Rsp != stack+8 {
		t.Errorf("%+v %+v", ev, regs)
	}
	g.vsyscall(&missing, &evMissing)
	if evMissing.Kind != platform.Fault || evMissing.Addr != 0x12345000 || evMissing.Access != platform.Read {
		t.Errorf("%+v %+v", evMissing, missing)
	}
}

// TestRelease releases a platform under running and resting guests, while processes are being made.
func TestRelease(t *testing.T) {
	for range 20 {
		p, err := newPlatform(8, 8)
		if err != nil {
			t.Fatal(err)
		}
		running, held := newGuest(t, p, loopCode...), newGuest(t, p, callCode...)
		died := make(chan error)
		go func() {
			_, err := running.Run(running.as, running.regs)
			running.Leave()
			died <- err
		}()
		held.call(t)
		for running.running.Load() == nil {
			time.Sleep(10 * time.Microsecond)
		}
		newGuest(t, p, callCode...).callAndLeave(t)
		p.Release()
		var want *platform.Died
		if err := <-died; !errors.As(err, &want) {
			t.Errorf("%v, want Died", err)
		}
		held.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: codeAt, Length: pageSize}})
		held.wantDied(t)
		held.Leave()
		held.as.Release()
	}
}

// TestIdle looks whether anything still ticks or stays pinned once all guests have left.
func TestIdle(t *testing.T) {
	p := testPlatform(t, 8, 8)
	g := newGuest(t, p, callCode...)
	for range 100 {
		g.call(t)
	}
	tr := g.tr
	if !p.pairs.Busy() {
		t.Error("nobody looks after a running guest")
	}
	g.Leave()
	for deadline := time.Now().Add(time.Minute); p.pairs.Busy(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the monitor ticks without end")
		}
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(tr.TID(), &set); err != nil {
		t.Fatal(err)
	}
	// The platform of another test may have been made on a pinned thread: then
	// this one knows fewer processors than the thread may use.
	for cpu, n := range p.pairs.Loads() {
		if !set.IsSet(cpu) {
			t.Errorf("an idle thread is pinned to %v", set)
		}
		if n != 0 {
			t.Errorf("processor %d has a load of %d", cpu, n)
		}
	}
}
