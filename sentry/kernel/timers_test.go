package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

const millisecond = int64(time.Millisecond)

func (g *guest) createTimer(a func(tk *Task) TimerArgs) (int32, error) {
	id, err := g.call(func(tk *Task) (uint64, error) {
		id, err := tk.CreateTimer(a(tk))
		return uint64(id), err
	})
	return int32(id), err
}

func (g *guest) setTimer(id int32, value, interval int64) (old ktime.Setting) {
	g.do(func(tk *Task) (err error) {
		old, err = tk.SetTimer(id, ktime.Setting{Value: value, Interval: interval}, false)
		return err
	})
	return old
}

func monotonicTimer(sig signal.Signal) func(tk *Task) TimerArgs {
	return func(tk *Task) TimerArgs {
		return TimerArgs{Clock: tk.k.clocks.Monotonic(), Signal: sig, Value: 5}
	}
}

func TestPosixTimers(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.block(40, unix.SIGALRM)
		id, err := g.createTimer(monotonicTimer(40))
		if err != nil {
			t.Error(err)
		}
		g.setTimer(id, millisecond, 0)
		if info, err := g.sigwait(40); err != nil || info.Code != signal.CodeTimer || info.Value != 5 || info.TimerID != id || info.Overrun != 0 {
			t.Errorf("got %+v, %v", info, err)
		}
		g.setTimer(id, millisecond, millisecond)
		time.Sleep(30 * time.Millisecond)
		info, _ := g.sigwait(40)
		g.do(func(tk *Task) error {
			n, err := tk.TimerOverrun(id)
			if err != nil || n < 10 || n != info.Overrun {
				t.Errorf("overrun %d, with the signal %d, %v", n, info.Overrun, err)
			}
			s, err := tk.GetTimer(id)
			if s.Interval != millisecond || s.Value <= 0 || s.Value > millisecond {
				t.Errorf("setting %+v, %v", s, err)
			}
			return nil
		})
		// A new setting takes the signal of the old one away, and so does deleting.
		gone := func(what string) {
			if own, group := pendingOf(g); own|group != 0 {
				t.Errorf("%s: pending %#x", what, own|group)
			}
		}
		pending := func() {
			g.setTimer(id, 1, 0)
			g.eventually("the signal is pending", func(tk *Task) bool { _, s := tk.PendingSignals(); return s.Has(40) })
		}
		pending()
		g.setTimer(id, 0, 0)
		gone("disarmed")
		pending()
		g.do(func(tk *Task) error { return tk.DeleteTimer(id) })
		gone("deleted")
		for name, op := range map[string]func(tk *Task) error{
			"set":     func(tk *Task) error { _, err := tk.SetTimer(id, ktime.Setting{}, false); return err },
			"get":     func(tk *Task) error { _, err := tk.GetTimer(id); return err },
			"overrun": func(tk *Task) error { _, err := tk.TimerOverrun(id); return err },
			"delete":  func(tk *Task) error { return tk.DeleteTimer(id) },
		} {
			if _, err := g.call(func(tk *Task) (uint64, error) { return 0, op(tk) }); err != unix.EINVAL {
				t.Errorf("%s of a deleted timer: %v", name, err)
			}
		}
	})
}

func TestTimerForThread(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		got, ready := make(chan signal.Info, 1), make(chan int32, 1)
		g.action(unix.SIGUSR1, signal.Action{Handler: 0x1000})
		g.onSignal = func(signal.Info) { t.Error("the signal went to another thread") }
		g.thread(func(g *guest) {
			g.onSignal = func(i signal.Info) { got <- i }
			ready <- g.gettid()
			g.spin()
			g.exit(0)
		})
		tid := <-ready
		id, err := g.createTimer(func(tk *Task) TimerArgs {
			a := monotonicTimer(unix.SIGUSR1)(tk)
			a.Thread = tid
			return a
		})
		if err != nil {
			t.Error(err)
		}
		g.setTimer(id, millisecond, millisecond)
		<-got
		// The timer goes on, and its signals go nowhere.
		g.eventually("the thread has ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		time.Sleep(5 * time.Millisecond)
		for _, thread := range []int32{tid, 1, 9999} {
			if _, err := g.createTimer(func(tk *Task) TimerArgs {
				a := monotonicTimer(unix.SIGUSR1)(tk)
				a.Thread = thread
				return a
			}); err != unix.EINVAL {
				t.Errorf("a timer for thread %d: %v", thread, err)
			}
		}
		for _, sig := range []signal.Signal{0, -1, 65} {
			if _, err := g.createTimer(monotonicTimer(sig)); err != unix.EINVAL {
				t.Errorf("a timer with signal %d: %v", sig, err)
			}
		}
	})
}

// TestTimerOfIgnoredSignal: the timer rests, and goes on when the signal is not ignored any more.
func TestTimerOfIgnoredSignal(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.ignore(40)
		id, _ := g.createTimer(monotonicTimer(40))
		g.setTimer(id, millisecond, millisecond)
		g.eventually("the timer rests", func(tk *Task) bool {
			tk.tg.sigMu.Lock()
			defer tk.tg.sigMu.Unlock()
			return tk.tg.posix.byID[id].parked
		})
		var info signal.Info
		g.catch(0, func(i signal.Info) { info = i }, 40)
		g.getpid()
		if info.Signo != 40 || info.TimerID != id {
			t.Errorf("got %+v", info)
		}
		g.setTimer(id, 0, 0)
		// The same for a signal that was pending when it came to be ignored.
		g.block(40)
		g.setTimer(id, 1, millisecond)
		g.eventually("the signal is pending", func(tk *Task) bool { _, s := tk.PendingSignals(); return s.Has(40) })
		g.ignore(40)
		g.unblock(40)
		info = signal.Info{}
		g.catch(0, func(i signal.Info) { info = i }, 40)
		g.getpid()
		if info.Signo != 40 {
			t.Errorf("got %+v", info)
		}
	})
}

func TestTimersEndWithProgram(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		g.block(40)
		ids := map[int32]bool{}
		for range 3 {
			id, _ := g.createTimer(monotonicTimer(40))
			g.setTimer(id, 1, millisecond)
			ids[id] = true
		}
		g.eventually("a signal", func(tk *Task) bool { _, s := tk.PendingSignals(); return s != 0 })
		g.reap(g.fork(func(g *guest) {
			for id := range ids {
				if _, err := g.call(func(tk *Task) (uint64, error) { _, err := tk.GetTimer(id); return 0, err }); err != unix.EINVAL {
					t.Errorf("a child has timer %d: %v", id, err)
				}
			}
		}))
		g.exec(func(g *guest) {
			g.do(func(tk *Task) error {
				if _, group := tk.PendingSignals(); group != 0 || len(tk.tg.posix.byID) != 0 {
					t.Errorf("pending %#x, %d timers after exec", group, len(tk.tg.posix.byID))
				}
				m.k.users.mu.Lock()
				defer m.k.users.mu.Unlock()
				if m.k.users.queued != 0 {
					t.Errorf("%d signals are counted", m.k.users.queued)
				}
				return nil
			})
			g.do(func(tk *Task) error {
				_, err := tk.SetLimitOf(0, limits.SigPending, limits.Limit{Soft: 2, Hard: 2})
				return err
			})
			for i, want := range []error{nil, nil, unix.EAGAIN} {
				id, err := g.createTimer(monotonicTimer(40))
				if err != want {
					t.Errorf("timer %d: %v, want %v", i, err, want)
				}
				if err == nil {
					g.setTimer(id, millisecond, millisecond)
				}
			}
		})
	})
}

// TestCPULimit computes in guest code, so nothing but the watch can see the limit.
func TestCPULimit(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		child := func(l limits.Limit, threads int, setup func(g *guest)) int32 {
			return g.fork(func(g *guest) {
				setup(g)
				for range threads {
					g.thread((*guest).spinForever)
				}
				g.do(func(tk *Task) error {
					tk.cpu.Add(int64(l.Soft)*1e9 - 20*millisecond)
					tk.tg.cpu.Add(int64(l.Soft)*1e9 - 20*millisecond)
					_, err := tk.SetLimitOf(0, limits.CPU, l)
					return err
				})
				g.spinForever()
			})
		}
		g.expectExit(child(limits.Limit{Soft: 3, Hard: 9}, 0, func(*guest) {}), ExitStatus{Signal: unix.SIGXCPU})
		g.expectExit(child(limits.Limit{Soft: 3, Hard: 3}, 0, func(*guest) {}), ExitStatus{Signal: unix.SIGKILL})
		g.expectExit(child(limits.Limit{Soft: 3, Hard: 9}, 3, func(*guest) {}), ExitStatus{Signal: unix.SIGXCPU})
		g.expectExit(child(limits.Limit{Soft: 3, Hard: 9}, 0, func(g *guest) {
			g.catch(0, func(signal.Info) {
				g.do(func(tk *Task) error {
					if l := tk.Limits().Get(limits.CPU); l != (limits.Limit{Soft: 4, Hard: 9}) {
						t.Errorf("the limit is now %+v", l)
					}
					return nil
				})
				g.exitGroup(7)
			}, unix.SIGXCPU)
		}), ExitStatus{Code: 7})
		// Set by another process, while it computes; and inherited.
		id := g.fork(func(g *guest) {
			g.do(func(tk *Task) error { tk.tg.cpu.Add(5e9); return nil })
			g.spinForever()
		})
		g.eventually("it computes", func(tk *Task) bool { return g.test.stateOf(id) == running })
		time.Sleep(5 * time.Millisecond)
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(id, limits.CPU, limits.Limit{Soft: 1, Hard: 1})
			return err
		})
		g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
		g.expectExit(g.fork(func(g *guest) {
			g.do(func(tk *Task) error {
				_, err := tk.SetLimitOf(0, limits.CPU, limits.Limit{Soft: 100, Hard: 100})
				return err
			})
			g.expectExit(g.fork(func(g *guest) {
				g.do(func(tk *Task) error { tk.tg.cpu.Add(100e9); return nil })
				g.spinForever()
			}), ExitStatus{Signal: unix.SIGKILL})
		}), ExitStatus{})
	})
}

// TestCPUClocks reads the clocks of threads that compute, from elsewhere, and sleeps on them.
func TestCPUClocks(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		stop := make(chan struct{})
		var ended atomic.Bool
		g.thread(func(g *guest) {
			g.catch(0, func(signal.Info) {
				ended.Store(true)
				g.exit(0)
			}, unix.SIGUSR1)
			close(stop)
			g.spinForever()
		})
		<-stop
		g.do(func(tk *Task) error {
			clock := tk.tg.CPUClock()
			before := clock.Now()
			if err := tk.BlockUntilTime(nil, clock, before+10*millisecond); err != unix.ETIMEDOUT {
				t.Errorf("sleep on the clock of the process: %v", err)
			}
			if d := clock.Now() - before; d < 10*millisecond {
				t.Errorf("slept %d ns of processor time", d)
			}
			own := tk.CPUClock()
			if d := own.Now(); d > clock.Now() {
				t.Errorf("the thread has used %d ns, the process less", d)
			}
			used := clock.Now()
			u := tk.tg.Usage()
			if sum := int64(u.User + u.System); sum < used-5*millisecond {
				t.Errorf("usage is %d ns, the clock was at %d before", sum, used)
			}
			return nil
		})
		for _, kind := range []ITimerKind{ITimerVirtual, ITimerProf} {
			g.block(itimerSignals[kind])
			g.do(func(tk *Task) error {
				_, err := tk.tg.SetITimer(kind, ktime.Setting{Value: 2 * millisecond})
				return err
			})
			if _, err := g.sigwait(itimerSignals[kind]); err != nil {
				t.Errorf("timer %d: %v", kind, err)
			}
		}
		// The watch rests while nothing runs, and then wakes.
		g.expectExit(g.fork(func(g *guest) {
			g.unblock(unix.SIGPROF)
			g.do(func(tk *Task) error {
				_, err := tk.tg.SetITimer(ITimerProf, ktime.Setting{Value: 5 * millisecond})
				return err
			})
			g.call(func(tk *Task) (uint64, error) {
				time.AfterFunc(time.Millisecond, tk.tg.watchCPU)
				err := tk.BlockFor(nil, 10*time.Millisecond)
				if tk.tg.watch.active.Load() {
					t.Error("the watch is awake while all threads sleep")
				}
				return 0, err
			})
			g.spinForever()
		}), ExitStatus{Signal: unix.SIGPROF})
		g.do(func(tk *Task) error {
			id := tk.tg.tasks[1].TID()
			return tk.KillThread(0, id, unix.SIGUSR1, nil)
		})
		g.eventually("the thread has ended", func(tk *Task) bool { return ended.Load() && tk.tg.threads() == 1 })
	})
}
