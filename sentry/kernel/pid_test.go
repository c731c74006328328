package kernel

import (
	"testing"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func TestPIDsWrapAndAreReused(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		m.locked(func() { m.k.rootPIDNS.max = 310 })
		kept := g.fork(idle)
		seen := map[int32]int{}
		last := kept
		for i := range 400 {
			id := g.fork(exits(0))
			if seen[id]++; id == kept || id == g.getpid() || id >= 310 || i > 310 && id < reservedPIDs {
				t.Errorf("fork %d got number %d", i, id)
			}
			if id < last && id != reservedPIDs {
				t.Errorf("number %d follows %d", id, last)
			}
			last = id
			g.reap(id)
		}
		if seen[305] < 5 {
			t.Errorf("number 305 was used %d times", seen[305])
		}
		g.kill(kept, unix.SIGKILL)
		g.reap(kept)
	})
}

// TestPIDOfGroupIsNotReused: the number of a dead process stays taken while it names a group.
func TestPIDOfGroupIsNotReused(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		leader := g.fork(idle)
		member := g.fork(idle)
		g.do(func(tk *Task) error { return tk.SetPGID(leader, 0) })
		g.do(func(tk *Task) error { return tk.SetPGID(member, leader) })
		g.kill(leader, unix.SIGKILL)
		g.expectExit(leader, ExitStatus{Signal: unix.SIGKILL})
		m.locked(func() {
			m.k.rootPIDNS.last = leader - 1
			if p := m.k.rootPIDNS.ids[leader]; p == nil || p.tg != nil || p.task != nil || p.group == nil {
				t.Errorf("the identity of the group is %+v", p)
			}
		})
		if id := g.fork(exits(0)); id == leader {
			t.Error("the group's number was given to a process")
		} else {
			g.reap(id)
		}
		if err := g.kill(leader, 0); err != unix.ESRCH {
			t.Errorf("kill of a number that only names a group: %v", err)
		}
		if err := g.kill(-leader, unix.SIGKILL); err != nil {
			t.Errorf("kill of the group: %v", err)
		}
		g.expectExit(member, ExitStatus{Signal: unix.SIGKILL})
		m.locked(func() {
			if m.k.rootPIDNS.ids[leader] != nil {
				t.Error("the number is still taken")
			}
		})
	})
}

func TestSetTID(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		clone := func(want ...int32) (int32, error) {
			return g.clone(exits(0), ForkArgs{ExitSignal: unix.SIGCHLD, SetTID: want})
		}
		if id, err := clone(777); id != 777 || err != nil {
			t.Errorf("number 777: %d, %v", id, err)
		}
		if _, err := clone(777); err != unix.EEXIST {
			t.Errorf("a number that a zombie has: %v", err)
		}
		g.reap(777)
		if id, err := clone(777); id != 777 || err != nil {
			t.Errorf("number 777 again: %d, %v", id, err)
		}
		g.reap(777)
		for _, bad := range [][]int32{{0}, {-1}, {defaultPIDMax}, {5, 6}} {
			if _, err := clone(bad...); err != unix.EINVAL {
				t.Errorf("numbers %v: %v", bad, err)
			}
		}
	})
}

func TestPIDNamespace(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.do(func(tk *Task) error { tk.k.rootPIDNS.last = 50; return nil })
		outsider := g.fork(idle)
		inside := make(chan int32, 1)
		init, err := g.clone(func(g *guest) {
			if id, parent := g.getpid(), g.getppid(); id != 1 || parent != 0 {
				t.Errorf("init has number %d and parent %d", id, parent)
			}
			child := g.fork(func(g *guest) {
				if id, parent := g.getpid(), g.getppid(); id != 2 || parent != 1 {
					t.Errorf("its child has number %d and parent %d", id, parent)
				}
				if err := g.kill(outsider, 0); err != unix.ESRCH {
					t.Errorf("kill of a process outside: %v", err)
				}
				// The init does not obey its own namespace, but for handlers.
				for _, sig := range []signal.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGSTOP, unix.SIGSEGV} {
					if err := g.kill(1, sig); err != nil {
						t.Errorf("signal %v to init: %v", sig, err)
					}
				}
				g.exitGroup(0)
			})
			g.expectExit(child, ExitStatus{})
			// What it blocks is kept for it all the same, and dropped in the end.
			g.block(unix.SIGTERM)
			g.kill(1, unix.SIGTERM)
			if _, group := pendingOf(g); group != signal.SetOf(unix.SIGTERM) {
				t.Errorf("pending %#x", group)
			}
			g.unblock(unix.SIGTERM)
			inside <- g.fork(idle)
			nested, err := g.clone(func(g *guest) {
				g.fork(idle)
				idle(g)
			}, ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
			if nested != 4 || err != nil {
				t.Errorf("a nested namespace: %d, %v", nested, err)
			}
			idle(g)
		}, ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Errorf("new namespace: %v", err)
		}
		if id := <-inside; id != 3 {
			t.Errorf("the second child of init has number %d", id)
		}
		g.kill(outsider, unix.SIGKILL)
		g.reap(outsider)
		g.eventually("the nested namespace has two processes", func(tk *Task) bool {
			tk.k.tree.RLock()
			defer tk.k.tree.RUnlock()
			return tk.k.rootPIDNS.tasks == 6 // kernel's init, this, two inits, two children
		})
		g.kill(init, unix.SIGTERM)
		g.getpid()
		if g.test.exited(init) {
			t.Error("SIGTERM from outside ended an init that has no handler for it")
		}
		g.kill(init, unix.SIGKILL)
		g.expectExit(init, ExitStatus{Signal: unix.SIGKILL})
		g.test.locked(func() {
			if n := g.test.k.rootPIDNS.tasks; n != 2 {
				t.Errorf("%d tasks are left, want 2", n)
			}
		})
	})
}

// TestNamespaceEndsWithInit: when init ends, everything in the namespace has gone before its
// parent hears of it, and nothing new can begin there.
func TestNamespaceEndsWithInit(t *testing.T) {
	for range 20 {
		m := newMachine(t)
		m.run(0, func(g *guest) {
			for range 3 {
				init, err := g.clone(func(g *guest) {
					for range 3 {
						g.fork(func(g *guest) {
							g.thread((*guest).spinForever)
							for {
								// Goes on making children until it is killed.
								if id, err := g.clone(idle, ForkArgs{}); err == nil && id%2 == 0 {
									g.kill(id, unix.SIGKILL)
								}
							}
						})
					}
					g.exitGroup(8)
				}, ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
				if err != nil {
					t.Errorf("new namespace: %v", err)
				}
				g.expectExit(init, ExitStatus{Code: 8})
				m.locked(func() {
					if n := m.k.rootPIDNS.tasks; n != 2 {
						t.Errorf("%d tasks are left, want 2", n)
					}
				})
			}
		})
	}
}

// TestThreadsOfInitEnd: all threads of an init end at once; one of them has to empty
// the namespace.
func TestThreadsOfInitEnd(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		for range 100 {
			init, err := g.clone(func(g *guest) {
				gate := make(chan struct{})
				g.fork(idle)
				for range 3 {
					g.thread(func(g *guest) {
						g.sleepOn(gate)
						g.exit(0)
					})
				}
				close(gate)
				g.exit(0)
			}, ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
			if err != nil {
				t.Error(err)
			}
			g.expectExit(init, ExitStatus{})
			m.locked(func() {
				if n := m.k.rootPIDNS.tasks; n != 2 {
					t.Errorf("%d tasks are left, want 2", n)
				}
			})
		}
	})
}

func TestUnsharePIDNamespace(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.do(func(tk *Task) error { return tk.Unshare(Unshare{Fresh: FreshPID}) })
		if _, err := g.clone(idle, ForkArgs{Share: threadShare}); err != unix.EINVAL {
			t.Errorf("a thread while children go elsewhere: %v", err)
		}
		init := g.fork(func(g *guest) {
			if id := g.getpid(); id != 1 {
				t.Errorf("the first child has number %d", id)
			}
			idle(g)
		})
		second := g.fork(func(g *guest) {
			if id := g.getpid(); id != 2 {
				t.Errorf("the second child has number %d", id)
			}
			idle(g)
		})
		g.kill(init, unix.SIGKILL)
		// Init waits for those whose parents are outside to be reaped.
		g.eventually("the second one is a zombie", func(*Task) bool { return g.test.exited(second) })
		if r, err := g.wait(WaitArgs{Exited: true, Kind: WaitPID, ID: init, NoHang: true}); r.PID != 0 || err != nil {
			t.Errorf("init ended before its namespace was empty: %+v, %v", r, err)
		}
		g.expectExit(second, ExitStatus{Signal: unix.SIGKILL})
		g.expectExit(init, ExitStatus{Signal: unix.SIGKILL})
		if _, err := g.clone(idle, ForkArgs{}); err != unix.ENOMEM {
			t.Errorf("fork into a namespace without init: %v", err)
		}
	})
}

func TestNamespacesNest(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		depths := make(chan int, 1)
		var deeper func(depth int) script
		deeper = func(depth int) script {
			return func(g *guest) {
				id, err := g.clone(deeper(depth+1), ForkArgs{Fresh: FreshPID, ExitSignal: unix.SIGCHLD})
				if err != nil {
					if err != unix.ENOSPC {
						t.Errorf("at depth %d: %v", depth, err)
					}
					depths <- depth
					return
				}
				g.reap(id)
			}
		}
		g.reap(g.fork(deeper(0)))
		if d := <-depths; d != maxPIDLevel {
			t.Errorf("namespaces nest %d deep, want %d", d, maxPIDLevel)
		}
	})
}
