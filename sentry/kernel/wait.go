package kernel

import (
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// WaitKind selects which children a wait is for.
type WaitKind int

// Kinds of wait.
const (
	WaitAny WaitKind = iota
	WaitPID
	WaitGroup // ID 0: the caller's own group
	WaitProcess
)

// WaitArgs are the arguments of wait4(2) and waitid(2), decoded.
type WaitArgs struct {
	Kind    WaitKind
	ID      int32
	Process *ThreadGroup // WaitProcess: the process of a pidfd

	Exited, Stopped, Continued bool // what is waited for
	NoHang                     bool
	NoReap                     bool // WNOWAIT: leave the child waitable
	Clone, All                 bool // __WCLONE, __WALL
	OwnOnly                    bool // __WNOTHREAD
}

// WaitResult is what a wait found. PID 0: nothing yet, with NoHang.
type WaitResult struct {
	PID    int32
	UID    uint32
	Code   int32 // CLD_*
	Status int32 // exit code or signal, as in siginfo
	Exit   ExitStatus
	Usage  Usage
}

// Wait waits for a child to change state. ECHILD when there is none to wait for.
func (t *Task) Wait(a WaitArgs) (WaitResult, error) {
	if r, err, done := t.tryWait(&a); done {
		return r, err
	}
	entry, ch := t.NewEntry(waiter.In)
	t.tg.childWait.Register(entry)
	defer t.tg.childWait.Unregister(entry)
	for {
		if r, err, done := t.tryWait(&a); done {
			return r, err
		}
		if err := t.Block(ch); err != nil {
			// The signal may be that of the very child waited for: it goes first.
			if r, err, done := t.tryWait(&a); done {
				return r, err
			}
			return WaitResult{}, err
		}
	}
}

// tryWait looks once; done is false when the caller has to wait.
func (t *Task) tryWait(a *WaitArgs) (r WaitResult, err error, done bool) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	if a.Exited {
		if c := t.findZombieLocked(a); c != nil {
			return t.collectLocked(c, a), nil, true
		}
	}
	r, found, eligible := t.waitTraceesLocked(a)
	if found {
		return r, nil, true
	}
	first := !a.Stopped && !a.Continued || t.tg.quietLocked()
	for c := range t.candidatesLocked(a) {
		if !t.mayWaitLocked(c, a) || c.exited && !a.Exited {
			continue
		}
		eligible = true
		if r, ok := t.reportJobControlLocked(c, a); ok {
			return r, nil, true
		}
		if first {
			break
		}
	}
	switch {
	case !eligible:
		return WaitResult{}, unix.ECHILD, true
	case a.NoHang:
		return WaitResult{}, nil, true
	}
	return WaitResult{}, nil, false
}

// candidatesLocked are the children that the selector may mean.
func (t *Task) candidatesLocked(a *WaitArgs) map[*ThreadGroup]struct{} {
	tg := t.tg
	var one *ThreadGroup
	switch a.Kind {
	case WaitPID:
		if p := t.pidns.ids[a.ID]; p != nil {
			one = p.tg
		}
	case WaitProcess:
		one = a.Process
	case WaitGroup:
		if g := t.waitGroupLocked(a.ID); g != nil {
			return g.members
		}
		return nil
	default:
		return tg.children
	}
	if one == nil {
		return nil
	}
	return map[*ThreadGroup]struct{}{one: {}}
}

func (t *Task) waitGroupLocked(id int32) *ProcessGroup {
	if id == 0 {
		return t.tg.group
	}
	if p := t.pidns.ids[id]; p != nil {
		return p.group
	}
	return nil
}

// mayWaitLocked tells whether c is a child that the options admit.
func (t *Task) mayWaitLocked(c *ThreadGroup, a *WaitArgs) bool {
	if c.parent != t.tg || c.reaped || (a.OwnOnly && c.parentTask != t) {
		return false
	}
	if c.waitByID && a.Kind != WaitPID && a.Kind != WaitProcess {
		return false
	}
	return a.All || a.Clone == (c.exitSignal != unix.SIGCHLD)
}

// findZombieLocked returns a zombie to report, the one that died first where
// there is a choice.
func (t *Task) findZombieLocked(a *WaitArgs) *ThreadGroup {
	switch a.Kind {
	case WaitPID, WaitProcess:
		for c := range t.candidatesLocked(a) {
			if c.exited && t.mayWaitLocked(c, a) && !c.awaitsTracerLocked() {
				return c
			}
		}
		return nil
	}
	var group *ProcessGroup
	if a.Kind == WaitGroup {
		if group = t.waitGroupLocked(a.ID); group == nil {
			return nil
		}
	}
	for e := t.tg.zombies.Front(); e != nil; e = e.Next() {
		c := e.Value.(*ThreadGroup)
		if (group == nil || c.group == group) && t.mayWaitLocked(c, a) && !c.awaitsTracerLocked() {
			return c
		}
	}
	return nil
}

// collectLocked reports a zombie and reaps it.
func (t *Task) collectLocked(c *ThreadGroup, a *WaitArgs) WaitResult {
	code, status := c.exitStatus.childCode()
	r := t.waitResultLocked(c, code, status)
	r.Exit = c.exitStatus
	if !a.NoReap {
		c.reapLocked(t.tg)
	}
	return r
}

func (t *Task) waitResultLocked(c *ThreadGroup, code, status int32) WaitResult {
	u := c.usageLocked()
	u.Add(c.childUsage)
	return WaitResult{
		PID:    c.pid.In(t.pidns),
		UID:    t.Creds().UserNS.ShowUID(c.leader.Creds().RUID),
		Code:   code,
		Status: status,
		Usage:  u,
	}
}

// reportJobControlLocked reports a stop or continue that was not reported yet.
func (t *Task) reportJobControlLocked(c *ThreadGroup, a *WaitArgs) (WaitResult, bool) {
	c.sigMu.Lock()
	code, status := int32(0), int32(0)
	switch {
	case c.exited:
	case a.Stopped && c.stop.reportStop && (c.leader.tracee == nil || c.awaitsTracerLocked()):
		code, status = signal.CldStopped, int32(c.stop.signal)
		c.stop.reportStop = a.NoReap
	case a.Continued && c.stop.reportContinue:
		code, status = signal.CldContinued, int32(unix.SIGCONT)
		c.stop.reportContinue = a.NoReap
	}
	c.sigMu.Unlock()
	if code == 0 {
		return WaitResult{}, false
	}
	return t.waitResultLocked(c, code, status), true
}

// Wait4Status returns the status word of wait4(2) for what was found.
func (r *WaitResult) Wait4Status() int32 {
	switch r.Code {
	case signal.CldStopped, signal.CldTrapped:
		return r.Status<<8 | 0x7f
	case signal.CldContinued:
		return 0xffff
	}
	return r.Exit.Wait()
}
