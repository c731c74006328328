package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func TestWaitOptions(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		group := g.fork(idle)
		g.do(func(tk *Task) error { return tk.SetPGID(group, 0) })
		member := g.fork(idle)
		g.do(func(tk *Task) error { return tk.SetPGID(member, group) })
		other, err := g.clone(idle, ForkArgs{ExitSignal: unix.SIGUSR2})
		if err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			name string
			args WaitArgs
			err  error
		}{
			{"running", WaitArgs{Exited: true}, nil},
			{"running, of the group", WaitArgs{Exited: true, Kind: WaitGroup, ID: group}, nil},
			{"own group has another kind of child only", WaitArgs{Exited: true, Kind: WaitGroup}, unix.ECHILD},
			{"own group, that kind", WaitArgs{Exited: true, Kind: WaitGroup, Clone: true}, nil},
			{"own group, all", WaitArgs{Exited: true, Kind: WaitGroup, All: true}, nil},
			{"no such group", WaitArgs{Exited: true, Kind: WaitGroup, ID: member}, unix.ECHILD},
			{"one", WaitArgs{Exited: true, Kind: WaitPID, ID: member}, nil},
			{"one of the other kind", WaitArgs{Exited: true, Kind: WaitPID, ID: other}, unix.ECHILD},
			{"itself", WaitArgs{Exited: true, Kind: WaitPID, ID: g.getpid()}, unix.ECHILD},
			{"nobody", WaitArgs{Exited: true, Kind: WaitPID, ID: 9999}, unix.ECHILD},
			{"stopped", WaitArgs{Stopped: true}, nil},
		} {
			c.args.NoHang = true
			if r, err := g.wait(c.args); err != c.err || r.PID != 0 {
				t.Errorf("%s: %+v, %v, want %v", c.name, r, err, c.err)
			}
		}
		g.kill(member, unix.SIGTERM)
		for range 2 {
			r, err := g.wait(WaitArgs{Exited: true, Kind: WaitGroup, ID: group, NoReap: true})
			if r.PID != member || r.Code != signal.CldKilled || r.Status != int32(unix.SIGTERM) || err != nil {
				t.Errorf("looked at %+v, %v", r, err)
			}
		}
		// A zombie cannot stop any more.
		_, err = g.wait(WaitArgs{Stopped: true, Continued: true, Kind: WaitPID, ID: member, NoHang: true})
		if err != unix.ECHILD {
			t.Errorf("waiting for a zombie to stop: %v", err)
		}
		g.expectExit(member, ExitStatus{Signal: unix.SIGTERM})
		g.kill(0, unix.SIGKILL)
	})
}

// TestWaitTakesTheFirstToDie waits for any child where several are dead.
func TestWaitTakesTheFirstToDie(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var kids []int32
		for range 3 {
			kids = append(kids, g.fork(idle))
		}
		for _, i := range []int{1, 2, 0} {
			g.kill(kids[i], unix.SIGKILL)
			g.eventually("a zombie", func(*Task) bool { return g.test.stateOf(kids[i]) == zombie && g.test.exited(kids[i]) })
		}
		for _, i := range []int{1, 2, 0} {
			if r := g.reap(0); r.PID != kids[i] {
				t.Errorf("reaped %d, want %d", r.PID, kids[i])
			}
		}
	})
}

func TestWaitByThread(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		child := g.fork(exits(6))
		done := make(chan struct{})
		g.thread(func(g *guest) {
			if _, err := g.wait(WaitArgs{Exited: true, OwnOnly: true}); err != unix.ECHILD {
				t.Errorf("another thread's child with OwnOnly: %v", err)
			}
			g.expectExit(child, ExitStatus{Code: 6})
			close(done)
			g.exit(0)
		})
		<-done
		// The children of a thread that ends go to another one.
		made := make(chan int32)
		g.thread(func(g *guest) {
			made <- g.fork(idle)
			g.exit(0)
		})
		id := <-made
		g.eventually("the thread has ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		if r, err := g.wait(WaitArgs{Exited: true, OwnOnly: true, NoHang: true}); r.PID != 0 || err != nil {
			t.Errorf("the heir's wait: %+v, %v", r, err)
		}
		g.kill(id, unix.SIGKILL)
		g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
	})
}

func TestOrphans(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		orphans := func(g *guest, wantParent int32) (orphan int32) {
			ids, parents := make(chan int32, 1), make(chan int32, 1)
			g.reap(g.fork(func(g *guest) {
				me := g.getpid()
				g.fork(func(g *guest) {
					ids <- g.getpid()
					g.eventually("the parent is gone", func(tk *Task) bool { return tk.PPID() != me })
					parents <- g.getppid()
					g.exitGroup(9)
				})
			}))
			if got := <-parents; got != wantParent {
				t.Errorf("an orphan's parent is %d, want %d", got, wantParent)
			}
			return <-ids
		}
		orphans(g, 1)
		if _, err := g.wait(WaitArgs{Exited: true, NoHang: true}); err != unix.ECHILD {
			t.Errorf("an orphan of another came here: %v", err)
		}
		g.do(func(tk *Task) error { tk.tg.SetSubreaper(true); return nil })
		g.expectExit(orphans(g, g.getpid()), ExitStatus{Code: 9})
		// The nearest subreaper counts, and being one is not inherited.
		me := g.getpid()
		g.expectExit(g.fork(func(g *guest) {
			if orphan := orphans(g, me); orphan == 0 {
				t.Error("no orphan")
			}
			g.do(func(tk *Task) error { tk.tg.SetSubreaper(true); return nil })
			g.expectExit(orphans(g, g.getpid()), ExitStatus{Code: 9})
		}), ExitStatus{})
		if r := g.reap(0); r.Exit.Code != 9 {
			t.Errorf("the orphan ended with %+v", r)
		}
	})
}

// TestZombieOrphans: zombies whose parent ends without having waited go to init,
// which reaps them.
func TestZombieOrphans(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		g.reap(g.fork(func(g *guest) {
			for range 5 {
				id := g.fork(exits(1))
				g.eventually("a zombie", func(*Task) bool { return m.exited(id) })
			}
		}))
		if n := m.k.counts.processes.Load(); n != 2 {
			t.Errorf("%d processes, want init and this one", n)
		}
	})
}

func TestNoZombies(t *testing.T) {
	for _, c := range []struct {
		name    string
		act     signal.Action
		signals int32
	}{
		{"ignored", signal.Action{Handler: signal.HandlerIgnore}, 0},
		{"SA_NOCLDWAIT", signal.Action{Handler: 0x1000, Flags: signal.FlagNoCldWait}, 1},
	} {
		newMachine(t).run(0, func(g *guest) {
			var got atomic.Int32
			g.onSignal = func(signal.Info) { got.Add(1) }
			g.action(unix.SIGCHLD, c.act)
			gate := make(chan struct{})
			g.fork(func(g *guest) { g.sleepOn(gate) })
			time.AfterFunc(10*time.Millisecond, func() { close(gate) })
			for {
				// The wait goes on until the last child has gone.
				if _, err := g.wait(WaitArgs{Exited: true}); err == unix.ECHILD {
					break
				} else if err != unix.EINTR {
					t.Errorf("%s: wait: %v", c.name, err)
				}
			}
			g.getpid()
			if got.Load() != c.signals {
				t.Errorf("%s: %d signals, want %d", c.name, got.Load(), c.signals)
			}
		})
	}
}

func TestExitSignals(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.block(unix.SIGUSR1, unix.SIGCHLD)
		id, _ := g.clone(exits(3), ForkArgs{ExitSignal: unix.SIGUSR1})
		info, err := g.sigwait(unix.SIGUSR1, unix.SIGCHLD)
		if err != nil || info.Signo != unix.SIGUSR1 || info.PID != id || info.Status != 3 || info.Code != signal.CldExited {
			t.Errorf("got %+v, %v", info, err)
		}
		g.expectExit(id, ExitStatus{Code: 3})
		id, _ = g.clone(exits(3), ForkArgs{})
		g.expectExit(id, ExitStatus{Code: 3})
		if own, group := pendingOf(g); own|group != 0 {
			t.Errorf("a child without an exit signal sent %#x", own|group)
		}
		// Whoever execs gets SIGCHLD from the children it had.
		gate, done := make(chan struct{}), make(chan struct{})
		g.fork(func(g *guest) {
			g.clone(func(g *guest) { g.sleepOn(gate) }, ForkArgs{ExitSignal: unix.SIGUSR1})
			g.exec(func(g *guest) {
				close(gate)
				if info, err := g.sigwait(unix.SIGUSR1, unix.SIGCHLD); info.Signo != unix.SIGCHLD || err != nil {
					t.Errorf("after exec: %+v, %v", info, err)
				}
				close(done)
			})
		})
		<-done
		g.reap(0)
	})
}

func pendingOf(g *guest) (own, group signal.Set) {
	g.do(func(tk *Task) error { own, group = tk.PendingSignals(); return nil })
	return own, group
}

func TestParentDeathSignal(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.do(func(tk *Task) error { tk.tg.SetSubreaper(true); return nil })
		ids := make(chan int32, 1)
		parent := g.fork(func(g *guest) {
			ready := make(chan struct{})
			ids <- g.fork(func(g *guest) {
				g.do(func(tk *Task) error { tk.SetParentDeathSignal(unix.SIGTERM); return nil })
				close(ready)
				idle(g)
			})
			<-ready
		})
		g.expectExit(parent, ExitStatus{})
		g.expectExit(<-ids, ExitStatus{Signal: unix.SIGTERM})
	})
}

func TestUsageOfChildren(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		burn := func(g *guest) {
			g.do(func(tk *Task) error {
				for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
				}
				return nil
			})
		}
		g.reap(g.fork(func(g *guest) {
			g.reap(g.fork(burn))
			burn(g)
		}))
		g.do(func(tk *Task) error {
			if u := tk.tg.ChildUsage(); u.System < 60*time.Millisecond || u.System > 20*time.Second {
				t.Errorf("children used %v", u.System)
			}
			return nil
		})
		g.ignore(unix.SIGCHLD)
		var before Usage
		g.do(func(tk *Task) error { before = tk.tg.ChildUsage(); return nil })
		g.fork(burn)
		g.wait(WaitArgs{Exited: true})
		g.do(func(tk *Task) error {
			if u := tk.tg.ChildUsage(); u != before {
				t.Errorf("a child that nobody waited for counts: %+v", u)
			}
			return nil
		})
	})
}
