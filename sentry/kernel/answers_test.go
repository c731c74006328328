package kernel

import (
	"testing"

	"gosentry/platform"
	"gosentry/sentry/callfilter"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Numbers of the calls that the scripted personality knows the results of beforehand.
const (
	answerTID = iota
	answerTGID
	answerUID
)

// Answers implements Personality.
func (m *machine) Answers(t *Task) []platform.Answer {
	return []platform.Answer{
		{Number: answerTID, Value: uint32(t.TID())}, {Number: answerTGID, Value: uint32(t.TGID())},
		{Number: answerUID, Value: uint32(t.Creds().RUID)},
	}
}

// SetAnswers implements platform.Answerer.
func (c *fakeContext) SetAnswers(list []platform.Answer) { c.answers.Store(&list) }

// given is what calls in c are answered now.
func (c *fakeContext) given() []platform.Answer {
	if list := c.answers.Load(); list != nil {
		return *list
	}
	return nil
}

// checkAnswers looks at what t, which makes a call, could have been answered instead: the truth, and nothing where
// somebody watches. All scripted guests of all tests go through here.
func (m *machine) checkAnswers(t *Task, c *fakeContext) {
	t.tg.sigMu.Lock()
	list, watched := c.given(), t.watched()
	t.tg.sigMu.Unlock()
	if watched && len(list) > 0 {
		m.Errorf("thread %d is watched and has answers: %+v", t.TID(), list)
	}
	if len(list) == 0 {
		return
	}
	for i, a := range m.Answers(t) {
		if list[i] != a {
			m.Errorf("thread %d would be answered %+v, not %+v", t.TID(), list[i], a)
		}
	}
}

// answered fails the test unless the guest has answers, or has none.
func (g *guest) answered(what string, want bool) {
	g.call(func(t *Task) (uint64, error) {
		t.expectAnswers(g, what, want)
		return 0, nil
	})
}

// setUID gives the guest other credentials.
func (g *guest) setUID(u cred.UID) {
	g.do(func(t *Task) error {
		c, err := t.Creds().SetRESUID(uint32(u), uint32(u), uint32(u))
		if err == nil {
			t.SetCreds(c)
		}
		return err
	})
}

// TestAnswers has guests change what their calls would be answered; checkAnswers looks each time.
func TestAnswers(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.answered("at first", true)
		g.reap(g.fork(func(g *guest) {
			g.answered("a child", true)
			g.setUID(1000)
			g.answered("as another user", true)
			g.thread(func(g *guest) {
				g.answered("a thread", true)
				g.exec(func(g *guest) {
					g.answered("a thread that has taken the process over", true)
					g.exitGroup(0)
				})
			})
			g.sleep()
		}))
		g.answered("its parent", true)
	})
}

// TestAnswersWatched: another thread's filter, and a tracer, take answers back before anything else is done.
func TestAnswersWatched(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.reap(g.fork(func(g *guest) {
			other := make(chan *Task, 1)
			g.thread(func(g *guest) {
				other <- g.waits()
				g.sleep()
			})
			o := <-other
			g.call(func(t *Task) (uint64, error) {
				o.expectAnswers(g, "a thread", true)
				_, err := t.AddCallFilter(callfilter.Program{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}, true, nil)
				o.expectAnswers(g, "a thread with filters", false)
				return 0, err
			})
			g.answered("filtered", false)
		}))
		traced := make(chan *Task, 1)
		child := g.fork(func(g *guest) {
			traced <- g.waits()
			g.sleep()
		})
		o := <-traced
		g.call(func(t *Task) (uint64, error) {
			o.expectAnswers(g, "a child", true)
			err := t.Attach(child, true, 0)
			o.expectAnswers(g, "a tracee", false)
			return 0, err
		})
		g.kill(child, unix.SIGKILL)
		g.reap(child)
	})
}

// waits returns the guest's task, which has answers.
func (g *guest) waits() (t *Task) {
	g.call(func(own *Task) (uint64, error) {
		t = own
		return 0, nil
	})
	return t
}

// expectAnswers fails g's test unless t has answers, or has none.
func (t *Task) expectAnswers(g *guest, what string, want bool) {
	if got := len(t.ctx.(*fakeContext).given()) > 0; got != want {
		g.test.Errorf("%s: has answers: %v", what, got)
	}
}
