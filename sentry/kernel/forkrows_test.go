package kernel

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// TestFork shows the rows of fork that no guest program can see, or not all of them; test/FORK.md has the list.
func TestFork(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"N02_ceiling_on_all", testTableFull},
		{"N03_policy_past_the_limit", testPastLimit},
		{"N04_nothing_fails_after_the_commit", testForkFailures},
		{"N12_to_init_at_birth", testToInit},
		{"N14_born_stopped", testBornStopped},
		{"N22_exec_waits_for_a_fork", testExecWaitsForFork},
		{"N21_hook_before_visible", testForkChildUnseen},
		{"F15_kernel_process_returns", testKernelProcess},
		{"F03_last_slot", testLastSlot},
		{"F07_random_steps", testRandomSteps},
		{"F08_high_pids", testHighPIDs},
		{"I02_wait_by_id", testWaitByID},
		{"I05_refused_without_privilege", testMayFork},
		{"I06_errors", testForkErrors},
		{"I07_brake", testBrake},
		{"I08_rings", testRings},
		{"I12_stops_during_vfork", testStopsDuringVfork},
		{"I14_references_dropped_again", testForkFailures},
		{"I15_child_first", testChildFirst},
		{"I16_shutdown", testShutdown},
		{"I18_vfork_holds_threads", testVforkHolds},
		{"I22_floor_of_memory", testFloor},
		{"C04_failures_leave_nothing", testForkFailures},
		{"C04_under_load", testForkFailuresUnderLoad},
	} {
		t.Run(row.name, row.test)
	}
}

// try forks once and ends the child. It returns how long the fork took.
func (g *guest) try(a ForkArgs) (time.Duration, error) {
	a.ExitSignal = unix.SIGCHLD
	began := time.Now()
	id, err := g.clone(exits(0), a)
	took := time.Since(began)
	if err == nil {
		g.reap(id)
	}
	return took, err
}

func (g *guest) expectFork(what string, want error) {
	if _, err := g.try(ForkArgs{}); err != want {
		g.test.Errorf("%s: fork %s: %v, want %v", caller(), what, err, want)
	}
}

// become makes the guest an ordinary user.
func (g *guest) become(uid cred.UID) {
	g.do(func(tk *Task) error {
		c := tk.Creds().Copy()
		c.RUID, c.EUID, c.SUID, c.FSUID, c.Effective, c.Permitted = uid, uid, uid, uid, 0, 0
		tk.SetCreds(c)
		return nil
	})
}

func testLastSlot(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.knobs.table.Store(2)
		g.expectFork("of root into the last slot", nil)
		m.k.knobs.table.Store(1)
		g.expectFork("of root into a full table", unix.EAGAIN)
		m.k.knobs.table.Store(2)
		g.become(1000)
		g.expectFork("of a user into the last slot", unix.EAGAIN)
		m.k.knobs.table.Store(3)
		g.expectFork("of a user into the last but one", nil)
	})
}

func testTableFull(t *testing.T) {
	m := newMachine(t)
	var log bytes.Buffer
	m.k.log.Logger.SetOutput(&log)
	said := func() int { return strings.Count(log.String(), "process table is full") }
	m.run(0, func(g *guest) {
		m.k.knobs.table.Store(1)
		for range 5 {
			g.expectFork("into a full table", unix.EAGAIN)
		}
		if n := said(); n != 1 {
			t.Errorf("%d messages at once", n)
		}
		m.k.refusals.told.Add(-int64(tableMessageEvery))
		g.expectFork("into a full table", unix.EAGAIN)
		if n := said(); n != 2 {
			t.Errorf("%d messages, the last one 10 s later", n)
		}
		m.k.knobs.failSleep.Store(50)
		if took, err := g.try(ForkArgs{}); err != unix.EAGAIN || took < 50*time.Millisecond {
			t.Errorf("with a penalty: %v, %v", took, err)
		}
		m.k.knobs.table.Store(maxTasks)
		asked := 0
		m.k.policy.Tasks = func(_ *cred.Credentials, n int) bool { asked = n; return false }
		if took, err := g.try(ForkArgs{}); err != unix.EAGAIN || took < 50*time.Millisecond || asked != 2 {
			t.Errorf("by policy: %v, %v, asked for %d tasks", took, err, asked)
		}
		m.k.policy.Tasks = nil
		if took, err := g.try(ForkArgs{}); err != nil || took > 50*time.Millisecond {
			t.Logf("with room: %v, %v", took, err)
		}
	})
}

func testPastLimit(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(0, limits.NProc, limits.Limit{Soft: 1, Hard: 1})
			return err
		})
		g.expectFork("over the limit", unix.EAGAIN)
		m.k.policy.PastLimit = func(c *cred.Credentials) bool { return c.RUID == 1000 }
		g.expectFork("past the limit", nil)
	})
}

func testRings(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.whole.SetTaskLimit(1)
		g.expectFork("of root in a full container", unix.EAGAIN)
		m.k.whole.SetTaskLimit(2)
		g.expectFork("of root with room", nil)
		g.become(1000)
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(0, limits.NProc, limits.Limit{Soft: 1, Hard: 1})
			return err
		})
		g.expectFork("of a user over its limit", unix.EAGAIN)
	})
}

func testMayFork(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		m.k.policy.MayFork = func(c *cred.Credentials) bool { return c.RUID != 1000 }
		g.expectFork("without the privilege", unix.EPERM)
		m.k.policy.MayFork = nil
		g.expectFork("with it", nil)
	})
}

// testForkErrors: no address space is ENOMEM, no slot and no number are EAGAIN, and the parent
// goes on forking.
func testForkErrors(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.failSpaces.Store(true)
		g.expectFork("without address space", unix.ENOMEM)
		m.failSpaces.Store(false)
		g.do(func(*Task) error { m.locked(func() { m.k.rootPIDNS.max = 3 }); return nil })
		g.expectFork("without number", unix.EAGAIN)
		g.do(func(*Task) error { m.locked(func() { m.k.rootPIDNS.max = defaultPIDMax }); return nil })
		g.expectFork("after all that", nil)
	})
}

func testBrake(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.knobs.table.Store(1)
		if took, err := g.try(ForkArgs{}); err != unix.EAGAIN || took > 5*time.Second {
			t.Errorf("without the brake: %v, %v", took, err)
		}
		m.k.knobs.brake.Store(1)
		for _, others := range []int64{0, 10} {
			m.k.refusals.waiting.Store(others * int64(runtime.NumCPU()))
			least := time.Duration(others+1) * brakeStep
			if took, err := g.try(ForkArgs{}); err != unix.EAGAIN || took < least {
				t.Errorf("with %d others a processor: %v, %v, want at least %v", others, took, err, least)
			}
		}
	})
}

func testFloor(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.knobs.brake.Store(1)
		m.k.refusals.waiting.Store(1000)
		m.k.knobs.freeFloor.Store(1 << 20) // 1 GiB: all there is
		if took, err := g.try(ForkArgs{}); err != unix.EAGAIN || took > 3*time.Second {
			t.Errorf("below the floor: %v, %v", took, err)
		}
		m.k.knobs.freeFloor.Store(1 << 10)
		g.expectFork("above the floor", nil)
	})
}

func testShutdown(t *testing.T) {
	m := newMachine(t)
	m.k.knobs.brake.Store(1)
	m.run(0, func(g *guest) {
		g.call(func(tk *Task) (uint64, error) {
			m.k.refusals.waiting.Store(10000)
			m.k.finish(ExitStatus{Code: 3}, nil)
			if _, err := tk.Fork(&ForkArgs{ExitSignal: unix.SIGCHLD}); err != unix.EAGAIN {
				t.Errorf("fork during the shutdown: %v", err)
			}
			return 0, nil
		})
	})
}

func testToInit(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		parent := make(chan int32, 1)
		id, err := g.clone(func(g *guest) { parent <- g.getppid() }, ForkArgs{ToInit: true, ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Error(err)
		}
		if p := <-parent; p != 1 {
			t.Errorf("the child's parent is %d", p)
		}
		if r, err := g.wait(WaitArgs{Kind: WaitPID, ID: id, Exited: true, All: true}); err != unix.ECHILD {
			t.Errorf("wait for another's child: %+v, %v", r, err)
		}
		g.eventually("init has reaped it", func(*Task) bool { return g.test.exited(id) })
	})
}

func testWaitByID(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		id, err := g.clone(exits(6), ForkArgs{WaitByID: true})
		if err != nil {
			t.Error(err)
		}
		g.eventually("it has ended", func(*Task) bool { return g.test.exited(id) })
		for _, a := range []WaitArgs{{Kind: WaitAny}, {Kind: WaitGroup}} {
			a.Exited, a.All = true, true
			if r, err := g.wait(a); err != unix.ECHILD {
				t.Errorf("another wait: %+v, %v", r, err)
			}
		}
		g.expectExit(id, ExitStatus{Code: 6})
	})
}

func testBornStopped(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var ran atomic.Bool
		p := g.fork(func(g *guest) {
			g.do(func(tk *Task) error { tk.tg.stopForks.Store(true); return nil })
			child := g.fork(func(g *guest) {
				ran.Store(true)
				grandchild := g.fork(exits(0))
				if r, err := g.waitStopped(grandchild); err != nil || r.Code != signal.CldStopped {
					t.Errorf("the mark is not inherited: %+v, %v", r, err)
				}
				g.kill(grandchild, unix.SIGCONT)
				g.reap(grandchild)
			})
			if r, err := g.waitStopped(child); err != nil || r.PID != child || r.Code != signal.CldStopped || r.Status != int32(unix.SIGSTOP) {
				t.Errorf("the child was born as %+v, %v", r, err)
			}
			if ran.Load() {
				t.Error("the child has run")
			}
			g.kill(child, unix.SIGCONT)
			if r, err := g.waitContinued(child); err != nil || r.Code != signal.CldContinued {
				t.Errorf("continued: %+v, %v", r, err)
			}
			g.expectExit(child, ExitStatus{})
			killed := g.fork(exits(0))
			g.kill(killed, unix.SIGKILL)
			g.expectExit(killed, ExitStatus{Signal: unix.SIGKILL})
		})
		g.expectExit(p, ExitStatus{})
	})
}

// testExecWaitsForFork: an exec ends the other threads, and so waits for one that forks.
func testExecWaitsForFork(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		id := g.fork(func(g *guest) {
			forking := make(chan struct{})
			var forked atomic.Bool
			g.thread(func(g *guest) {
				g.call(func(tk *Task) (uint64, error) {
					m.k.forkFault = func(step int) error {
						if step == 3 {
							close(forking)
							time.Sleep(20 * time.Millisecond)
							forked.Store(true)
						}
						return nil
					}
					defer func() { m.k.forkFault = nil }()
					id, err := tk.Fork(&ForkArgs{})
					if err != ERESTARTNOINTR {
						t.Errorf("the fork of a dying thread: %d, %v", id, err)
					}
					return 0, err
				})
			})
			<-forking
			g.exec(func(g *guest) {
				if !forked.Load() {
					t.Error("exec did not wait for the fork")
				}
			})
		})
		g.expectExit(id, ExitStatus{})
	})
}

func testRandomSteps(t *testing.T) {
	for n, want := range map[int64]int64{
		-1: maxStep, defaultPIDMax: maxStep, maxStep + 1: maxStep, maxStep: maxStep, 0: 0, 1: 0, 2: leastStep, 99: leastStep, 100: 100, 5000: 5000,
	} {
		if got, err := clampStep(n); got != want || err != nil {
			t.Errorf("%d becomes %d, %v", n, got, err)
		}
	}
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.knobs.randomStep.Store(1000)
		last, sum := g.getpid(), int32(0)
		for range 50 {
			id := g.fork(exits(0))
			if id <= last || id > last+1000 {
				t.Errorf("number %d follows %d", id, last)
			}
			sum += id - last
			last = id
			g.reap(id)
		}
		if sum < 50*100 {
			t.Errorf("50 random steps go %d far", sum)
		}
	})
}

func testHighPIDs(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		for _, want := range []int32{highPID, highPID + 1} {
			id, err := g.clone(idle, ForkArgs{HighPID: true, ExitSignal: unix.SIGCHLD})
			if id != want || err != nil {
				t.Errorf("a high number: %d, %v, want %d", id, err, want)
			}
			defer func() {
				g.kill(id, unix.SIGKILL)
				g.reap(id)
			}()
		}
		if id := g.fork(exits(0)); id != 3 {
			t.Errorf("the next ordinary number is %d", id)
		} else {
			g.reap(id)
		}
	})
}

// testChildFirst: what the child does before its first call is done when fork returns.
func testChildFirst(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.k.knobs.childFirst.Store(1)
		for range 20 {
			var ran atomic.Bool
			id := g.fork(func(g *guest) {
				time.Sleep(2 * time.Millisecond)
				ran.Store(true)
			})
			if !ran.Load() {
				t.Error("the parent went on before its child began")
			}
			g.reap(id)
		}
	})
}

// testStopsDuringVfork: a parent that waits for its vforked child, all its threads held, can be
// stopped and continued; a signal is for later.
func testStopsDuringVfork(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var done, caught atomic.Bool
		child := make(chan int32, 1)
		p := g.fork(func(g *guest) {
			g.catch(0, func(signal.Info) { caught.Store(true) }, unix.SIGUSR1)
			g.thread((*guest).spinForever)
			id, err := g.clone(func(g *guest) {
				child <- g.getpid()
				idle(g)
			}, ForkArgs{Vfork: true, HoldProcess: true, ClearActions: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
			done.Store(true)
			if err != nil {
				t.Errorf("vfork: %v", err)
			}
			g.reap(id)
			g.exitGroup(9)
		})
		c := <-child
		for range 3 {
			g.kill(p, unix.SIGSTOP)
			if r, err := g.waitStopped(p); err != nil || r.Code != signal.CldStopped {
				t.Errorf("stop: %+v, %v", r, err)
			}
			g.kill(p, unix.SIGCONT)
			if r, err := g.waitContinued(p); err != nil || r.Code != signal.CldContinued {
				t.Errorf("continue: %+v, %v", r, err)
			}
		}
		g.kill(p, unix.SIGUSR1)
		time.Sleep(10 * time.Millisecond)
		if done.Load() || caught.Load() {
			t.Error("a signal ended the wait for a vforked child")
		}
		g.kill(c, unix.SIGKILL)
		g.expectExit(p, ExitStatus{Code: 9})
		if !caught.Load() {
			t.Error("the signal was lost")
		}
	})
}

// testVforkHolds: while the child has the memory, no thread of the parent runs.
func testVforkHolds(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var beats atomic.Int64
		id := g.fork(func(g *guest) {
			for range 3 {
				g.thread(func(g *guest) {
					for {
						beats.Add(1)
						g.call(func(tk *Task) (uint64, error) { return 0, tk.BlockFor(nil, time.Millisecond) })
					}
				})
			}
			for range 5 {
				id, err := g.clone(func(g *guest) {
					before := beats.Load()
					time.Sleep(10 * time.Millisecond)
					if n := beats.Load(); n != before {
						t.Errorf("%d beats of the parent's threads", n-before)
					}
				}, ForkArgs{Vfork: true, HoldProcess: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
				if err != nil {
					t.Errorf("vfork: %v", err)
				}
				g.reap(id)
				before := beats.Load()
				g.eventually("the threads go on", func(*Task) bool { return beats.Load() > before })
			}
			g.exitGroup(0)
		})
		g.expectExit(id, ExitStatus{})
	})
}
