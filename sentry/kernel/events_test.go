package kernel

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/trace"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// traced runs p as user 1000 with its events recorded and returns them.
func traced(t *testing.T, inherit bool, policy ForkPolicy, p script) []trace.Event {
	t.Helper()
	var out bytes.Buffer
	s, err := trace.New(&out, trace.FormatJSON)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	m.k.setTracing(&Tracing{Stream: s, Inherit: inherit})
	m.k.policy = policy
	m.run(1000, p)
	if err := s.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	var events []trace.Event
	for line := range strings.Lines(out.String()) {
		var e trace.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// only returns the events of one kind.
func only(events []trace.Event, kind string) []trace.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e trace.Event) bool { return e.Kind != kind })
}

// family forks, makes a thread, execs in a vfork's child and dies by a signal.
func family(g *guest) {
	g.expectExit(g.fork(func(g *guest) { g.exitGroup(3) }), ExitStatus{Code: 3})
	g.thread(func(g *guest) { g.exit(0) })
	id, _ := g.clone(func(g *guest) { g.exec(exits(4)) }, ForkArgs{Kind: "vfork", Vfork: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
	g.expectExit(id, ExitStatus{Code: 4})
	if _, err := g.clone(exits(0), ForkArgs{Fresh: FreshUTS, ExitSignal: unix.SIGCHLD}); err != unix.EPERM {
		g.test.Errorf("a namespace for anybody: %v", err)
	}
	g.reap(g.fork(func(g *guest) { g.kill(g.getpid(), unix.SIGSEGV) }))
}

func TestEvents(t *testing.T) {
	events := traced(t, true, ForkPolicy{}, family)
	var kinds []string
	for _, e := range only(events, trace.Fork) {
		kinds = append(kinds, e.How)
		if len(e.ChildTID) != 1 || e.Took <= 0 || e.Shared == nil || e.Copied == nil || e.Flags == nil {
			t.Errorf("a fork says %+v", e)
		}
	}
	if want := []string{"fork", "thread", "vfork", "fork"}; !slices.Equal(kinds, want) {
		t.Errorf("forks %v, want %v", kinds, want)
	}
	starts, ends := only(events, trace.Start), len(only(events, trace.Exit))+len(only(events, trace.Killed))
	if len(starts) != 5 || ends != 5 || len(only(events, trace.Exec)) != 2 || len(only(events, trace.Refused)) != 1 || len(only(events, trace.Killed)) != 1 {
		t.Errorf("%d starts, %d ends: %+v", len(starts), ends, events)
	}
	for i, e := range events {
		begun := slices.IndexFunc(events, func(b trace.Event) bool { return b.Kind == trace.Start && slices.Equal(b.TID, e.TID) })
		if begun > i {
			t.Errorf("event %d comes before its task's start", i)
		}
	}
	if e := only(events, trace.Killed)[0]; e.Signal != int32(unix.SIGSEGV) || !e.Last {
		t.Errorf("the signal says %+v", e)
	}
	if e := only(events, trace.Refused)[0]; e.Errno != "EPERM" || e.Reason != "other" {
		t.Errorf("the refused fork says %+v", e)
	}
}

// TestEventsOfFirstOnly: tracing is not inherited where it is not so marked.
func TestEventsOfFirstOnly(t *testing.T) {
	events := traced(t, false, ForkPolicy{}, family)
	if len(only(events, trace.Fork)) != 4 || len(only(events, trace.Start)) != 1 || len(only(events, trace.Exec)) != 1 {
		t.Errorf("%+v", events)
	}
}

func TestForkHooks(t *testing.T) { t.Run("F10_fork_callbacks", testForkHooks) }

func testForkHooks(t *testing.T) {
	m := newMachine(t)
	var warnings bytes.Buffer
	m.k.log.Logger.SetOutput(&warnings)
	m.k.log.Logger.SetLevel(logrus.WarnLevel)
	var calls []string
	hook := func(name string) *ForkHook {
		return &ForkHook{name, func(e *ForkEvent) {
			calls = append(calls, name)
			if e.Parent == e.Child || e.Args.Kind != "fork" || e.Child.meter.exits != 0 || m.stateOf(e.Child.pid.numbers[0]) < 0 {
				t.Errorf("%s: %+v", name, e)
			}
		}}
	}
	a, b, c := hook("a"), hook("b"), hook("c")
	h := m.k.ForkHooks()
	for _, r := range []struct{ did, want bool }{
		{h.Register(a), true}, {h.Register(b), true}, {h.Register(a), false}, {h.Register(c), true}, {h.Remove(b), true}, {h.Remove(b), false},
	} {
		if r.did != r.want {
			t.Errorf("%+v", r)
		}
	}
	m.run(0, func(g *guest) { g.reap(g.fork(exits(0))) })
	if !slices.Equal(calls, []string{"a", "c"}) {
		t.Errorf("called %v", calls)
	}
	if s := warnings.String(); strings.Count(s, "registered twice") != 1 || !strings.Contains(s, "hook a") {
		t.Errorf("warned %q", s)
	}
}

func TestForkCounts(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		family(g)
		g.do(func(t *Task) error {
			l := limits.Limit{Soft: 1, Hard: 1}
			_, err := t.Limits().Set(limits.NProc, l, false)
			return err
		})
		if _, err := g.clone(exits(0), ForkArgs{ExitSignal: unix.SIGCHLD}); err != unix.EAGAIN {
			t.Errorf("over the limit: %v", err)
		}
	})
	c := &m.k.forkCounts
	for k, want := range [forkKinds]uint64{kindFork: 2, kindVfork: 1, kindThread: 1, kindKernel: 1} {
		if n := c.kinds[k].forks.Load(); n != want {
			t.Errorf("%d of kind %v, want %d", n, forkKind(k), want)
		}
	}
	if c.blocked.Load() != 1 || c.sharedMemory.Load() != 2 || c.refused[refusedUserLimit].Load() != 1 || c.refused[refusedOther].Load() != 1 {
		t.Errorf("%+v", c.show())
	}
}

// TestForkPolicy: who has not the privilege to fork gets EPERM, and the stream says why.
func TestForkPolicy(t *testing.T) {
	t.Run("I05_privilege_to_fork", func(t *testing.T) {
		deny := false
		policy := ForkPolicy{MayFork: func(*cred.Credentials) bool { return !deny }}
		events := traced(t, true, policy, func(g *guest) {
			g.reap(g.fork(exits(0)))
			deny = true
			for _, a := range []ForkArgs{{ExitSignal: unix.SIGCHLD}, {Share: threadShare}} {
				if _, err := g.clone(exits(0), a); err != unix.EPERM {
					t.Errorf("without the privilege: %v", err)
				}
			}
		})
		if n := len(only(events, trace.Fork)); n != 1 {
			t.Errorf("%d forks", n)
		}
		refused := only(events, trace.Refused)
		if len(refused) != 2 || refused[0].Reason != "policy" || refused[0].Errno != "EPERM" || refused[1].How != "thread" {
			t.Errorf("%+v", refused)
		}
	})
}
