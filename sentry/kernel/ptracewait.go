package kernel

import (
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// waitTraceesLocked looks for a tracee of the process's threads, or of the caller alone with OwnOnly,
// that has something to report. some tells whether there is one to wait for at all.
func (t *Task) waitTraceesLocked(a *WaitArgs) (r WaitResult, found, some bool) {
	for _, by := range t.tg.tasks {
		if a.OwnOnly && by != t {
			continue
		}
		for e := by.tracees.Front(); e != nil; e = e.Next() {
			c := e.Value.(*Task)
			if !t.selectsLocked(c, a) {
				continue
			}
			if c.exited && !a.Exited && !a.Continued {
				continue
			}
			some = true
			if r, found = t.reportTraceeLocked(c, a); found {
				return r, true, true
			}
		}
	}
	return WaitResult{}, false, some
}

// selectsLocked tells whether a wait is for thread c.
func (t *Task) selectsLocked(c *Task, a *WaitArgs) bool {
	switch a.Kind {
	case WaitPID:
		return c.pid.In(t.pidns) == a.ID
	case WaitProcess:
		return a.Process.leader == c
	case WaitGroup:
		return c.tg.group == t.waitGroupLocked(a.ID)
	}
	return true
}

func (t *Task) reportTraceeLocked(c *Task, a *WaitArgs) (WaitResult, bool) {
	if c.exited {
		if !a.Exited || c == c.tg.leader && (!c.tg.exited || c.tg.reaped) {
			return WaitResult{}, false
		}
		return t.collectTraceeLocked(c, a), true
	}
	c.tg.sigMu.Lock()
	s := &c.tracee.stop
	code := s.code
	if !s.active || s.listening || s.given || code == 0 {
		c.tg.sigMu.Unlock()
		return t.reportTraceeContinueLocked(c, a)
	}
	if !a.NoReap {
		s.code = 0
	}
	c.tg.sigMu.Unlock()
	return t.threadResultLocked(c, signal.CldTrapped, code), true
}

// reportTraceeContinueLocked reports that job control let the tracee's process go on.
func (t *Task) reportTraceeContinueLocked(c *Task, a *WaitArgs) (WaitResult, bool) {
	c.tg.sigMu.Lock()
	due := a.Continued && c.tg.stop.reportContinue
	if due {
		c.tg.stop.reportContinue = a.NoReap
	}
	c.tg.sigMu.Unlock()
	return t.threadResultLocked(c, signal.CldContinued, int32(unix.SIGCONT)), due
}

// collectTraceeLocked reports a tracee that has ended. The end of a process is then its parent's to see.
func (t *Task) collectTraceeLocked(c *Task, a *WaitArgs) WaitResult {
	tg := c.tg
	exit := c.status
	if c == tg.leader {
		exit = tg.exitStatus
	}
	code, status := exit.childCode()
	r := t.threadResultLocked(c, code, status)
	r.Exit = exit
	if a.NoReap {
		return r
	}
	by := c.tracee.tracer
	natural := c == tg.leader && tg.parent == by.tg
	tg.sigMu.Lock()
	c.unlinkLocked()
	tg.sigMu.Unlock()
	if natural {
		tg.reapLocked(by.tg)
	} else {
		c.abandonedLocked(by)
	}
	return r
}

// threadResultLocked is the result of a wait for a thread.
func (t *Task) threadResultLocked(c *Task, code, status int32) WaitResult {
	u := c.Usage()
	if c == c.tg.leader {
		u = c.tg.usageLocked()
		u.Add(c.tg.childUsage)
	}
	return WaitResult{
		PID: c.pid.In(t.pidns), UID: uint32(c.Creds().RUID), Code: code, Status: status, Usage: u,
	}
}

// tellTracerOfEndLocked makes the end of a traced thread, or of its process, known to the tracer.
func (t *Task) tellTracerOfEndLocked() {
	to := t.tracee.tracer
	status := t.status
	if t == t.tg.leader {
		status = t.tg.exitStatus
	}
	code, value := status.childCode()
	info := signal.Info{
		Signo: unix.SIGCHLD, Code: code, Status: value,
		PID: t.pid.In(to.pidns), UID: uint32(t.Creds().RUID),
	}
	to.tg.sigMu.Lock()
	to.tg.sendLocked(&info, nil, false) //nolint:errcheck // SIGCHLD is no real-time signal
	to.tg.sigMu.Unlock()
	to.tg.childWait.Notify(waiter.In)
}
