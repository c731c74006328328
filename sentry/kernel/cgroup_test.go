package kernel

import (
	"strings"
	"testing"

	"gosentry/fs/cgroup"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// makeCgroup makes a group below the root.
func makeCgroup(t testing.TB, k *Kernel, name string) *cgroup.Group {
	t.Helper()
	in, err := k.cgroups.Root().Inode().Mkdir(anybody{}, name, vfs.NewAttr{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	g, err := cgroup.GroupOf(in)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestMigrationDuringFork moves the parent before each step of a fork: the child comes along, and
// after a step that fails nothing is left in either group.
func TestMigrationDuringFork(t *testing.T) {
	t.Run("I21_migration_at_each_step", func(t *testing.T) {
		m := newMachine(t)
		a, b := makeCgroup(t, m.k, "a"), makeCgroup(t, m.k, "b")
		m.run(0, func(g *guest) {
			for step := 0; ; step++ {
				met := false
				for _, err := range []error{nil, unix.ENOMEM} {
					met = g.forkMoved(a, b, step, err) || met
				}
				if !met {
					break
				}
			}
		})
	})
}

// forkMoved forks a child and has the parent, which is in a, moved to b before a step, where the
// fork then fails with err. It tells whether the fork has such a step.
func (g *guest) forkMoved(a, b *cgroup.Group, step int, err error) (met bool) {
	g.test.Helper()
	tasks := cgroupTasks{g.test.k}
	g.do(func(t *Task) error {
		t.k.forkFault = func(i int) error {
			if i != step {
				return nil
			}
			met = true
			if err := tasks.Move(t, b, 0, false); err != nil {
				g.test.Errorf("moving before step %d: %v", step, err)
			}
			return err
		}
		return tasks.Move(t, a, 0, false)
	})
	id, failed := g.clone(idle, ForkArgs{ExitSignal: unix.SIGCHLD})
	live := int64(1)
	if failed == nil {
		live++
	}
	if met && (failed != err || a.Tasks() != 0 || b.Tasks() != live) {
		g.test.Errorf("step %d: %v, %d in the old group, %d in the new one", step, failed, a.Tasks(), b.Tasks())
	}
	if failed == nil {
		g.do(func(t *Task) error {
			if c, err := t.FindPID(id); err != nil || c.task.tg.Cgroup() != t.tg.Cgroup() {
				g.test.Errorf("step %d: the child was left behind", step)
			}
			return t.Kill(id, unix.SIGKILL, nil)
		})
		g.reap(id)
	}
	return met
}

// TestPidsLimit: every group above counts, what fails is given back, and a fork that fails later too.
func TestPidsLimit(t *testing.T) {
	m := newMachine(t)
	a := makeCgroup(t, m.k, "a")
	m.run(0, func(g *guest) {
		g.do(func(t *Task) error { return cgroupTasks{t.k}.Move(t, a, 0, false) })
		var kids []int32
		for range 3 {
			kids = append(kids, g.fork(idle))
		}
		g.thread(idle)
		if n := a.Tasks(); n != 5 {
			t.Errorf("%d tasks", n)
		}
		g.do(func(t *Task) error {
			cgroupTasks{t.k}.Kill(makeCgroup(g.test, t.k, "empty"))
			return t.Kill(kids[0], unix.SIGKILL, nil)
		})
		g.reap(kids[0])
		if n := a.Tasks(); n != 4 {
			t.Errorf("%d tasks after one was reaped", n)
		}
		if err := g.exec(func(g *guest) {
			if n := a.Tasks(); n != 3 {
				t.Errorf("%d tasks after an exec ended the thread", n)
			}
		}); err != nil {
			t.Error(err)
		}
	})
	if n := a.Tasks(); n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}

// TestFreezeDuringForks freezes and thaws a group in which processes fork, stop, vfork and make threads all the time,
// and kills it in the end: nobody stands still for good or is counted wrongly.
func TestFreezeDuringForks(t *testing.T) {
	m := newMachine(t)
	a := makeCgroup(t, m.k, "a")
	busy := func(g *guest) {
		for {
			g.reap(g.fork(func(g *guest) {
				g.thread(func(g *guest) { g.exit(0) })
				g.exitGroup(0)
			}))
			id, _ := g.clone(exits(0), ForkArgs{Vfork: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
			g.reap(id)
		}
	}
	m.run(0, func(g *guest) {
		var kids []int32
		for range 4 {
			kids = append(kids, g.fork(busy))
		}
		for _, id := range kids {
			g.do(func(t *Task) error { return cgroupTasks{t.k}.Move(t, a, id, false) })
		}
		for i := range 60 {
			g.freeze(a, i%2 == 0)
			g.kill(kids[i%4], []signal.Signal{unix.SIGSTOP, unix.SIGCONT}[i/4%2])
		}
		g.freeze(a, true)
		g.eventually("all stand still", func(*Task) bool { return frozen(g.test, a) })
		g.do(func(t *Task) error {
			cgroupTasks{t.k}.Kill(a)
			return nil
		})
		for _, id := range kids {
			g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
		}
	})
	if n := a.Tasks(); n != 0 || !frozen(t, a) {
		t.Errorf("%d tasks are left", n)
	}
}

// openCgroupFile opens a file of a group.
func openCgroupFile(t testing.TB, a *cgroup.Group, name string) vfs.FileOps {
	t.Helper()
	in, err := a.Inode().Lookup(anybody{}, name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := in.Open(anybody{}, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// frozen tells what cgroup.events says.
func frozen(t testing.TB, a *cgroup.Group) bool {
	b := make([]byte, 64)
	n, err := openCgroupFile(t, a, "cgroup.events").Read(anybody{}, mm.BytesBuffer(b), 0)
	if err != nil {
		t.Error(err)
	}
	return strings.Contains(string(b[:n]), "frozen 1")
}

// freeze writes to cgroup.freeze of a group.
func (g *guest) freeze(a *cgroup.Group, on bool) {
	g.do(func(t *Task) error {
		text := "0"
		if on {
			text = "1"
		}
		_, err := openCgroupFile(g.test, a, "cgroup.freeze").Write(t, mm.BytesBuffer([]byte(text)), 0)
		return err
	})
}

// control writes to a file of a group.
func control(t testing.TB, g *cgroup.Group, name, text string) {
	t.Helper()
	in, err := g.Inode().Lookup(anybody{}, name)
	if err == nil {
		var f vfs.FileOps
		if f, err = in.Open(anybody{}, unix.O_WRONLY); err == nil {
			_, err = f.Write(anybody{}, mm.BytesBuffer([]byte(text)), 0)
		}
	}
	if err != nil {
		t.Fatalf("%s to %s: %v", text, name, err)
	}
}

// checkPayer checks which of the groups is charged for a MiB of the guest's, besides the root.
func (g *guest) checkPayer(what string, want *cgroup.Group, groups ...*cgroup.Group) {
	g.test.Helper()
	before := map[*cgroup.Group]uint64{}
	for _, group := range groups {
		before[group] = group.Memory().Usage()
	}
	touched(g)
	for group, had := range before {
		if grew := group.Memory().Usage() >= had+1<<20; grew != (group.Memory() == want.Memory()) {
			g.test.Errorf("%s: charged to %s: %v, %d then %d", what, group.PathFrom(g.test.k.cgroups.Root()), grew, had, group.Memory().Usage())
		}
	}
}

// TestCgroupPayers: what a process allocates is charged to its group, from the time when it goes there or the group gets the
// controller; a child of vfork has no say for its parent, and nobody leaves a container's memory by moving.
func TestCgroupPayers(t *testing.T) {
	m := newMachine(t)
	a, b, root := makeCgroup(t, m.k, "a"), makeCgroup(t, m.k, "b"), m.k.cgroups.Root()
	one := m.addContainer("one", 0, nil)
	move := func(g *guest, to *cgroup.Group) {
		t.Helper()
		g.do(func(tk *Task) error { return cgroupTasks{m.k}.Move(tk, to, 0, false) })
	}
	pays := func(g *guest, what string, want *cgroup.Group) {
		t.Helper()
		g.checkPayer(what, want, a, b, one.group)
	}
	m.run(0, func(g *guest) {
		move(g, a)
		control(t, root, "cgroup.subtree_control", "+memory")
		pays(g, "the controller came", a)
		g.reap(g.fork(func(g *guest) { pays(g, "a child", a) }))
		id, err := g.clone(func(g *guest) {
			move(g, b)
			pays(g, "vfork's child, in its parent's memory", a)
			g.exec(func(g *guest) { pays(g, "after exec", b) })
		}, ForkArgs{Share: ShareMM, Vfork: true, ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Error(err)
		}
		g.reap(id)
		pays(g, "vfork's parent", a)
		left := make(chan struct{})
		g.reap(g.fork(func(g *guest) {
			var id int32
			g.do(func(tk *Task) error { id = tk.tg.pid.numbers[0]; return nil })
			if _, err := g.clone(func(g *guest) {
				g.eventually("whose memory it is has ended", func(*Task) bool { return m.exited(id) })
				move(g, b)
				pays(g, "with the memory of one that ended", b)
				close(left)
			}, ForkArgs{Share: ShareMM, ExitSignal: unix.SIGCHLD}); err != nil {
				t.Error(err)
			}
		}))
		<-left
		g.eventually("what the last one in b had is gone", func(*Task) bool { return b.Memory().Usage() == 0 })
		move(g, b)
		pays(g, "moved", b)
		inside := m.begin(one, func(g *guest) {
			pays(g, "in a container", one.group)
			g.do(func(tk *Task) (err error) { // as one could that sees the whole tree
				m.locked(func() { err = tk.tg.moveLocked(a) })
				return err
			})
			pays(g, "out of a container's group", one.group)
		})
		inside.Wait()
		one.Release()
		control(t, root, "cgroup.subtree_control", "-memory")
		g.checkPayer("the controller went", root, root)
	})
}
