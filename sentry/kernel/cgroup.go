package kernel

import (
	"gosentry/fs/cgroup"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// CgroupNamespace is a cgroup namespace (cgroup_namespaces(7)): a group that those in the namespace see as the
// root.
type CgroupNamespace struct {
	nsCommon
	root *cgroup.Group
}

func (t *Task) freshCgroup(n *Namespaces, c *cred.Credentials) (*nsCommon, error) {
	n.Cgroup = &CgroupNamespace{root: t.tg.Cgroup()}
	return &n.Cgroup.nsCommon, n.Cgroup.initFor(t.k, cred.KindCgroup, c)
}

// Cgroup returns the group that the process is in, or was in at its end.
func (tg *ThreadGroup) Cgroup() *cgroup.Group {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.cgroup
}

// Cgroup implements proc.Task.
func (p procTask) Cgroup(c vfs.Caller) string {
	root := p.t.k.cgroups.Root()
	if t := taskOf(c); t != nil {
		root = t.CgroupRoot()
	}
	return p.t.tg.Cgroup().PathFrom(root)
}

// CgroupRoot returns the group that the task sees as the root.
func (t *Task) CgroupRoot() *cgroup.Group {
	if n := t.Namespaces(); n != nil {
		return n.Cgroup.root
	}
	return t.k.cgroups.Root()
}

// forkCgroup counts the child in the group that it is to be born in: its parent's, or the one asked for.
func (t *Task) forkCgroup(c *Task, a *ForkArgs, undo *undoStack) error {
	to, err := t.birthCgroup(a)
	if err == nil {
		err = to.Admit()
	}
	if err == nil && a.IntoCgroup && a.Fresh&FreshCgroup != 0 {
		c.Namespaces().Cgroup.root = to // nobody else has seen it yet
	}
	if err == unix.ENODEV && !a.IntoCgroup {
		return t.forkCgroup(c, a, undo) // the process was moved in between, and the group removed
	}
	if err != nil {
		return t.refuse(refusedCgroup, err)
	}
	c.cgroup = to
	undo.push(func() {
		to.Leave()
		to.Uncharge()
	})
	return nil
}

func (t *Task) birthCgroup(a *ForkArgs) (*cgroup.Group, error) {
	from := t.tg.Cgroup()
	if !a.IntoCgroup {
		return from, nil
	}
	file, err := t.FDs().Get(a.CgroupFD)
	if err != nil {
		return nil, err
	}
	defer file.DecRef()
	to, err := cgroup.GroupOf(file.Inode())
	if err != nil {
		return nil, err
	}
	return to, t.k.cgroups.MayBeBorn(t, from, to, a.shares(ShareThread))
}

// joinCgroupLocked puts the child into its group. One that was to be born in its parent's
// goes along if the parent was moved during the fork.
func (t *Task) joinCgroupLocked(c *Task, a *ForkArgs) {
	if !a.IntoCgroup && c.cgroup != t.tg.cgroup {
		c.moveLocked(t.tg.cgroup) //nolint:errcheck // its parent is in it, so it is there
	}
	if a.shares(ShareThread) {
		return
	}
	c.tg.cgroup = c.cgroup
	c.payLocked()
	c.tg.freezeLocked()
	if c.tg.thaw != nil {
		c.work.Store(true)
	}
}

// moveLocked counts the thread in another group. ENODEV if that was removed.
func (t *Task) moveLocked(to *cgroup.Group) error {
	if err := to.AdmitAnyway(); err != nil {
		return err
	}
	if t.standing {
		t.cgroup.CountFrozen(-1)
		to.CountFrozen(1)
	}
	t.cgroup.Leave()
	t.cgroup.Uncharge()
	t.cgroup = to
	return nil
}

// cgroupTasks is the kernel as its tree of groups sees it.
type cgroupTasks struct{ k *Kernel }

// IDs implements cgroup.Tasks.
func (c cgroupTasks) IDs(caller vfs.Caller, g *cgroup.Group, threads bool) []int32 {
	ns := c.k.rootPIDNS
	if t := taskOf(caller); t != nil {
		ns = t.pidns
	}
	c.k.tree.RLock()
	defer c.k.tree.RUnlock()
	var ids []int32
	c.eachLocked(g, func(tg *ThreadGroup) {
		switch {
		case tg.live == 0 || tg.cgroup != g:
		case threads:
			for _, t := range tg.tasks {
				if !t.exited {
					ids = append(ids, t.pid.In(ns))
				}
			}
		default:
			ids = append(ids, tg.pid.In(ns))
		}
	})
	return ids
}

// eachLocked calls f with each process in g and below.
func (c cgroupTasks) eachLocked(g *cgroup.Group, f func(*ThreadGroup)) {
	for _, p := range c.k.rootPIDNS.ids {
		if p.tg != nil && p.tg.cgroup.Within(g) {
			f(p.tg)
		}
	}
}

// Move implements cgroup.Tasks. No fork of the process is between the choice of its child's group and the
// child's birth, or the child comes along: both see the tree locked.
func (c cgroupTasks) Move(caller vfs.Caller, g *cgroup.Group, id int32, thread bool) error {
	by := taskOf(caller)
	if by == nil {
		return unix.ESRCH
	}
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	t := by
	if id != 0 {
		p := by.pidns.ids[id]
		if p == nil || p.task == nil {
			return unix.ESRCH
		}
		t = p.task
	}
	if t.main != nil {
		return unix.EINVAL
	}
	if err := c.k.cgroups.MayMove(caller, t.tg.cgroup, g, thread); err != nil || t.tg.cgroup == g {
		return err
	}
	return t.tg.moveLocked(g)
}

// moveLocked moves what lives of the process.
func (tg *ThreadGroup) moveLocked(to *cgroup.Group) error {
	if tg.live == 0 {
		return nil
	}
	for _, t := range tg.tasks {
		if t.exited {
			continue
		}
		if err := t.moveLocked(to); err != nil {
			return err
		}
	}
	tg.cgroup = to
	tg.payLocked()
	tg.freezeLocked()
	return nil
}

// Kill implements cgroup.Tasks. A fork that is under way sees its parent killed.
func (c cgroupTasks) Kill(g *cgroup.Group) {
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	c.eachLocked(g, func(tg *ThreadGroup) {
		if tg.leader.main == nil {
			tg.killAll(ExitStatus{Signal: unix.SIGKILL})
		}
	})
}

// Freeze implements cgroup.Tasks.
func (c cgroupTasks) Freeze(g *cgroup.Group) {
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	c.eachLocked(g, (*ThreadGroup).freezeLocked)
}

// setFreezing makes the process stand still, or go on.
func (tg *ThreadGroup) setFreezing(on bool) {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	switch {
	case on && tg.thaw == nil:
		tg.thaw = make(chan struct{})
		for _, t := range tg.tasks {
			t.interrupt()
		}
	case !on && tg.thaw != nil:
		close(tg.thaw)
		tg.thaw = nil
	}
}

// waitThawed stands still until the process may go on or is killed.
func (t *Task) waitThawed() {
	t.tg.sigMu.Lock()
	thaw := t.tg.thaw
	t.tg.sigMu.Unlock()
	if thaw == nil {
		return
	}
	t.stand(true)
	defer t.stand(false)
	t.setState(sleeping)
	defer t.resume()
	t.ctx.Leave()
	t.switchMode(cpuOff)
	for !t.dieIfDue() && !t.killedOr(thaw) {
		t.setState(sleeping)
	}
}

// dieIfDue ends the process if a signal is due whose default action, not dumping core, it is to die: that
// works on those that stand still too, unless a tracer is to see it first.
func (t *Task) dieIfDue() bool {
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	due := t.pending.Pending().Union(tg.pending.Pending()).Without(t.mask)
	for ; !due.Empty() && tg.initOf == nil && t.tracee == nil; due = due.Remove(due.Lowest()) {
		sig := due.Lowest()
		if tg.handlers.Get(sig).Handler == signal.HandlerDefault && signal.Default(sig) == signal.Terminate {
			tg.killLocked(ExitStatus{Signal: sig})
			return true
		}
	}
	return false
}

// stand counts the thread among those of its group that stand still, or no longer: for a freeze, in a
// stop, or until a vfork's child lets go.
func (t *Task) stand(still bool) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	t.standing = still
	if still {
		t.cgroup.CountFrozen(1)
	} else {
		t.cgroup.CountFrozen(-1)
	}
}
