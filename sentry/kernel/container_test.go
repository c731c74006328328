package kernel

import (
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// addContainer adds a container of a name, with namespaces of its own but for those of join, and room for some tasks.
func (m *machine) addContainer(name string, tasks int, join map[Fresh]*Container) *Container {
	m.Helper()
	memory := m.k.Memory().Part(64 << 20)
	mounts, err := m.k.VFS().NewNamespace(tmpfs.New(tmpfs.Config{File: memory}), 0, "tmpfs", "none")
	if err != nil {
		m.Fatal(err)
	}
	writeProgram(m, mounts.Root())
	a := ContainerArgs{
		Name: name, Owner: m.k.Credentials(0, 0, nil), Mounts: mounts, Memory: memory, Tasks: tasks, Join: join, Host: name,
		Fresh: FreshUTS | FreshIPC | FreshNet | FreshPID | FreshCgroup,
	}
	for kind := range join {
		a.Fresh &^= kind
	}
	c, err := m.k.AddContainer(a)
	if err != nil {
		m.Fatal(err)
	}
	return c
}

// begin starts a container's program.
func (m *machine) begin(c *Container, p script) *Program {
	m.Helper()
	program, err := m.k.Prepare(InitArgs{Filename: "/prog", Argv: []string{"prog"}, CWD: "/", Limits: limits.Defaults(1000), Container: c})
	if err != nil {
		m.Fatal(err)
	}
	program.task.Regs.Rsp = m.number(p)
	program.Start()
	return program
}

// whole runs test while the sandbox's own program runs, and checks that nothing is left at the end.
func (m *machine) whole(test func()) {
	m.Helper()
	over := make(chan struct{})
	m.run(0, func(g *guest) {
		go func() {
			defer close(over)
			test()
		}()
		<-over
	})
	for _, name := range []string{"good", "small", "one", "two", "never", "late"} {
		if _, err := m.k.cgroups.Root().Inode().Lookup(anybody{}, name); err != unix.ENOENT {
			m.Errorf("the control group %s is left: %v", name, err)
		}
	}
}

// TestContainers has containers that fork until they may not, end by themselves and are killed in the middle of that; nothing is
// left of them, and the others do not notice.
func TestContainers(t *testing.T) {
	m := newMachine(t)
	m.whole(func() {
		good := m.addContainer("good", 0, nil)
		steady := m.begin(good, (*guest).spinForever)
		full := make(chan int, 1)
		small := m.addContainer("small", 5, nil)
		crowd := m.begin(small, func(g *guest) {
			for n := 1; ; n++ {
				if _, err := g.clone((*guest).spinForever, ForkArgs{Kind: "fork", ExitSignal: unix.SIGCHLD}); err != nil {
					full <- n
					g.spinForever()
				}
			}
		})
		if n := <-full; n != 5 {
			t.Errorf("%d tasks where 5 may be", n)
		}
		if s := small.Stats(); s.Tasks != 5 || s.TaskLimit != 5 {
			t.Errorf("stats %+v", s)
		}
		if s := good.Stats(); s.Tasks != 1 {
			t.Errorf("the other's stats %+v", s)
		}
		if ids := crowd.Processes(); len(ids) != 5 || ids[0] != 1 {
			t.Errorf("processes %d", ids)
		}
		small.Kill()
		if s := crowd.Wait(); s.Signal != unix.SIGKILL {
			t.Errorf("killed: %+v", s)
		}
		if _, err := m.k.Prepare(InitArgs{Filename: "/prog", CWD: "/", Beside: crowd}); err != unix.ESRCH {
			t.Errorf("a program in a container that has ended: %v", err)
		}
		small.Release()
		if got := steady.Processes(); len(got) != 1 {
			t.Errorf("the other has %d", got)
		}
		good.Kill()
		good.Release()
	})
}

// TestContainersShareProcesses has two containers with one pid namespace: the end of one's program is that of its children
// and of nobody else, and one that never ran goes without a trace.
func TestContainersShareProcesses(t *testing.T) {
	m := newMachine(t)
	m.whole(func() {
		one := m.addContainer("one", 0, nil)
		first := m.begin(one, (*guest).spinForever)
		two := m.addContainer("two", 0, map[Fresh]*Container{FreshPID: one, FreshIPC: one})
		end := make(chan bool)
		second := m.begin(two, func(g *guest) {
			g.fork((*guest).spinForever)
			<-end
			g.exitGroup(6)
		})
		if two.ns.IPC != one.ns.IPC || two.ns.UTS == one.ns.UTS {
			t.Error("the wrong namespaces are shared")
		}
		if id := second.ID(); id != 2 {
			t.Errorf("the second's id is %d", id)
		}
		if err := first.Signal(2, unix.SIGUSR1); err != unix.ESRCH {
			t.Errorf("a signal to another container's process: %v", err)
		}
		end <- true
		if s := second.Wait(); s.Code != 6 {
			t.Errorf("end %+v", s)
		}
		two.Release()
		never := m.addContainer("never", 0, map[Fresh]*Container{FreshPID: one})
		p, err := m.k.Prepare(InitArgs{Filename: "/prog", CWD: "/", Limits: limits.Defaults(1000), Container: never})
		if err != nil {
			t.Fatal(err)
		}
		p.Abort(unix.SIGTERM)
		if s := p.Wait(); s.Signal != unix.SIGTERM {
			t.Errorf("never ran: %+v", s)
		}
		never.Release()
		if ids := first.Processes(); len(ids) != 1 {
			t.Errorf("the first has %d", ids)
		}
		one.Kill()
		one.Release()
		args := ContainerArgs{Name: "late", Owner: cred.New(0, 0, nil, m.k.rootUserNS), Memory: m.k.Memory().Part(mm.PageSize), Join: map[Fresh]*Container{FreshPID: one}}
		if args.Mounts, err = m.k.VFS().NewNamespace(tmpfs.New(tmpfs.Config{File: args.Memory}), 0, "tmpfs", "none"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.k.AddContainer(args); err != unix.ESRCH {
			t.Errorf("joining a container that has ended: %v", err)
		}
	})
}

// TestEndsWithoutStart: a program that was made and never started is no hindrance to the end of all, nor to that of its pid namespace.
func TestEndsWithoutStart(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		one := m.addContainer("one", 0, nil)
		first := m.begin(one, (*guest).spinForever)
		two := m.addContainer("two", 0, map[Fresh]*Container{FreshPID: one})
		waiting := InitArgs{Filename: "/prog", CWD: "/", Limits: limits.Defaults(1000), Container: two}
		joined, err := m.k.Prepare(waiting)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Signal(0, unix.SIGKILL); err != nil {
			t.Error(err)
		}
		for _, p := range []*Program{first, joined} {
			if s := p.Wait(); s.Signal != unix.SIGKILL {
				t.Errorf("end %+v", s)
			}
		}
		two.Release()
		one.Release()
		g.do(func(tk *Task) error {
			waiting.Container, waiting.Beside = nil, &Program{task: tk}
			_, err := m.k.Prepare(waiting)
			return err
		})
	})
}
