package kernel

import (
	"testing"

	"gosentry/sentry/cred"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func (g *guest) setpgid(pid, pgid int32) error {
	_, err := g.call(func(tk *Task) (uint64, error) { return 0, tk.SetPGID(pid, pgid) })
	return err
}

func (g *guest) getpgid(pid int32) int32 {
	id, err := g.call(func(tk *Task) (uint64, error) {
		id, err := tk.GetPGID(pid)
		return uint64(id), err
	})
	if err != nil {
		return -1
	}
	return int32(id)
}

func (g *guest) setsid() (int32, error) {
	id, err := g.call(func(tk *Task) (uint64, error) {
		id, err := tk.SetSID()
		return uint64(id), err
	})
	return int32(id), err
}

// TestSetPGID is the table of setpgid(2).
func TestSetPGID(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		me := g.getpid() // leads the session
		ready := make(chan int32)
		child := g.fork(func(g *guest) {
			ready <- g.fork(idle)
			idle(g)
		})
		grandchild := <-ready
		foreign := g.fork(func(g *guest) {
			g.setsid()
			ready <- 0
			idle(g)
		})
		<-ready
		execed := g.fork(func(g *guest) {
			g.exec(func(g *guest) {
				ready <- 0
				idle(g)
			})
		})
		<-ready
		dead := g.fork(exits(0))
		g.eventually("a zombie", func(*Task) bool { return g.test.exited(dead) })
		tid := make(chan int32)
		g.thread(func(g *guest) {
			tid <- g.gettid()
			idle(g)
		})
		thread := <-tid
		for _, c := range []struct {
			name      string
			pid, pgid int32
			want      error
		}{
			{"negative group", child, -1, unix.EINVAL},
			{"nobody", 9999, 0, unix.ESRCH},
			{"a thread", thread, 0, unix.EINVAL},
			{"a grandchild", grandchild, 0, unix.ESRCH},
			{"the session's leader", 0, 0, unix.EPERM},
			{"the session's leader by number", me, me, unix.EPERM},
			{"a child in another session", foreign, 0, unix.EPERM},
			{"a child that has called exec", execed, 0, unix.EACCES},
			{"a group that is not there", child, 9999, unix.EPERM},
			{"a number of no group", child, grandchild, unix.EPERM},
			{"a group of another session", child, foreign, unix.EPERM},
			{"own group", child, me, nil},
			{"new group", child, child, nil},
			{"same again", child, 0, nil},
			{"a zombie", dead, child, nil},
			{"back", child, me, nil},
		} {
			if err := g.setpgid(c.pid, c.pgid); err != c.want {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		if got := g.getpgid(dead); got != child {
			t.Errorf("the zombie is in group %d, want %d", got, child)
		}
		if got := g.getpgid(9999); got != -1 {
			t.Errorf("getpgid of nobody: %d", got)
		}
		g.kill(-1, unix.SIGKILL)
		for range 4 {
			g.reap(0)
		}
	})
}

func TestSetSID(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		if _, err := g.setsid(); err != unix.EPERM {
			t.Errorf("a leader of a session: %v", err)
		}
		g.reap(g.fork(func(g *guest) {
			me := g.getpid()
			g.setpgid(0, 0)
			if _, err := g.setsid(); err != unix.EPERM {
				t.Errorf("a leader of a group: %v", err)
			}
			g.setpgid(0, g.getppid())
			if id, err := g.setsid(); id != me || err != nil {
				t.Errorf("setsid: %d, %v", id, err)
			}
			if g.getpgid(0) != me {
				t.Errorf("in group %d", g.getpgid(0))
			}
			// Its children stay in the session.
			g.reap(g.fork(func(g *guest) {
				sid, err := g.call(func(tk *Task) (uint64, error) {
					id, err := tk.GetSID(0)
					return uint64(id), err
				})
				if int32(sid) != me || err != nil {
					t.Errorf("the child's session is %d, %v", sid, err)
				}
			}))
		}))
		// A process in another's group that has the number of a group.
		gate := make(chan struct{})
		leader := g.fork(func(g *guest) {
			g.setpgid(0, 0)
			member := g.fork(idle)
			g.setpgid(0, g.getppid())
			if _, err := g.setsid(); err != unix.EPERM {
				t.Errorf("the number still names a group: %v", err)
			}
			g.kill(member, unix.SIGKILL)
			g.reap(member)
			if _, err := g.setsid(); err != nil {
				t.Errorf("the group is gone: %v", err)
			}
			close(gate)
		})
		<-gate
		g.reap(leader)
	})
}

func TestKill(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		me := g.getpid()
		a, b := g.fork(idle), g.fork(idle)
		g.setpgid(a, a)
		g.setpgid(b, a)
		dead := g.fork(exits(0))
		g.eventually("a zombie", func(*Task) bool { return m.exited(dead) })
		for _, c := range []struct {
			pid  int32
			sig  signal.Signal
			want error
		}{
			{me, 0, nil}, {0, 0, nil}, {a, 0, nil}, {-a, 0, nil}, {-1, 0, nil}, {dead, 0, nil}, {dead, unix.SIGTERM, nil},
			{me, -1, unix.EINVAL}, {me, 65, unix.EINVAL}, {-1 << 31, 0, unix.ESRCH},
			{9999, 0, unix.ESRCH}, {-9999, 0, unix.ESRCH}, {-b, 0, unix.ESRCH},
		} {
			if err := g.kill(c.pid, c.sig); err != c.want {
				t.Errorf("kill(%d, %d): %v, want %v", c.pid, c.sig, err, c.want)
			}
		}
		if err := g.kill(-a, unix.SIGTERM); err != nil {
			t.Errorf("kill of a group: %v", err)
		}
		g.expectExit(a, ExitStatus{Signal: unix.SIGTERM})
		g.expectExit(b, ExitStatus{Signal: unix.SIGTERM})
		g.reap(dead)
		if err := g.kill(dead, 0); err != unix.ESRCH {
			t.Errorf("kill of a reaped one: %v", err)
		}
		if err := g.kill(-1, unix.SIGTERM); err != unix.ESRCH {
			t.Errorf("kill of everyone, nobody there: %v", err)
		}
		for _, c := range []struct {
			tgid, tid int32
			want      error
		}{
			{me, me, nil}, {0, me, nil}, {me, 9999, unix.ESRCH}, {9999, me, unix.ESRCH}, {0, 0, unix.EINVAL}, {-1, me, unix.EINVAL},
		} {
			_, err := g.call(func(tk *Task) (uint64, error) { return 0, tk.KillThread(c.tgid, c.tid, 0, nil) })
			if err != c.want {
				t.Errorf("tgkill(%d, %d): %v, want %v", c.tgid, c.tid, err, c.want)
			}
		}
	})
}

func TestKillPermissions(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		become := func(g *guest, ruid, euid, suid uint32) {
			g.do(func(tk *Task) error {
				c := tk.Creds().Copy()
				c.RUID, c.EUID, c.SUID = cred.UID(ruid), cred.UID(euid), cred.UID(suid)
				c.Effective, c.Permitted = 0, 0
				tk.SetCreds(c)
				return nil
			})
		}
		for _, c := range []struct {
			sender, target [3]uint32
			ok             bool
		}{
			{[3]uint32{5, 5, 5}, [3]uint32{5, 5, 5}, true},
			{[3]uint32{5, 5, 5}, [3]uint32{6, 6, 6}, false},
			{[3]uint32{5, 6, 6}, [3]uint32{6, 7, 7}, true},
			{[3]uint32{5, 6, 6}, [3]uint32{7, 6, 7}, false},
			{[3]uint32{5, 6, 6}, [3]uint32{7, 7, 6}, true},
			{[3]uint32{5, 6, 6}, [3]uint32{7, 7, 5}, true},
			{[3]uint32{7, 8, 5}, [3]uint32{5, 5, 5}, false},
		} {
			ready := make(chan struct{})
			target := g.fork(func(g *guest) {
				become(g, c.target[0], c.target[1], c.target[2])
				close(ready)
				idle(g)
			})
			<-ready
			g.reap(g.fork(func(g *guest) {
				become(g, c.sender[0], c.sender[1], c.sender[2])
				if err := g.kill(target, 0); (err == nil) != c.ok || err != nil && err != unix.EPERM {
					t.Errorf("%v to %v: %v", c.sender, c.target, err)
				}
				// SIGCONT goes anywhere in the session.
				if err := g.kill(target, unix.SIGCONT); err != nil {
					t.Errorf("SIGCONT: %v", err)
				}
				g.setsid()
				if err := g.kill(target, unix.SIGCONT); (err == nil) != c.ok {
					t.Errorf("SIGCONT from another session: %v", err)
				}
			}))
			g.kill(target, unix.SIGKILL)
			g.reap(target)
		}
	})
}
