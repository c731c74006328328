package kernel

import (
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// adoptOrphansLocked gives the children of an ending thread to another thread of
// the group or, with the last one, to a subreaper or init.
func (t *Task) adoptOrphansLocked() {
	tg := t.tg
	if tg.live > 0 {
		heir := tg.anyLiveLocked()
		for c := range tg.children {
			if c.parentTask == t {
				c.parentTask = heir
				c.parentDiedLocked(t)
			}
		}
		return
	}
	if len(tg.children) == 0 {
		return
	}
	heir := tg.reaperLocked()
	for c := range tg.children {
		by := c.parentTask
		tg.removeChildLocked(c)
		if heir == nil {
			continue
		}
		heir.addChildLocked(c, heir.anyLiveLocked())
		heir.quietSince = 0
		c.exitSignal = unix.SIGCHLD
		c.parentDiedLocked(by)
		if c.exited {
			c.reportExitLocked(c.exitStatus)
		}
	}
}

// parentDiedLocked sends the parent-death signals of prctl(2).
func (tg *ThreadGroup) parentDiedLocked(parent *Task) {
	for _, t := range tg.tasks {
		sig := t.ParentDeathSignal()
		if sig == 0 || t.exited {
			continue
		}
		info := parent.senderInfo(sig, signal.CodeUser, t)
		tg.sigMu.Lock()
		tg.sendLocked(&info, nil, false) //nolint:errcheck // nobody to tell
		tg.sigMu.Unlock()
	}
}

func (tg *ThreadGroup) anyLiveLocked() *Task {
	for _, t := range tg.tasks {
		if !t.exited {
			return t
		}
	}
	return tg.leader
}

// reaperLocked returns who adopts the children of tg: the nearest subreaper among
// its ancestors, else the init of its pid namespace; nil when that is tg itself.
func (tg *ThreadGroup) reaperLocked() *ThreadGroup {
	ns := tg.pid.ns
	for p := tg.parent; p != nil && p.pid.ns == ns; p = p.parent {
		if p.subreaper && !p.exited {
			return p
		}
	}
	if ns.init == tg || ns.init == nil {
		return nil
	}
	return ns.init
}

// lastOfInit tells whether t is the last thread of the init of a namespace to get
// here on its way out.
func (t *Task) lastOfInit() bool {
	if t.tg.initOf == nil {
		return false
	}
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	t.leaving = true
	for _, o := range t.tg.tasks {
		if !o.leaving {
			return false
		}
	}
	return true
}

// emptyNamespace kills everyone in the namespace whose init ends, and waits
// until they are gone (pid_namespaces(7)). Children of a dying init leave no
// zombies; those of parents elsewhere have to be waited for.
func (t *Task) emptyNamespace() {
	ns := t.tg.initOf
	// As on Linux; whoever shares the actions ignores SIGCHLD from now on too.
	t.tg.handlers.Set(unix.SIGCHLD, signal.Action{Handler: signal.HandlerIgnore}) //nolint:errcheck // SIGCHLD can be ignored
	t.k.tree.Lock()
	ns.dying = true
	ns.emptied = make(chan struct{}, 1)
	for _, p := range ns.ids {
		if p.tg != nil && p.tg != t.tg {
			p.tg.killAll(ExitStatus{Signal: unix.SIGKILL})
		}
	}
	for z := t.tg.zombies.Front(); z != nil; z = t.tg.zombies.Front() {
		z.Value.(*ThreadGroup).reapLocked(nil)
	}
	t.k.tree.Unlock()
	t.ctx.Leave()
	t.switchMode(cpuOff)
	defer t.switchMode(cpuSystem)
	for !t.aloneInNamespace() {
		<-ns.emptied
	}
}

// aloneInNamespace tells whether nobody but the init is left in its namespace.
func (t *Task) aloneInNamespace() bool {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.tg.initOf.tasks == len(t.tg.tasks)
}

func (ns *PIDNamespace) notifyDyingLocked() {
	select {
	case ns.emptied <- struct{}{}:
	default:
	}
}

// hangUpOrphanedGroupsLocked sends SIGHUP and SIGCONT to process groups with
// stopped members that the end of tg leaves orphaned.
func (tg *ThreadGroup) hangUpOrphanedGroupsLocked() {
	groups := map[*ProcessGroup]struct{}{}
	if tg.parent != nil && tg.parent.group != tg.group && tg.parent.group.session == tg.group.session {
		groups[tg.group] = struct{}{}
	}
	for c := range tg.children {
		if c.group != tg.group && c.group.session == tg.group.session {
			groups[c.group] = struct{}{}
		}
	}
	for g := range groups {
		if g.orphanedLocked(tg) && g.hasStoppedLocked() {
			g.sendLocked(unix.SIGHUP)
			g.sendLocked(unix.SIGCONT)
		}
	}
}

// sendLocked sends a signal of the kernel's own to every member.
func (g *ProcessGroup) sendLocked(sig signal.Signal) {
	info := signal.KernelInfo(sig)
	for tg := range g.members {
		tg.sigMu.Lock()
		tg.sendLocked(&info, nil, true) //nolint:errcheck // standard signals cannot fail
		tg.sigMu.Unlock()
	}
}

// leaveTerminalLocked hangs the terminal's foreground group up when the session's
// leader ends.
func (tg *ThreadGroup) leaveTerminalLocked() {
	s := tg.group.session
	if s.leader != tg {
		return
	}
	s.leader = nil
	if s.tty == nil {
		if g := s.hungUp; g != nil {
			g.sendLocked(unix.SIGHUP)
			g.sendLocked(unix.SIGCONT)
		}
		return
	}
	if g := s.tty.foreground; g != nil {
		g.sendLocked(unix.SIGHUP)
		g.sendLocked(unix.SIGCONT)
	}
	s.tty.session, s.tty.foreground = nil, nil
	s.tty = nil
}
