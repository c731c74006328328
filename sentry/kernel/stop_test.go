package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func (g *guest) waitStopped(id int32) (WaitResult, error) {
	return g.wait(WaitArgs{Kind: WaitPID, ID: id, Stopped: true, All: true})
}

func (g *guest) waitContinued(id int32) (WaitResult, error) {
	return g.wait(WaitArgs{Kind: WaitPID, ID: id, Continued: true, All: true})
}

// TestStopWithThreads stops and continues a process of several threads, some in guest
// code and some in calls, again and again.
func TestStopWithThreads(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var beats [4]atomic.Int64
		ready := make(chan struct{}, 4)
		id := g.fork(func(g *guest) {
			for i := range beats {
				g.thread(func(g *guest) {
					ready <- struct{}{}
					for {
						switch beats[i].Add(1); i % 3 {
						case 0:
							g.getpid()
						case 1:
							g.call(func(tk *Task) (uint64, error) { return 0, tk.BlockFor(nil, time.Millisecond) })
						case 2:
							g.fork(exits(0))
							g.reap(0)
						}
					}
				})
			}
			idle(g)
		})
		for range beats {
			<-ready
		}
		for range 10 {
			g.kill(id, unix.SIGSTOP)
			r, err := g.waitStopped(id)
			if err != nil || r.PID != id || r.Code != signal.CldStopped || r.Status != int32(unix.SIGSTOP) || r.Wait4Status() != 0x137f {
				t.Errorf("waited for a stop: %+v, %v", r, err)
			}
			sum := func() (n int64) {
				for i := range beats {
					n += beats[i].Load()
				}
				return n
			}
			before := sum()
			time.Sleep(3 * time.Millisecond)
			if n := sum() - before; n != 0 {
				t.Errorf("a stopped process did %d things", n)
			}
			if r, err := g.wait(WaitArgs{Kind: WaitPID, ID: id, Stopped: true, All: true, NoHang: true}); r.PID != 0 || err != nil {
				t.Errorf("the stop is told twice: %+v, %v", r, err)
			}
			g.kill(id, unix.SIGCONT)
			if r, err := g.waitContinued(id); err != nil || r.PID != id || r.Wait4Status() != 0xffff {
				t.Errorf("waited for it to go on: %+v, %v", r, err)
			}
			g.eventually("it goes on", func(*Task) bool { return sum() > before })
		}
		g.kill(id, unix.SIGSTOP)
		g.waitStopped(id)
		g.kill(id, unix.SIGKILL)
		g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
	})
}

func TestStopSignals(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		// The group of a child of the session's leader is not orphaned.
		ownGroup := func(g *guest) { g.setpgid(0, 0) }
		for _, c := range []struct {
			name  string
			sig   signal.Signal
			setup func(g *guest)
			stops bool
		}{
			{"SIGSTOP", unix.SIGSTOP, ownGroup, true},
			{"SIGTSTP", unix.SIGTSTP, ownGroup, true},
			{"SIGTSTP ignored", unix.SIGTSTP, func(g *guest) { ownGroup(g); g.ignore(unix.SIGTSTP) }, false},
			{"SIGTTIN caught", unix.SIGTTIN, func(g *guest) { ownGroup(g); g.catch(0, nil, unix.SIGTTIN) }, false},
			{"SIGTTOU blocked", unix.SIGTTOU, func(g *guest) { ownGroup(g); g.block(unix.SIGTTOU) }, false},
			{"SIGTSTP, orphaned group", unix.SIGTSTP, func(g *guest) { g.setsid() }, false},
			{"SIGSTOP, orphaned group", unix.SIGSTOP, func(g *guest) { g.setsid() }, true},
		} {
			ready := make(chan struct{})
			id := g.fork(func(g *guest) {
				c.setup(g)
				close(ready)
				for {
					g.call(func(tk *Task) (uint64, error) { return 0, tk.BlockFor(nil, time.Millisecond) })
				}
			})
			<-ready
			g.kill(id, c.sig)
			if c.stops {
				if r, err := g.waitStopped(id); err != nil || r.Status != int32(c.sig) {
					t.Errorf("%s: %+v, %v", c.name, r, err)
				}
			} else {
				time.Sleep(5 * time.Millisecond)
				if r, _ := g.wait(WaitArgs{Kind: WaitPID, ID: id, Stopped: true, NoHang: true}); r.PID != 0 {
					t.Errorf("%s: stopped", c.name)
				}
			}
			g.kill(id, unix.SIGKILL)
			g.reap(id)
		}
	})
}

// TestStopAndContinueCancel: each takes the other away while it is pending.
func TestStopAndContinueCancel(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.block(unix.SIGCONT, unix.SIGTSTP)
		me := g.getpid()
		g.action(unix.SIGCONT, signal.Action{Handler: 0x1000})
		g.kill(me, unix.SIGCONT)
		if _, group := pendingOf(g); group != signal.SetOf(unix.SIGCONT) {
			t.Errorf("pending %#x", group)
		}
		g.kill(me, unix.SIGTSTP)
		if _, group := pendingOf(g); group != signal.SetOf(unix.SIGTSTP) {
			t.Errorf("pending %#x after SIGTSTP", group)
		}
		g.kill(me, unix.SIGCONT)
		if _, group := pendingOf(g); group != signal.SetOf(unix.SIGCONT) {
			t.Errorf("pending %#x after SIGCONT", group)
		}
	})
}

// TestContinueAfterStopWasTaken: SIGCONT between the moment when a thread takes a terminal's
// stop signal and the stop itself undoes it.
func TestContinueAfterStopWasTaken(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		child := g.fork(func(g *guest) {
			g.setpgid(0, 0)
			g.do(func(tk *Task) error {
				tsignal, cont := signal.KernelInfo(unix.SIGTSTP), signal.KernelInfo(unix.SIGCONT)
				tk.tg.SendSignal(&tsignal)
				info, _, _, next := tk.nextSignal(nil)
				if next != terminalStop {
					t.Errorf("next step %d", next)
				}
				tk.tg.SendSignal(&cont)
				tk.stopUnlessOrphaned(info.Signo)
				return nil
			})
		})
		g.expectExit(child, ExitStatus{})
	})
}

func TestStopTellsParent(t *testing.T) {
	for _, c := range []struct {
		act  signal.Action
		want int
	}{
		{signal.Action{Handler: 0x1000}, 2},
		{signal.Action{Handler: 0x1000, Flags: signal.FlagNoCldStop}, 0},
		{signal.Action{Handler: signal.HandlerIgnore}, 0},
	} {
		newMachine(t).run(0, func(g *guest) {
			var codes []int32
			g.onSignal = func(i signal.Info) { codes = append(codes, i.Code) }
			g.action(unix.SIGCHLD, c.act)
			id := g.fork(idle)
			again := func(wait func(int32) (WaitResult, error)) {
				for {
					if _, err := wait(id); err != unix.EINTR {
						return
					}
				}
			}
			g.kill(id, unix.SIGSTOP)
			again(g.waitStopped)
			g.eventually("told", func(*Task) bool { return len(codes) == min(c.want, 1) })
			g.kill(id, unix.SIGCONT)
			again(g.waitContinued)
			g.eventually("told", func(*Task) bool { return len(codes) == c.want })
			if c.want == 2 && (codes[0] != signal.CldStopped || codes[1] != signal.CldContinued) {
				t.Errorf("codes %v", codes)
			}
			g.kill(id, unix.SIGKILL)
		})
	}
}

// TestOrphanedGroupIsHungUp: stopped members of a group that becomes orphaned
// get SIGHUP and SIGCONT.
func TestOrphanedGroupIsHungUp(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.do(func(tk *Task) error { tk.tg.SetSubreaper(true); return nil })
		ids := make(chan int32, 1)
		shell := g.fork(func(g *guest) {
			g.setsid()
			job := g.fork(func(g *guest) {
				g.setpgid(0, 0)
				idle(g)
			})
			g.setpgid(job, job)
			g.kill(job, unix.SIGSTOP)
			g.waitStopped(job)
			ids <- job
		})
		g.expectExit(shell, ExitStatus{})
		g.expectExit(<-ids, ExitStatus{Signal: unix.SIGHUP})
	})
}

// TestForkWhileStopping: no thread is made that would run while its process is stopped.
func TestForkWhileStopping(t *testing.T) {
	for range 10 {
		newMachine(t).run(0, func(g *guest) {
			var beats atomic.Int64
			var worker script
			worker = func(g *guest) {
				beats.Add(1)
				g.clone(worker, ForkArgs{Share: threadShare})
				g.exit(0)
			}
			id := g.fork(func(g *guest) {
				g.thread(worker)
				idle(g)
			})
			g.eventually("it works", func(*Task) bool { return beats.Load() > 3 })
			g.kill(id, unix.SIGSTOP)
			g.waitStopped(id)
			n := beats.Load()
			time.Sleep(2 * time.Millisecond)
			if more := beats.Load() - n; more != 0 {
				t.Errorf("%d threads began after the stop", more)
			}
			g.kill(id, unix.SIGKILL)
			g.reap(id)
		})
	}
}
