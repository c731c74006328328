package kernel

import (
	"sync/atomic"

	"gosentry/platform"
	"gosentry/sentry/cred"
)

// answering is what lets the platform answer calls of a task whose results are known beforehand.
type answering struct {
	// by is the task's context, nil where it cannot. Set before the task runs.
	by platform.Answerer

	// What the present answers follow from; zero: there are none. Only the task's own goroutine touches these.
	creds *cred.Credentials
	pid   *PID

	// traced says that a tracer may look on.
	traced atomic.Bool
}

// runIn gives the task its context.
func (t *Task) runIn(c platform.Context) {
	t.ctx = c
	t.answers.by, _ = c.(platform.Answerer)
}

// usualAnswersAfter is how often a task has left guest code before answers are worth it: many only exec or exit.
const usualAnswersAfter = 32

// watched tells whether somebody is to see all calls of the task.
func (t *Task) watched() bool { return t.hooks.Load() != 0 || t.answers.traced.Load() }

// offerAnswers tells the platform what the task's next calls may be answered, if that is other than before. Ids change with the
// credentials, which the task alone replaces, and with an exec; those that watch take answers back by themselves.
func (t *Task) offerAnswers() {
	a := &t.answers
	creds, pid := t.creds.Load(), t.pid
	if a.by == nil || t.watched() || t.meter.exits < t.k.answersAfter {
		creds, pid = nil, nil
	}
	if creds == a.creds && pid == a.pid {
		return
	}
	a.creds, a.pid = creds, pid
	if creds == nil {
		a.by.SetAnswers(nil)
		return
	}
	a.by.SetAnswers(t.personality.Answers(t))
	if t.watched() {
		a.by.SetAnswers(nil) // since a moment ago
	}
}

// dropAnswers takes all answers back. It is called by whoever begins to watch the task, once watched says so.
func (t *Task) dropAnswers() {
	if t.answers.by != nil {
		t.answers.by.SetAnswers(nil)
	}
}
