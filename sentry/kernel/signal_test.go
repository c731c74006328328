package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// TestBlockedAndIgnored is the table of what happens to a signal that is sent to the
// process itself.
func TestBlockedAndIgnored(t *testing.T) {
	type want struct{ pending, handled bool }
	for _, c := range []struct {
		name    string
		sig     signal.Signal
		act     signal.Action
		blocked bool
		want    want
	}{
		{"default ignore", unix.SIGCHLD, signal.Action{}, false, want{false, false}},
		{"default ignore, blocked", unix.SIGCHLD, signal.Action{}, true, want{true, false}},
		{"ignored", unix.SIGTERM, signal.Action{Handler: signal.HandlerIgnore}, false, want{false, false}},
		{"ignored, blocked", unix.SIGTERM, signal.Action{Handler: signal.HandlerIgnore}, true, want{true, false}},
		{"caught", unix.SIGTERM, signal.Action{Handler: 1 << 12}, false, want{false, true}},
		{"caught, blocked", unix.SIGTERM, signal.Action{Handler: 1 << 12}, true, want{true, false}},
		{"default, blocked", unix.SIGTERM, signal.Action{}, true, want{true, false}},
		{"continue", unix.SIGCONT, signal.Action{}, false, want{false, false}},
	} {
		newMachine(t).run(0, func(g *guest) {
			handled := false
			g.onSignal = func(signal.Info) { handled = true }
			g.action(c.sig, c.act)
			if c.blocked {
				g.block(c.sig)
			}
			g.kill(g.getpid(), c.sig)
			if _, group := pendingOf(g); group.Has(c.sig) != c.want.pending || handled != c.want.handled {
				t.Errorf("%s: pending %v, handled %v, want %+v", c.name, group.Has(c.sig), handled, c.want)
			}
			if c.want.pending {
				// It is dropped when it is ignored from now on.
				g.ignore(c.sig)
				if _, group := pendingOf(g); group != 0 {
					t.Errorf("%s: pending %#x after it was ignored", c.name, group)
				}
			}
		})
	}
}

func TestHandlerMasks(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		depth, deepest, count := 0, 0, 0
		handler := func(info signal.Info) {
			depth++
			deepest = max(deepest, depth)
			if count++; count < 3 {
				g.kill(g.getpid(), unix.SIGUSR1)
			}
			depth--
		}
		g.catch(0, handler, unix.SIGUSR1)
		g.kill(g.getpid(), unix.SIGUSR1)
		g.getpid()
		if count != 3 || deepest != 1 {
			t.Errorf("the signal is blocked in its handler: %d times, %d deep", count, deepest)
		}
		count, deepest = 0, 0
		g.catch(signal.FlagNoDefer, handler, unix.SIGUSR1)
		g.kill(g.getpid(), unix.SIGUSR1)
		if count != 3 || deepest != 3 {
			t.Errorf("SA_NODEFER: %d times, %d deep", count, deepest)
		}
		count = 0
		g.catch(signal.FlagResetHand, func(signal.Info) { count++ }, unix.SIGURG)
		g.kill(g.getpid(), unix.SIGURG)
		g.kill(g.getpid(), unix.SIGURG)
		if count != 1 {
			t.Errorf("SA_RESETHAND: %d times", count)
		}
	})
}

func TestInterruptedCalls(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		for _, c := range []struct {
			name  string
			err   error
			flags uint64
			act   uint64
			want  error
		}{
			{"restart, handler", ERESTARTSYS, 0, 0x1000, unix.EINTR},
			{"restart, SA_RESTART", ERESTARTSYS, signal.FlagRestart, 0x1000, nil},
			{"always restart", ERESTARTNOINTR, 0, 0x1000, nil},
			{"no handler only", ERESTARTNOHAND, signal.FlagRestart, 0x1000, unix.EINTR},
			{"with a block", ERESTARTBLOCK, signal.FlagRestart, 0x1000, unix.EINTR},
		} {
			g.catch(c.flags, nil, unix.SIGUSR1)
			tries := 0
			_, err := g.call(func(tk *Task) (uint64, error) {
				if tries++; tries > 1 {
					return 0, nil
				}
				tk.SendSelf(unix.SIGUSR1)
				return 0, c.err
			})
			if err != c.want {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		// A stop and a continue are no handler.
		for _, again := range []error{ERESTARTSYS, ERESTARTNOHAND, ERESTARTBLOCK} {
			tries := 0
			g.call(func(tk *Task) (uint64, error) {
				if tries++; tries > 1 {
					return 0, nil
				}
				tk.restart = Restart{Call: func(*Task, *Restart) (uint64, error) {
					tries++
					return 0, nil
				}}
				tk.SendSelf(unix.SIGSTOP)
				time.AfterFunc(5*time.Millisecond, func() {
					info := signal.KernelInfo(unix.SIGCONT)
					tk.tg.SendSignal(&info)
				})
				return 0, again
			})
			if tries != 2 {
				t.Errorf("%v: tried %d times after a stop", again, tries)
			}
		}
	})
}

// TestRouting sends signals to a process whose threads differ in what they block.
func TestRouting(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		const sig = unix.SIGUSR1
		var byMain, byOther atomic.Int32
		g.catch(0, func(signal.Info) { byMain.Add(1) }, sig)
		g.block(sig)
		ids, seen := make(chan int32, 1), make(chan struct{}, 10)
		done := make(chan struct{})
		other := g.thread(func(g *guest) {
			g.onSignal = func(signal.Info) {
				byOther.Add(1)
				seen <- struct{}{}
			}
			g.unblock(sig)
			ids <- g.gettid()
			for {
				select {
				case <-done:
					g.exit(0)
				default:
					g.spin()
				}
			}
		})
		if id := <-ids; id != other {
			t.Errorf("clone said %d, gettid %d", other, id)
		}
		for range 3 {
			g.kill(g.getpid(), sig) // the other one computes, and must be interrupted
			<-seen
		}
		// A signal to a thread waits for that thread.
		g.tkill(g.gettid(), sig)
		g.eventually("it is pending", func(tk *Task) bool { own, _ := tk.PendingSignals(); return own.Has(sig) })
		if byMain.Load() != 0 || byOther.Load() != 3 {
			t.Errorf("handled %d and %d times", byMain.Load(), byOther.Load())
		}
		g.unblock(sig)
		g.getpid()
		if byMain.Load() != 1 {
			t.Errorf("handled %d times after it was unblocked", byMain.Load())
		}
		g.block(sig)
		close(done)
		g.tkill(other, sig)
		g.eventually("the thread has ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		if err := g.tkill(other, sig); err != unix.ESRCH {
			t.Errorf("signal to a thread that has ended: %v", err)
		}
	})
}

// TestSignalPassesOn: the first thread is chosen for a signal, and then blocks it or ends; it
// must leave it to another one, which computes.
func TestSignalPassesOn(t *testing.T) {
	for name, instead := range map[string]func(tk *Task){
		"blocks it": func(tk *Task) { tk.SetSignalMask(signal.SetOf(unix.SIGUSR1)) },
		"ends":      func(tk *Task) { tk.Exit(0) },
		"handles another that blocks it": func(tk *Task) {
			info := signal.KernelInfo(unix.SIGUSR2)
			tk.SendSignal(&info)
		},
	} {
		s := newMachine(t).run(0, func(g *guest) {
			ready := make(chan struct{})
			g.catch(0, func(signal.Info) { g.sleep() }, unix.SIGUSR1)
			g.action(unix.SIGUSR2, signal.Action{Handler: 0x1000, Mask: signal.SetOf(unix.SIGUSR1)})
			g.thread(func(g *guest) {
				g.onSignal = func(signal.Info) { g.exitGroup(3) }
				close(ready)
				g.spinForever()
			})
			<-ready
			g.eventually("it computes", func(tk *Task) bool {
				tk.k.tree.RLock()
				defer tk.k.tree.RUnlock()
				return meterMode(tk.tg.tasks[1].meter.stamp.Load()) == cpuUser
			})
			g.do(func(tk *Task) error {
				info := signal.KernelInfo(unix.SIGUSR1)
				tk.tg.SendSignal(&info)
				instead(tk)
				return nil
			})
			idle(g)
		})
		if s.Code != 3 {
			t.Errorf("%s: ended with %+v", name, s)
		}
	}
}

func TestSigwait(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.block(unix.SIGUSR1, unix.SIGUSR2, 40)
		child := g.fork(func(g *guest) {
			for _, v := range []uint64{1, 2} {
				g.do(func(tk *Task) error {
					info := tk.senderInfo(40, signal.CodeQueue, tk.tg.parent.leader)
					info.Value = v
					return tk.Kill(tk.PPID(), 40, &info)
				})
			}
			g.kill(g.getppid(), unix.SIGUSR1)
			g.kill(g.getppid(), unix.SIGUSR1)
			idle(g)
		})
		for _, want := range []struct {
			sig   signal.Signal
			value uint64
		}{{40, 1}, {40, 2}, {unix.SIGUSR1, 0}} {
			info, err := g.sigwait(want.sig)
			if err != nil || info.Signo != want.sig || info.Value != want.value || info.PID != child {
				t.Errorf("got %+v, %v, want %+v", info, err, want)
			}
		}
		short := func(d time.Duration) error {
			_, err := g.call(func(tk *Task) (uint64, error) {
				_, err := tk.WaitSignal(signal.SetOf(unix.SIGUSR2), d)
				return 0, err
			})
			return err
		}
		for _, d := range []time.Duration{0, time.Millisecond} {
			if err := short(d); err != unix.EAGAIN {
				t.Errorf("nothing for %v: %v", d, err)
			}
		}
		// What it waited for does not end later calls.
		g.kill(g.getpid(), unix.SIGUSR2)
		g.do(func(tk *Task) error {
			if err := tk.BlockFor(nil, 5*time.Millisecond); err != unix.ETIMEDOUT {
				t.Errorf("a sleep with a blocked signal pending: %v", err)
			}
			return nil
		})
		g.catch(signal.FlagRestart, nil, unix.SIGALRM)
		g.sigwait(unix.SIGUSR2)
		g.do(func(tk *Task) error {
			go func() {
				for runState(tk.state.Load()) != sleeping {
					time.Sleep(time.Millisecond)
				}
				info := signal.KernelInfo(unix.SIGALRM)
				tk.tg.SendSignal(&info)
			}()
			return nil
		})
		if err := short(time.Minute); err != unix.EINTR {
			t.Errorf("another signal: %v", err)
		}
		g.kill(child, unix.SIGKILL)
		g.reap(child)
	})
}

// TestSigwaitByThread: a signal that all threads block goes to the one that waits for it.
func TestSigwaitByThread(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.block(unix.SIGUSR1)
		got := make(chan error, 1)
		ready := make(chan struct{})
		g.thread(func(g *guest) {
			close(ready)
			_, err := g.sigwait(unix.SIGUSR1)
			got <- err
			g.exit(0)
		})
		<-ready
		g.kill(g.getpid(), unix.SIGUSR1)
		if err := <-got; err != nil {
			t.Errorf("sigwait: %v", err)
		}
	})
}

func TestSigPendingLimit(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(0, limits.SigPending, limits.Limit{Soft: 3, Hard: 3})
			return err
		})
		g.block(40, unix.SIGUSR1, unix.SIGUSR2)
		queue := func(sig signal.Signal) error {
			_, err := g.call(func(tk *Task) (uint64, error) {
				info := signal.Info{Signo: sig, Code: signal.CodeQueue}
				return 0, tk.Kill(tk.TGID(), sig, &info)
			})
			return err
		}
		for i, want := range []error{nil, nil, nil, unix.EAGAIN} {
			if err := queue(40); err != want {
				t.Errorf("signal %d: %v, want %v", i, err, want)
			}
		}
		if err := g.kill(g.getpid(), unix.SIGUSR1); err != nil {
			t.Errorf("a standard signal at the limit: %v", err)
		}
		g.sigwait(40)
		if err := queue(40); err != unix.EAGAIN {
			t.Errorf("after one was taken, with two and a standard one left: %v", err)
		}
		g.sigwait(40)
		if err := queue(40); err != nil {
			t.Errorf("after two were taken: %v", err)
		}
		// What a thread leaves pending is given back: by a thread, and by a leader.
		ready := make(chan struct{})
		id := g.fork(func(g *guest) {
			g.thread(func(g *guest) {
				g.tkill(g.gettid(), unix.SIGUSR2)
				g.exit(0)
			})
			g.tkill(g.gettid(), unix.SIGUSR2)
			close(ready)
			g.exit(0)
		})
		<-ready
		g.expectExit(id, ExitStatus{})
		m.k.users.mu.Lock()
		defer m.k.users.mu.Unlock()
		if n := m.k.users.queued; n != 3 {
			t.Errorf("%d signals are counted", n)
		}
	})
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(g *guest)
		want  ExitStatus
	}{
		{"default", func(*guest) {}, ExitStatus{Signal: unix.SIGSEGV}},
		{"ignored", func(g *guest) { g.ignore(unix.SIGSEGV) }, ExitStatus{Signal: unix.SIGSEGV}},
		{"blocked", func(g *guest) {
			g.catch(0, nil, unix.SIGSEGV)
			g.block(unix.SIGSEGV)
		}, ExitStatus{Signal: unix.SIGSEGV}},
		{"caught", func(g *guest) { g.catch(0, func(signal.Info) { g.exitGroup(9) }, unix.SIGSEGV) }, ExitStatus{Code: 9}},
	} {
		newMachine(t).run(0, func(g *guest) {
			g.expectExit(g.fork(func(g *guest) {
				c.setup(g)
				g.do(func(tk *Task) error { tk.ForceSegv(); return nil })
				t.Errorf("%s: the guest goes on", c.name)
			}), c.want)
			// An init obeys its own faults.
			id, err := g.clone(func(g *guest) {
				c.setup(g)
				g.do(func(tk *Task) error { tk.ForceSegv(); return nil })
				t.Errorf("%s: the init goes on", c.name)
			}, ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
			if err != nil {
				t.Error(err)
			}
			g.expectExit(id, c.want)
		})
	}
}
