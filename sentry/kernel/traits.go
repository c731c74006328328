package kernel

import (
	"gosentry/sentry/cred"
	"gosentry/sentry/signal"
)

// Traits are what a program has from whoever starts it, as execve(2) keeps it, besides credentials, files and limits. The zero
// value is what a process has that nobody gave anything.
type Traits struct {
	// Scheduling, Nice and IOPriority are those of sched_setscheduler(2), setpriority(2) and ioprio_set(2).
	Scheduling Scheduling
	Nice       int32
	IOPriority int32
	// OOMScoreAdj is that of proc(5).
	OOMScoreAdj int32
	// Persona is that of personality(2).
	Persona uint32
	// TimerSlack is in ns (PR_SET_TIMERSLACK); 0: the usual one.
	TimerSlack uint64
	// CoreFilter is the coredump_filter of core(5); nil: the usual one.
	CoreFilter *uint32
	// THPDisabled is the switch of PR_SET_THP_DISABLE.
	THPDisabled bool
	// NoNewPrivs keeps execve from giving rights (PR_SET_NO_NEW_PRIVS), whatever the credentials say.
	NoNewPrivs bool
	// Blocked and Ignored are signals.
	Blocked, Ignored signal.Set
}

// credentials are c with what the traits ask of them.
func (a *Traits) credentials(c *cred.Credentials) *cred.Credentials {
	if !a.NoNewPrivs || c.NoNewPrivs {
		return c
	}
	c = c.Copy()
	c.NoNewPrivs = true
	return c
}

// give gives a process without a program its traits, but for those in its credentials.
func (a *Traits) give(t *Task) {
	t.sched = a.Scheduling
	t.nice.Store(a.Nice)
	t.ioPriority.Store(a.IOPriority)
	t.tg.oomScore.Store(a.OOMScoreAdj)
	t.tg.persona.Store(a.Persona)
	t.tg.thpDisabled.Store(a.THPDisabled)
	if a.TimerSlack != 0 {
		t.slackAtStart = a.TimerSlack
		t.slackNS.Store(a.TimerSlack)
	}
	if a.CoreFilter != nil {
		t.tg.coreFilter.Store(*a.CoreFilter)
	}
	t.mask = a.Blocked.Without(signal.Unblockable)
	for rest := a.Ignored.Without(signal.Unblockable); !rest.Empty(); {
		sig := rest.Lowest()
		rest = rest.Remove(sig)
		t.tg.handlers.Set(sig, signal.Action{Handler: signal.HandlerIgnore}) //nolint:errcheck // of these each can be ignored
	}
}
