package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// testForkChildUnseen: the hook of the parent's own system is called once for each child, which has that system too, and whose
// number nobody can find yet; a fork that fails after the hook leaves nothing (C04).
func testForkChildUnseen(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		for name, a := range map[string]ForkArgs{
			"fork": {}, "vfork": {Share: ShareMM, Vfork: true}, "thread": {Share: threadShare}, "fresh": {Fresh: FreshPID},
		} {
			var children []*Task
			g.do(func(parent *Task) error {
				m.onForkChild = func(c *Task) {
					children = append(children, c)
					if p := parent.pidns.ids[c.pid.In(parent.pidns)]; p != c.pid || p.task != nil || p.tg != nil {
						t.Errorf("%s: the child is there already", name)
					}
					if c.personality != parent.personality || c.exited {
						t.Errorf("%s: the child is of another system", name)
					}
				}
				return nil
			})
			a.ExitSignal = unix.SIGCHLD
			id, err := g.clone(func(g *guest) { g.exit(0) }, a)
			if err != nil || len(children) != 1 {
				t.Errorf("%s: %v, %d children", name, err, len(children))
			}
			g.do(func(*Task) error { m.onForkChild = nil; return nil })
			if a.Share&ShareThread == 0 {
				g.reap(id)
			}
		}
	})
}

// testInitNeverRuns: the kernel's own process has nothing that user mode needs, and goes on without.
func testInitNeverRuns(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		g.do(func(tk *Task) error {
			init := m.k.init.leader
			if init.MM() != nil || init.Executable() != nil {
				t.Error("the kernel's own process has memory or a program")
			}
			return nil
		})
		before := m.spaces.Load()
		g.fork(func(g *guest) { g.fork(exits(0)); g.exit(0) }) // whose child is an orphan, maybe
		g.reap(0)
		g.eventually("init has reaped", func(*Task) bool { n, _ := m.k.Processes(); return n == 2 })
		if n := m.spaces.Load() - before; n > 2 {
			t.Errorf("%d address spaces for two processes", n)
		}
	})
}
