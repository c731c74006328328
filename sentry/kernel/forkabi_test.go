package kernel

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"gosentry/sentry/trace"

	"golang.org/x/sys/unix"
)

// otherSystem is a second ABI, with a fork hook of its own.
type otherSystem struct {
	*machine
	onFork func(*Task)
}

func (o *otherSystem) Name() string { return "other" }

func (o *otherSystem) ForkChild(c *Task, a *ForkArgs) {
	o.onFork(c)
	c.Regs.Rsp = a.Stack
}

// testForkChildUnseen: the hook of the parent's own system, of two that there are, is called once for each child, which has that
// system too, and whose number nobody can find yet; a fork that fails after the hook leaves nothing (C04).
func testForkChildUnseen(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		for name, a := range map[string]ForkArgs{
			"fork": {}, "vfork": {Share: ShareMM, Vfork: true}, "thread": {Share: threadShare}, "fresh": {Fresh: FreshPID},
			"other fork": {}, "other vfork": {Share: ShareMM, Vfork: true},
		} {
			system, _, _ := strings.Cut(name, " ")
			var children []*Task
			g.do(func(parent *Task) error {
				seen := func(c *Task) {
					children = append(children, c)
					if p := parent.pidns.ids[c.pid.In(parent.pidns)]; p != c.pid || p.task != nil || p.tg != nil {
						t.Errorf("%s: the child is there already", name)
					}
					if c.personality != parent.personality || c.exited {
						t.Errorf("%s: the child is of another system", name)
					}
				}
				if parent.personality = m; system == "other" {
					parent.personality = &otherSystem{m, seen}
					seen = func(*Task) { t.Errorf("%s: the hook of another system", name) }
				}
				m.onForkChild = seen
				return nil
			})
			a.ExitSignal = unix.SIGCHLD
			id, err := g.clone(func(g *guest) { g.exit(0) }, a)
			if err != nil || len(children) != 1 {
				t.Errorf("%s: %v, %d children", name, err, len(children))
			}
			g.do(func(parent *Task) error { m.onForkChild, parent.personality = nil, m; return nil })
			if a.Share&ShareThread == 0 {
				g.reap(id)
			}
		}
	})
}

// testKernelProcess: a process of the kernel's own runs its function and nothing else. One whose function returns is reported
// and ended; one that ends itself is not worth a word.
func testKernelProcess(t *testing.T) {
	m := newMachine(t)
	var log, events bytes.Buffer
	m.k.log.Logger.SetOutput(&log)
	stream, err := trace.New(&events, trace.FormatJSON)
	if err != nil {
		t.Fatal(err)
	}
	m.k.setTracing(&Tracing{Stream: stream, Inherit: true})
	m.run(0, func(g *guest) {
		contexts, spaces := m.contexts.Load(), m.spaces.Load()
		for name, main := range map[string]func(*Task){"quitter": func(*Task) {}, "tidy": func(t *Task) { t.ExitGroup(0) }} {
			var id int32
			g.do(func(tk *Task) (err error) {
				checkHasNoUserMode(t, m.k.init.leader)
				id, err = tk.Fork(&ForkArgs{Main: func(c *Task) { checkHasNoUserMode(t, c); main(c) }, Name: name, CleanFiles: true, ToInit: true})
				return err
			})
			g.eventually("it has ended and init has reaped it", func(*Task) bool { return m.exited(id) })
		}
		if m.contexts.Load() != contexts || m.spaces.Load() != spaces {
			t.Error("a process of the kernel's own has something of the platform's")
		}
	})
	if err := stream.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); strings.Count(s, "its function has returned") != 1 || !strings.Contains(s, "(quitter)") {
		t.Errorf("log %q", s)
	}
	text := events.String()
	ends := regexp.MustCompile(`"event":"exit".*"comm":"(quitter|tidy)"(,"reason":"returned")?,"code":0,"last":true`).FindAllString(text, -1)
	if len(ends) != 2 || strings.Count(text, `"reason":"returned"`) != 1 || strings.Count(text, `"kind":"kernel"`) != 2 {
		t.Errorf("events %s", text)
	}
}

// checkHasNoUserMode checks that a task has nothing to run guest code in, and that nothing would run it.
func checkHasNoUserMode(t *testing.T, c *Task) {
	t.Helper()
	if c.MM() != nil || c.Executable() != nil || c.main == nil {
		t.Errorf("%s has memory or a program", c.Name())
	}
	if _, err := c.ctx.Run(nil, &c.Regs); err != errNoUserMode {
		t.Errorf("%s enters guest code: %v", c.Name(), err)
	}
}
