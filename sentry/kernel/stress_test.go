package kernel

import (
	"flag"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

var (
	stressSeed = flag.Uint64("stress.seed", 0, "seed of TestStress; 0: by the clock")
	stressTime = flag.Duration("stress.time", time.Second, "how long TestStress works")
)

// TestStress has 8 threads, and all that descends from them, do what they like to each other in pid and user
// namespaces of each other, and then ends them. Nothing may be left of them, and no child may be lost.
func TestStress(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-stress.seed=%d", seed)
	m := newMachine(t)
	m.working = *stressTime
	s := &stress{m: m, seed: seed, end: time.Now().Add(*stressTime)}
	m.run(0, func(g *guest) {
		g.do(func(tk *Task) error { tk.tg.SetSubreaper(true); return nil })
		g.ignoreAll()
		s.keepGoing(g)
		g.kill(-1, unix.SIGKILL)
		for {
			if _, err := g.wait(WaitArgs{Exited: true, All: true}); err == unix.ECHILD {
				break
			}
		}
		m.locked(func() {
			if n := m.k.rootPIDNS.tasks; n != 2 {
				t.Errorf("%d tasks are left, want 2", n)
			}
		})
	})
	if s.done.Load() < 100 {
		t.Errorf("only %d things were done", s.done.Load())
	}
	t.Logf("%d things were done", s.done.Load())
}

// ignoreAll makes the process deaf to what the others send.
func (g *guest) ignoreAll() {
	for sig := signal.Signal(1); sig < 32; sig++ {
		if !signal.Unblockable.Has(sig) && sig != unix.SIGCHLD {
			g.ignore(sig)
		}
	}
}

// stress is what the processes of TestStress share.
type stress struct {
	m       *machine
	seed    uint64
	streams atomic.Uint64
	done    atomic.Int64
	end     time.Time
}

// maxStress bounds the tasks at any time.
const maxStress = 60

func (s *stress) crowded() (yes bool) {
	s.m.locked(func() { yes = s.m.k.rootPIDNS.tasks > maxStress })
	return yes
}

// process does random things until it ends or is killed.
func (s *stress) process(g *guest) {
	r := rand.New(rand.NewPCG(s.seed, s.streams.Add(1)))
	g.onSignal = func(signal.Info) {}
	for range 10 + r.IntN(100) {
		s.done.Add(1)
		s.act(g, r)
	}
	if r.IntN(2) == 0 {
		g.exit(int32(r.IntN(256)))
	}
	g.exitGroup(int32(r.IntN(256)))
}

// victim is the number of some task, or of none.
func (s *stress) victim(r *rand.Rand) (id int32) {
	s.m.locked(func() {
		n := r.IntN(len(s.m.k.rootPIDNS.ids))
		for nr := range s.m.k.rootPIDNS.ids {
			if id = nr; n == 0 {
				break
			}
			n--
		}
	})
	if id <= 2 {
		return 99999
	}
	return id
}

var stressSignals = []signal.Signal{
	unix.SIGTERM, unix.SIGKILL, unix.SIGSTOP, unix.SIGTSTP, unix.SIGCONT, unix.SIGCONT, unix.SIGCONT, unix.SIGUSR1, unix.SIGCHLD, 40, 0,
}

// act does one thing. What it is told does not matter, but that it is told.
func (s *stress) act(g *guest, r *rand.Rand) {
	sig := stressSignals[r.IntN(len(stressSignals))]
	switch r.IntN(26) {
	default:
		s.trace(g, r)
	case 0, 1, 2, 3:
		s.clone(g, r)
	case 4, 5, 6:
		g.wait(WaitArgs{
			Exited: true, All: true, NoHang: r.IntN(4) > 0, NoReap: r.IntN(8) == 0,
			Stopped: r.IntN(2) == 0, Continued: r.IntN(2) == 0,
		})
	case 7:
		g.kill(s.victim(r), sig)
	case 8:
		g.tkill(s.victim(r), sig)
	case 9:
		g.kill(-s.victim(r), sig)
	case 10:
		g.setpgid(0, []int32{0, s.victim(r)}[r.IntN(2)])
	case 11:
		g.setsid()
	case 12:
		g.call(func(tk *Task) (uint64, error) {
			return 0, tk.BlockFor(nil, time.Duration(r.IntN(2000))*time.Microsecond)
		})
	case 13:
		g.exec(s.process)
	case 14:
		handlers := []uint64{signal.HandlerDefault, signal.HandlerIgnore, 0x1000, 0x1000}
		a := signal.Action{Handler: handlers[r.IntN(4)], Flags: r.Uint64() & signal.KnownFlags, Mask: signal.Set(r.Uint64())}
		g.call(func(tk *Task) (uint64, error) { _, err := tk.SetAction(sig, a); return 0, err })
	case 15:
		g.do(func(tk *Task) error { tk.SetSignalMask(signal.Set(r.Uint64() & r.Uint64())); return nil })
	case 16:
		g.do(func(tk *Task) error { tk.tg.SetSubreaper(r.IntN(2) == 0); return nil })
	case 17:
		g.call(func(tk *Task) (uint64, error) {
			_, err := tk.WaitSignal(signal.Set(r.Uint64()), time.Duration(r.IntN(1000))*time.Microsecond)
			return 0, err
		})
	case 18:
		s.timer(g, r)
	case 19:
		if r.IntN(5) == 0 {
			g.exit(1)
		}
	case 20, 21:
		s.unshare(g, r)
	}
}

func (s *stress) clone(g *guest, r *rand.Rand) {
	if s.crowded() || time.Now().After(s.end) {
		return
	}
	a := ForkArgs{ExitSignal: unix.SIGCHLD, Traced: r.IntN(4) == 0, Untraced: r.IntN(8) == 0}
	switch r.IntN(8) {
	case 0, 1, 2:
		a.Share, a.ExitSignal = threadShare, 0
	case 3:
		a.Share, a.Vfork = ShareMM, true
	case 4:
		a.Share = ShareParent
	case 5:
		a.Fresh = []Fresh{FreshPID, FreshPID, FreshUser | FreshPID, everyFresh}[r.IntN(4)]
	case 6:
		a.ExitSignal = unix.SIGUSR1
	}
	g.clone(s.process, a)
}

func (s *stress) timer(g *guest, r *rand.Rand) {
	interval := int64(r.IntN(300)) * int64(time.Microsecond)
	g.call(func(tk *Task) (uint64, error) {
		clocks := []ktime.Clock{tk.k.clocks.Monotonic(), tk.tg.CPUClock(), tk.CPUClock()}
		id, err := tk.CreateTimer(TimerArgs{Clock: clocks[r.IntN(3)], Signal: []signal.Signal{40, unix.SIGUSR2, unix.SIGCHLD}[r.IntN(3)]})
		if err != nil {
			return 0, err
		}
		_, err = tk.SetTimer(id, ktime.Setting{Value: interval + 1, Interval: interval}, false)
		if r.IntN(2) == 0 {
			return 0, tk.DeleteTimer(id)
		}
		return 0, err
	})
}
