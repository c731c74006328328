package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// idle sleeps until it is killed.
func idle(g *guest) {
	for {
		g.sleep()
	}
}

func exits(code int32) script { return func(g *guest) { g.exitGroup(code) } }

func TestExitStatus(t *testing.T) {
	if s := newMachine(t).run(0, exits(7)); s != (ExitStatus{Code: 7}) {
		t.Errorf("ended with %+v", s)
	}
}

func TestForkTree(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var kids []int32
		for i := range int32(5) {
			kids = append(kids, g.fork(func(g *guest) {
				var grandkids []int32
				for j := range int32(3) {
					grandkids = append(grandkids, g.fork(exits(10*j)))
				}
				for j, id := range grandkids {
					g.expectExit(id, ExitStatus{Code: 10 * int32(j)})
				}
				g.exitGroup(i)
			}))
		}
		for i, id := range kids {
			g.expectExit(id, ExitStatus{Code: int32(i)})
		}
		if _, err := g.wait(WaitArgs{Exited: true}); err != unix.ECHILD {
			t.Errorf("wait without children: %v", err)
		}
	})
}

func TestForkArgsValidate(t *testing.T) {
	for _, c := range []struct {
		share Share
		fresh Fresh
		other func(*ForkArgs)
		ok    bool
	}{
		{ok: true},
		{share: threadShare, ok: true},
		{share: ShareThread},
		{share: ShareThread | ShareActions},
		{share: ShareActions},
		{share: ShareActions | ShareMM, ok: true},
		{share: ShareActions | ShareMM, other: func(a *ForkArgs) { a.ClearActions = true }},
		{other: func(a *ForkArgs) { a.ClearActions = true }, ok: true},
		{share: ShareFiles, other: func(a *ForkArgs) { a.CleanFiles = true }},
		{share: threadShare, fresh: FreshPID},
		{share: ShareParent, fresh: FreshPID, ok: true},
		{fresh: FreshPID | FreshUTS, ok: true},
		{share: ShareMM, fresh: FreshTime, ok: true},
	} {
		a := ForkArgs{Share: c.share, Fresh: c.fresh}
		if c.other != nil {
			c.other(&a)
		}
		if err := a.validate(); (err == nil) != c.ok || err != nil && err != unix.EINVAL {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestVforkWaitsForChild(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var released atomic.Bool
		id, err := g.clone(func(g *guest) {
			time.Sleep(20 * time.Millisecond)
			released.Store(true)
			if err := g.exec(exits(3)); err != nil {
				t.Errorf("exec: %v", err)
			}
		}, ForkArgs{Vfork: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
		if err != nil || !released.Load() {
			t.Errorf("vfork returned %v before the child let go: %v", err, !released.Load())
		}
		g.expectExit(id, ExitStatus{Code: 3})
	})
}

// TestVforkParentKilled kills a parent that waits for its vforked child. A signal that it catches waits.
func TestVforkParentKilled(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		began := make(chan int32, 1)
		p := g.fork(func(g *guest) {
			g.catch(0, func(signal.Info) {}, unix.SIGTERM)
			g.clone(func(g *guest) {
				began <- g.getpid()
				idle(g)
			}, ForkArgs{Vfork: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
			t.Error("vfork returned")
		})
		child := <-began
		g.kill(p, unix.SIGTERM)
		if r, err := g.wait(WaitArgs{Exited: true, NoHang: true}); r.PID != 0 || err != nil {
			t.Errorf("SIGTERM ended a parent in vfork: %+v, %v", r, err)
		}
		g.kill(p, unix.SIGUSR1)
		g.expectExit(p, ExitStatus{Signal: unix.SIGUSR1})
		g.kill(child, unix.SIGKILL)
	})
}

func TestCloneParentIsSibling(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		me := g.getpid()
		var sibling atomic.Int32
		p := g.fork(func(g *guest) {
			id, err := g.clone(func(g *guest) {
				if got := g.getppid(); got != me {
					t.Errorf("the sibling's parent is %d, want %d", got, me)
				}
				g.exitGroup(4)
			}, ForkArgs{Share: ShareParent, ExitSignal: unix.SIGUSR1})
			if err != nil {
				t.Errorf("clone: %v", err)
			}
			sibling.Store(id)
		})
		g.expectExit(p, ExitStatus{})
		g.expectExit(sibling.Load(), ExitStatus{Code: 4})
	})
}

// TestForkYieldsToSignals: a child made after a signal to the group came, but before
// its parent saw it, would miss the signal.
func TestForkYieldsToSignals(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		var order []string
		g.catch(0, func(signal.Info) { order = append(order, "signal") }, unix.SIGUSR1)
		id := g.test.number(exits(0))
		tries := 0
		pid, err := g.call(func(tk *Task) (uint64, error) {
			if tries++; tries == 1 {
				tk.SendSelf(unix.SIGUSR1)
			}
			id, err := tk.Fork(&ForkArgs{Stack: id, ExitSignal: unix.SIGCHLD})
			if err == nil {
				order = append(order, "fork")
			}
			return uint64(id), err
		})
		if err != nil || len(order) != 2 || order[0] != "signal" {
			t.Errorf("in order %v, %v", order, err)
		}
		g.reap(int32(pid))
	})
}

// TestFailedForksLeaveNothing makes fork fail at each step where the guest can make
// it fail, and compares the counts before and after.
func TestFailedForksLeaveNothing(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		type counts struct {
			users, tasks, ids, fds, mmUsers int
			contexts                        int64
		}
		count := func(tk *Task) (c counts) {
			m.locked(func() { c.ids = len(m.k.rootPIDNS.ids) })
			m.k.users.mu.Lock()
			defer m.k.users.mu.Unlock()
			c.users, c.tasks = len(m.k.users.users), m.k.users.tasks
			for _, w := range tk.FDs().slots.used {
				for ; w != 0; w &= w - 1 {
					c.fds++
				}
			}
			c.mmUsers, c.contexts = int(tk.MM().Users()), m.contexts.Load()
			return c
		}
		limit := func(tk *Task, r limits.Resource, soft uint64) {
			l := tk.Limits().Get(r)
			if _, err := tk.Limits().Set(r, limits.Limit{Soft: soft, Hard: l.Hard}, false); err != nil {
				t.Error(err)
			}
		}
		for _, c := range []struct {
			name  string
			args  ForkArgs
			spoil func(tk *Task) (mend func())
			want  error
		}{
			{"too many", ForkArgs{}, func(tk *Task) func() {
				limit(tk, limits.NProc, 1)
				return func() { limit(tk, limits.NProc, 100) }
			}, unix.EAGAIN},
			{"no number", ForkArgs{}, func(tk *Task) func() {
				tk.k.rootPIDNS.max = 3
				return func() { tk.k.rootPIDNS.max = defaultPIDMax }
			}, unix.EAGAIN},
			{"no address space", ForkArgs{}, func(*Task) func() {
				m.failSpaces.Store(true)
				return func() { m.failSpaces.Store(false) }
			}, unix.ENOMEM},
			{"no descriptor", ForkArgs{WantPIDFD: true}, func(tk *Task) func() {
				limit(tk, limits.NoFile, 0)
				return func() { limit(tk, limits.NoFile, 100) }
			}, unix.EMFILE},
			{"nowhere for the pidfd", ForkArgs{WantPIDFD: true, PIDFD: 8}, nil, unix.EFAULT},
			{"namespace of a user", ForkArgs{Fresh: FreshPID}, nil, unix.EPERM},
			{"numbers of a user", ForkArgs{SetTID: []int32{77}}, nil, unix.EPERM},
			{"dying namespace", ForkArgs{}, func(tk *Task) func() {
				m.locked(func() { tk.k.rootPIDNS.dying = true })
				return func() { m.locked(func() { tk.k.rootPIDNS.dying = false }) }
			}, unix.ENOMEM},
		} {
			g.do(func(tk *Task) error {
				before := count(tk)
				if c.spoil != nil {
					defer c.spoil(tk)()
				}
				if id, err := tk.Fork(&c.args); err != c.want {
					t.Errorf("%s: %d, %v, want %v", c.name, id, err, c.want)
				}
				if after := count(tk); after != before {
					t.Errorf("%s: %+v before, %+v after", c.name, before, after)
				}
				return nil
			})
		}
		g.expectExit(g.fork(exits(1)), ExitStatus{Code: 1})
	})
}

// TestExitGroupRacesClone ends a process while one of its threads makes others: no
// thread may survive.
func TestExitGroupRacesClone(t *testing.T) {
	for range 30 {
		newMachine(t).run(0, func(g *guest) {
			id := g.fork(func(g *guest) {
				g.thread(func(g *guest) {
					for {
						if _, err := g.clone((*guest).spinForever, ForkArgs{Share: threadShare}); err != nil {
							t.Errorf("clone: %v", err)
						}
					}
				})
				time.Sleep(time.Millisecond)
				g.exitGroup(5)
			})
			g.expectExit(id, ExitStatus{Code: 5})
		})
	}
}

func TestNProcCounts(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(0, limits.NProc, limits.Limit{Soft: 4, Hard: 100})
			return err
		})
		var kids []int32
		for range 2 {
			kids = append(kids, g.fork(idle))
		}
		stop := make(chan struct{})
		g.thread(func(g *guest) {
			g.sleepOn(stop)
			g.exit(0)
		})
		for _, share := range []Share{0, threadShare} {
			if _, err := g.clone(idle, ForkArgs{Share: share, ExitSignal: unix.SIGCHLD}); err != unix.EAGAIN {
				t.Errorf("a fifth task, share %#x: %v", share, err)
			}
		}
		close(stop)
		g.eventually("the thread has ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		kids = append(kids, g.fork(exits(0)))
		g.reap(kids[2])
		for _, id := range kids[:2] {
			g.kill(id, unix.SIGKILL)
			g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
		}
	})
	m = newMachine(t)
	m.run(0, func(g *guest) {
		g.do(func(tk *Task) error {
			_, err := tk.SetLimitOf(0, limits.NProc, limits.Limit{Soft: 1, Hard: 1})
			return err
		})
		g.reap(g.fork(exits(0)))
		// A task counts for the user that it becomes.
		g.do(func(tk *Task) error {
			c := tk.Creds().Copy()
			c.RUID, c.EUID, c.SUID, c.Effective, c.Permitted = 5, 5, 5, 0, 0
			tk.SetCreds(c)
			return nil
		})
		if _, err := g.clone(idle, ForkArgs{ExitSignal: unix.SIGCHLD}); err != unix.EAGAIN {
			t.Errorf("fork of a user at the limit: %v", err)
		}
	})
}
