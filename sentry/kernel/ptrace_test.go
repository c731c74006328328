package kernel

import (
	"math/rand/v2"
	"testing"
	"time"

	"gosentry/platform/arch"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// trace does something to a task as its tracer, or becomes that.
func (s *stress) trace(g *guest, r *rand.Rand) {
	g.call(func(tk *Task) (uint64, error) {
		if r.IntN(2) == 0 {
			return 0, tk.Attach(s.victim(r), r.IntN(2) == 0, TraceOptions(r.Uint64()&0x1000ff))
		}
		id := s.victim(r)
		if own := tk.someTracee(r.IntN(4)); own != 0 && r.IntN(8) > 0 {
			id = own
		}
		sig := stressSignals[r.IntN(len(stressSignals))]
		switch r.IntN(12) {
		case 0:
			return 0, tk.TraceMe()
		case 1:
			return 0, tk.InterruptTracee(id)
		case 2:
			return 0, tk.ListenTracee(id)
		case 3:
			return 0, tk.DetachTracee(id, sig)
		case 4:
			return 0, tk.SetTraceOptions(id, TraceOptions(r.Uint64()&0x1000ff))
		case 5:
			tk.StopInfo(id)
			tk.PeekSignals(id, 0, 3, true)
			return 0, tk.WithTraceeRegisters(id, func(*arch.Registers) error { return nil })
		}
		return 0, tk.ResumeTracee(id, Resume{Signal: sig, Calls: r.IntN(2) == 0, Emulate: r.IntN(8) == 0})
	})
}

// someTracee is the id of the nth thread that t traces, 0 if there is none.
func (t *Task) someTracee(n int) int32 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	e := t.tracees.Front()
	for ; e != nil && n > 0; n-- {
		e = e.Next()
	}
	if e == nil {
		return 0
	}
	return e.Value.(*Task).pid.In(t.pidns)
}

// TestTracersOfEachOther: two processes that trace each other and are told of exits end when
// both are killed.
func TestTracersOfEachOther(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		idle := func(g *guest) { g.call(func(tk *Task) (uint64, error) { return 0, tk.Block(nil) }) }
		attached := make(chan error, 2)
		tracer := func(of <-chan int32) script {
			return func(g *guest) {
				id := <-of
				_, err := g.call(func(tk *Task) (uint64, error) { return 0, tk.Attach(id, true, unix.PTRACE_O_TRACEEXIT) })
				attached <- err
				idle(g)
			}
		}
		ofA, ofB := make(chan int32, 1), make(chan int32, 1)
		a := g.fork(tracer(ofA))
		b := g.fork(tracer(ofB))
		ofA <- b
		ofB <- a
		for range 2 {
			if err := <-attached; err != nil {
				t.Error(err)
			}
		}
		g.kill(-1, unix.SIGKILL)
		for {
			if _, err := g.wait(WaitArgs{Exited: true, All: true}); err == unix.ECHILD {
				return
			}
		}
	})
}

// TestStoppedTracee: a tracee in a ptrace-stop shows that, is not to be run by anyone but its tracer, and
// dies of SIGKILL there.
func TestStoppedTracee(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		id := g.fork(func(g *guest) {
			g.call(func(tk *Task) (uint64, error) { return 0, tk.Block(nil) })
		})
		if _, err := g.call(func(tk *Task) (uint64, error) { return 0, tk.Attach(id, false, 0) }); err != nil {
			t.Fatal(err)
		}
		r, err := g.wait(WaitArgs{Kind: WaitPID, ID: id})
		if err != nil || r.Code != signal.CldTrapped || r.Status != int32(unix.SIGSTOP) {
			t.Errorf("stop: %+v %v", r, err)
		}
		if s := m.stateOf(id); s != traceStopped {
			t.Errorf("state %d", s)
		}
		g.kill(id, unix.SIGCONT)
		time.Sleep(5 * time.Millisecond)
		if s := m.stateOf(id); s != traceStopped {
			t.Errorf("state after SIGCONT %d", s)
		}
		g.kill(id, unix.SIGKILL)
		if r, err = g.wait(WaitArgs{Kind: WaitPID, ID: id, Exited: true}); err != nil || r.Exit.Signal != unix.SIGKILL {
			t.Errorf("end: %+v %v", r, err)
		}
		if m.k.init.leader.tracees.Len() != 0 {
			t.Error("something is left")
		}
	})
}
