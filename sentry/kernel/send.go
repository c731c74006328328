package kernel

import (
	"slices"

	"gosentry/sentry/cred"
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// stopSignals are those that stop a process unless caught or ignored.
var stopSignals = signal.SetOf(unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)

// interrupt makes the task look for work soon, whatever it is doing.
func (t *Task) interrupt() {
	t.work.Store(true)
	t.woken(sleeping)
	select {
	case t.wake <- struct{}{}:
	default:
	}
	t.ctx.Interrupt()
}

// SendSignal makes a signal pending on the thread. EAGAIN when a real-time
// signal cannot be queued for RLIMIT_SIGPENDING.
func (t *Task) SendSignal(info *signal.Info) error {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.tg.sendLocked(info, t, false)
}

// SendSignal makes a signal pending on the process. EAGAIN as for a thread.
func (tg *ThreadGroup) SendSignal(info *signal.Info) error {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tg.sendLocked(info, nil, false)
}

// sendLocked makes info pending on t, or on the whole group if t is nil.
// With force the init of a pid namespace obeys SIGKILL and SIGSTOP.
func (tg *ThreadGroup) sendLocked(info *signal.Info, t *Task, force bool) error {
	sig := info.Signo
	tg.prepareLocked(sig)
	if tg.dropsLocked(info.Signo, t, force) {
		return nil
	}
	fresh, err := tg.queueLocked(t).Enqueue(*info, tg.k.ledger(tg, t))
	if err != nil || !fresh {
		return err
	}
	tg.announceLocked(sig, t)
	return nil
}

// queueLocked is where signals for t pend, or for the group if t is nil.
func (tg *ThreadGroup) queueLocked(t *Task) *signal.Queue {
	if t != nil {
		return &t.pending
	}
	return &tg.pending
}

// announceLocked tells of a signal that has just become pending.
func (tg *ThreadGroup) announceLocked(sig signal.Signal, t *Task) {
	if sig == unix.SIGKILL {
		tg.killLocked(ExitStatus{Signal: unix.SIGKILL})
		return
	}
	if tg.fatalLocked(sig, t) {
		tg.killLocked(ExitStatus{Signal: sig})
		return
	}
	tg.signalQueue.Notify(waiter.In)
	tg.wakeOneLocked(sig, t)
}

// fatalLocked tells whether the signal ends the process whatever its threads are doing, so
// that also a call ends that only death interrupts: a thread would take it, which one that
// is stopped does not, nobody catches it, and it leaves no core.
func (tg *ThreadGroup) fatalLocked(sig signal.Signal, t *Task) bool {
	if tg.initOf != nil || tg.handlers.Get(sig).Handler != signal.HandlerDefault || signal.Default(sig) != signal.Terminate {
		return false
	}
	takes := func(c *Task) bool { return !c.dying && !c.parked && !c.mask.Has(sig) && c.tracee == nil }
	if t != nil {
		return takes(t)
	}
	return slices.ContainsFunc(tg.tasks, takes)
}

// prepareLocked does what a stop or continue signal does when it is sent,
// delivered or not.
func (tg *ThreadGroup) prepareLocked(sig signal.Signal) {
	switch {
	case stopSignals.Has(sig):
		tg.discardLocked(signal.SetOf(unix.SIGCONT))
	case sig == unix.SIGCONT:
		tg.discardLocked(stopSignals)
		for _, t := range tg.tasks {
			t.stopTaken = false
			t.jobChangedLocked()
		}
		tg.continueLocked()
	}
}

func (tg *ThreadGroup) discardLocked(s signal.Set) {
	tg.pending.Discard(s)
	for _, t := range tg.tasks {
		t.pending.Discard(s)
	}
}

// dropsLocked tells whether the signal has no effect at all: the process is
// ending, the signal is ignored and not blocked, or it goes to the init of a pid
// namespace that has no handler for it (pid_namespaces(7)).
func (tg *ThreadGroup) dropsLocked(sig signal.Signal, t *Task, force bool) bool {
	if tg.exiting {
		return true
	}
	if t == nil {
		t = tg.leader
	}
	if t.mask.Has(sig) || t.tracee != nil && sig != unix.SIGKILL {
		return false
	}
	act := tg.handlers.Get(sig)
	obeys := force && signal.Unblockable.Has(sig)
	if tg.initOf != nil && act.Handler == signal.HandlerDefault && !obeys {
		return true
	}
	return act.Ignores(sig)
}

// wakeOneLocked interrupts the thread that is to take the signal.
func (tg *ThreadGroup) wakeOneLocked(sig signal.Signal, t *Task) {
	if t != nil {
		if t.wantsLocked(sig) {
			t.interrupt()
		}
		return
	}
	for _, c := range tg.tasks {
		if c.wantsLocked(sig) {
			c.interrupt()
			return
		}
	}
}

// wantsLocked tells whether sig, pending on the group, would be taken by t now.
func (t *Task) wantsLocked(sig signal.Signal) bool {
	return !t.dying && (!t.mask.Has(sig) || t.waitSet.Has(sig))
}

// forceSignal delivers a fault to the thread even if it is blocked or ignored;
// it then ends the process.
func (t *Task) forceSignal(info *signal.Info) {
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if act := tg.handlers.Get(info.Signo); t.mask.Has(info.Signo) || act.Handler == signal.HandlerIgnore {
		tg.handlers.ForceDefault(info.Signo)
		t.mask = t.mask.Remove(info.Signo)
		t.forced = true
	}
	if tg.handlers.Get(info.Signo).Handler == signal.HandlerDefault {
		t.forced = true
	}
	t.pending.Enqueue(*info, nil) //nolint:errcheck // without a ledger it cannot fail
	t.work.Store(true)
}

// ForceSegv ends a task whose frame cannot be written or read.
func (t *Task) ForceSegv() {
	t.forceSignal(&signal.Info{Signo: unix.SIGSEGV, Code: signal.CodeKernel})
}

// senderInfo describes the caller to a receiver in ns.
func (t *Task) senderInfo(sig signal.Signal, code int32, to *Task) signal.Info {
	return signal.Info{
		Signo: sig, Code: code,
		PID: t.tg.pid.In(to.pidns),
		UID: to.Creds().UserNS.ShowUID(t.Creds().RUID),
	}
}

// forgedInfo is what the receiver sees of info, that the caller made up: a user by its id there.
func (t *Task) forgedInfo(info *signal.Info, sig signal.Signal, to *Task) signal.Info {
	i := *info
	i.Signo = sig
	if from, there := t.Creds().UserNS, to.Creds().UserNS; from != there {
		if u, ok := from.ToUID(i.UID); ok {
			i.UID = there.ShowUID(u)
		} else {
			i.UID = cred.Overflow
		}
	}
	return i
}

// MaySignal tells whether t may send sig to target (kill(2)).
func (t *Task) MaySignal(target *Task, sig signal.Signal) bool {
	if t.tg == target.tg {
		return true
	}
	c, d := t.Creds(), target.Creds()
	if c.EUID == d.SUID || c.EUID == d.RUID || c.RUID == d.SUID || c.RUID == d.RUID {
		return true
	}
	if c.HasIn(unix.CAP_KILL, d.UserNS) {
		return true
	}
	return sig == unix.SIGCONT && t.sameSession(target)
}

func (t *Task) sameSession(o *Task) bool {
	return t.tg.group.session == o.tg.group.session
}

// Kill is kill(2): pid selects a process, a group or everyone; info carries
// what sigqueue(3) adds, or is nil.
func (t *Task) Kill(pid int32, sig signal.Signal, info *signal.Info) error {
	if sig != 0 && !signal.Valid(sig) {
		return unix.EINVAL
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	switch {
	case pid > 0:
		p := t.pidns.ids[pid]
		if p == nil || (p.tg == nil && p.task == nil) {
			return unix.ESRCH
		}
		tg := p.tg
		if tg == nil {
			tg = p.task.tg
		}
		return t.killGroupLocked(tg, sig, info)
	case pid == 0:
		return t.killMembersLocked(t.tg.group, sig, info)
	case pid == -1:
		return t.killEveryoneLocked(sig, info)
	case pid == -1<<31:
		return unix.ESRCH
	}
	p := t.pidns.ids[-pid]
	if p == nil || p.group == nil {
		return unix.ESRCH
	}
	return t.killMembersLocked(p.group, sig, info)
}

func (t *Task) killGroupLocked(tg *ThreadGroup, sig signal.Signal, info *signal.Info) error {
	if tg.leader == nil {
		return unix.ESRCH
	}
	if !t.MaySignal(tg.leader, sig) {
		return unix.EPERM
	}
	if sig == 0 {
		return nil
	}
	i := t.senderInfo(sig, signal.CodeUser, tg.leader)
	if info != nil {
		i = t.forgedInfo(info, sig, tg.leader)
	}
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tg.sendFromLocked(t, &i, nil)
}

// sendFromLocked sends for a task: the init of a namespace obeys those outside.
func (tg *ThreadGroup) sendFromLocked(from *Task, info *signal.Info, t *Task) error {
	return tg.sendLocked(info, t, from.pidns.level < tg.pid.ns.level)
}

func (t *Task) killMembersLocked(g *ProcessGroup, sig signal.Signal, info *signal.Info) error {
	err := error(unix.ESRCH)
	sent := false
	for tg := range g.members {
		if e := t.killGroupLocked(tg, sig, info); e == nil {
			sent = true
		} else {
			err = e
		}
	}
	if sent {
		return nil
	}
	return err
}

func (t *Task) killEveryoneLocked(sig signal.Signal, info *signal.Info) error {
	found := false
	var err error
	for nr, p := range t.pidns.ids {
		if p.tg == nil || nr == 1 || p.tg == t.tg {
			continue
		}
		found = true
		if e := t.killGroupLocked(p.tg, sig, info); e != nil && e != unix.EPERM {
			err = e
		}
	}
	if !found {
		return unix.ESRCH
	}
	return err
}

// KillThread is tgkill(2), and tkill(2) when tgid is 0.
func (t *Task) KillThread(tgid, tid int32, sig signal.Signal, info *signal.Info) error {
	if tid <= 0 || tgid < 0 || (sig != 0 && !signal.Valid(sig)) {
		return unix.EINVAL
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[tid]
	if p == nil || p.task == nil || (tgid != 0 && p.task.tg.pid.In(t.pidns) != tgid) {
		return unix.ESRCH
	}
	return t.killThreadLocked(p.task, sig, info)
}

func (t *Task) killThreadLocked(target *Task, sig signal.Signal, info *signal.Info) error {
	if !t.MaySignal(target, sig) {
		return unix.EPERM
	}
	if sig == 0 || target.exited {
		return nil
	}
	i := t.senderInfo(sig, signal.CodeTkill, target)
	if info != nil {
		i = t.forgedInfo(info, sig, target)
	}
	target.tg.sigMu.Lock()
	defer target.tg.sigMu.Unlock()
	return target.tg.sendFromLocked(t, &i, target)
}

// SendSelf sends the thread a signal of the kernel's own (SIGPIPE, SIGXFSZ).
func (t *Task) SendSelf(sig signal.Signal) {
	info := signal.Info{Signo: sig, Code: signal.CodeUser, PID: t.TGID(), UID: t.Creds().UserNS.ShowUID(t.Creds().RUID)}
	t.SendSignal(&info) //nolint:errcheck // standard signals cannot fail
}
