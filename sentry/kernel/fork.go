package kernel

import (
	"time"

	"gosentry/mm"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Fork creates a task: a process, or a thread of the caller's. It reserves and
// copies everything that can fail, each step with its undoing beside it; the
// commit that makes the child visible cannot fail. It returns the child's id in
// the caller's namespace.
func (t *Task) Fork(a *ForkArgs) (int32, error) {
	a.began, t.refusal = time.Now(), refusedOther
	id, err := t.fork(a)
	if err != nil {
		t.forkRefused(a, err)
		t.payForRefusal()
	}
	return id, err
}

func (t *Task) fork(a *ForkArgs) (int32, error) {
	if err := a.validate(); err != nil {
		return 0, err
	}
	if err := t.permitFork(a); err != nil {
		return 0, err
	}
	hold, err := t.holdProcess(a)
	if err != nil {
		return 0, err
	}
	defer hold.release()
	var undo undoStack
	child, err := t.prepareChild(a, &undo)
	if err != nil {
		undo.run()
		return 0, err
	}
	done := child.borrowMM(a)
	id, err := t.publish(child, a)
	if err != nil {
		undo.run()
		return 0, err
	}
	undo.commit()
	t.storeID(child, a)
	t.k.forked(t, child, a)
	pid := child.pid // which an exec of the child may change
	t.startChild(child, a)
	t.ptraceFork(a.event, pid)
	if t.waitVfork(a, done) {
		t.ptraceFork(unix.PTRACE_EVENT_VFORK_DONE, pid)
	}
	return id, nil
}

// undoStack holds the undoing of each step done, last first, and what is left to do once
// nothing can fail any more.
type undoStack struct {
	undo []func()
	rest []func()
}

func (u *undoStack) push(f func()) { u.undo = append(u.undo, f) }

func (u *undoStack) atCommit(f func()) { u.rest = append(u.rest, f) }

func (u *undoStack) run() {
	for i := len(u.undo) - 1; i >= 0; i-- {
		u.undo[i]()
	}
}

func (u *undoStack) commit() {
	for _, f := range u.rest {
		f()
	}
}

// prepareChild makes a whole child that nobody can see yet.
func (t *Task) prepareChild(a *ForkArgs, undo *undoStack) (*Task, error) {
	c := &Task{
		k: t.k, tg: t.tg, container: t.container, Regs: t.Regs, personality: t.personality,
		wake: make(chan struct{}, 1), mask: t.SignalMask(), call: callState{number: t.call.number}, main: a.Main,
	}
	c.name.Store(t.name.Load())
	if a.Main != nil {
		c.name.Store(&a.Name)
	}
	c.auxv.Store(t.auxv.Load())
	c.nice.Store(t.nice.Load())
	c.ioPriority = t.forkIO(a)
	c.slackAtStart = t.slackNS.Load()
	c.slackNS.Store(c.slackAtStart)
	steps := []func(*Task, *ForkArgs, *undoStack) error{
		t.forkCreds, t.forkCount, t.forkFS, t.forkNamespaces, t.forkPID, t.forkMM, t.forkFiles, t.forkGroup, t.forkCgroup,
		t.forkSemUndo, t.forkContext, t.forkPIDFD,
	}
	for i, step := range steps {
		if err := t.k.faultAt(i); err != nil {
			return c, err
		}
		if err := step(c, a, undo); err != nil {
			return c, err
		}
	}
	return c, t.k.faultAt(len(steps))
}

// faultAt is where tests make a fork fail.
func (k *Kernel) faultAt(step int) error {
	if k.forkFault == nil {
		return nil
	}
	return k.forkFault(step)
}

func (t *Task) forkCount(c *Task, a *ForkArgs, undo *undoStack) error {
	if a.Main != nil {
		return nil // no user has it
	}
	if err := t.k.enter(t, c); err != nil {
		return err
	}
	undo.push(func() { t.k.users.withdraw(c) })
	return nil
}

func (t *Task) forkCreds(c *Task, a *ForkArgs, undo *undoStack) error {
	creds, err := t.freshCreds(a.Fresh)
	if err != nil {
		return err
	}
	c.creds.Store(creds)
	undo.push(creds.UserNS.Drop)
	return nil
}

func (t *Task) forkPID(c *Task, a *ForkArgs, undo *undoStack) error {
	ns := c.Namespaces().PIDForChildren
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	if ns.dying {
		return unix.ENOMEM
	}
	lasts := ns.lastsLocked()
	pid, err := newPIDLocked(ns, a.SetTID, a.HighPID)
	if err != nil {
		return t.refuse(refusedIDs, err)
	}
	c.pid, c.pidns = pid, ns
	undo.push(func() {
		t.k.tree.Lock()
		defer t.k.tree.Unlock()
		pid.takeBackLocked(lasts)
	})
	return nil
}

func (t *Task) forkMM(c *Task, a *ForkArgs, undo *undoStack) error {
	if a.Main != nil {
		return nil
	}
	m := t.MM()
	if a.shares(ShareMM) {
		m.IncUsers()
	} else {
		var err error
		if m, err = m.Fork(); err != nil {
			return err
		}
		if err := t.k.changeTime(m, t.Namespaces().Time, c.Namespaces().Time); err != nil {
			m.DecUsers()
			return err
		}
		m.SetOwner(c.pid)
	}
	c.mm.Store(m)
	if exe := t.exe.Load(); exe != nil {
		exe.IncRef()
		c.exe.Store(exe)
	}
	undo.push(func() {
		m.DecUsers()
		if exe := c.exe.Load(); exe != nil {
			exe.DecRef()
		}
	})
	return nil
}

func (t *Task) forkFiles(c *Task, a *ForkArgs, undo *undoStack) error {
	var f *FDTable
	switch {
	case a.CleanFiles:
		f = newFDTable(t.k)
	case a.shares(ShareFiles):
		f = t.FDs().incRef()
	default:
		var err error
		if f, err = t.FDs().fork(noFDs); err != nil {
			return err
		}
	}
	c.fds.Store(f)
	undo.push(func() { f.DecRef(t) })
	return nil
}

func (t *Task) forkFS(c *Task, a *ForkArgs, undo *undoStack) error {
	f := t.FS()
	if a.shares(ShareFS) {
		f.incRef()
	} else {
		f = f.fork()
	}
	c.fs.Store(f)
	undo.push(f.decRef)
	return nil
}

func (t *Task) forkNamespaces(c *Task, a *ForkArgs, undo *undoStack) error {
	ns, err := t.makeFresh(a.Fresh&^FreshUser, c.Creds(), c.FS())
	if err != nil {
		return err
	}
	if !a.shares(ShareMM) {
		ns = ns.inTime()
	}
	c.ns.Store(ns)
	undo.push(ns.decRef)
	if a.shares(ShareSysVSem) && a.Fresh&FreshIPC != 0 {
		return unix.EINVAL // only for who may make the namespace
	}
	return nil
}

// forkGroup gives a new process its thread group.
func (t *Task) forkGroup(c *Task, a *ForkArgs, _ *undoStack) error {
	if a.shares(ShareThread) {
		return nil
	}
	h := t.tg.handlers
	switch {
	case a.shares(ShareActions):
	case a.ClearActions:
		h = h.CopyForExec()
	default:
		h = h.Copy()
	}
	c.tg = newThreadGroup(t.k, c.pid, t.tg.limits.Fork(), h)
	c.tg.leader = c
	if m := c.MM(); m != nil && !a.shares(ShareMM) {
		m.SetLimits(c.tg.limits)
	}
	c.tg.exitSignal, c.tg.waitByID = a.ExitSignal, a.WaitByID
	c.tg.oomScore.Store(t.tg.oomScore.Load())
	c.tg.coreFilter.Store(t.tg.coreFilter.Load())
	c.tg.dumpable.Store(t.tg.dumpable.Load())
	c.tg.thpDisabled.Store(t.tg.thpDisabled.Load())
	c.tg.persona.Store(t.tg.persona.Load())
	return nil
}

// forkContext gives the child registers, extended state, stack and the thread
// state that depends on whether memory is shared.
func (t *Task) forkContext(c *Task, a *ForkArgs, undo *undoStack) error {
	if a.Main != nil {
		c.runIn(kernelContext{})
		return nil
	}
	c.personality.ForkChild(c, a)
	c.altStack = signal.NoStack()
	if !a.shares(ShareMM) || a.Vfork {
		c.altStack = t.altStack
	}
	c.clearTID = a.ClearTID
	c.runIn(t.k.platform.NewContext(t.ctx.FPU()))
	undo.push(c.ctx.Release)
	return nil
}

// forkPIDFD reserves a descriptor for a pidfd, and tells the parent its number.
func (t *Task) forkPIDFD(c *Task, a *ForkArgs, undo *undoStack) error {
	if !a.WantPIDFD {
		return nil
	}
	table := t.FDs()
	fd, err := table.reserve(t.Limits())
	if err != nil {
		return err
	}
	file := newPIDFile(c, a.shares(ShareThread))
	undo.push(func() {
		table.unreserve(fd)
		file.DecRef()
	})
	undo.atCommit(func() { table.install(fd, file, true) })
	var b [4]byte
	putUint32(b[:], uint32(fd))
	return t.CopyOut(a.PIDFD, b[:])
}

// publish looks again at what may have changed while nothing was locked, and
// links the child into the tree. Both locks are held from the look to the link,
// so nobody who kills, stops or signals the parent misses the child.
func (t *Task) publish(c *Task, a *ForkArgs) (int32, error) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.k.ending() {
		return 0, t.refuse(refusedShutdown, unix.EAGAIN)
	}
	if c.pid.ns.dying {
		return 0, unix.ENOMEM
	}
	if t.dying || t.tg.exiting || t.mustStopLocked() || t.dueLocked() {
		return 0, ERESTARTNOINTR
	}
	t.commitLocked(c, a)
	return c.pid.In(t.pidns), nil
}

// commitLocked links the child into the tree, with the parent's sigMu held. It
// cannot fail.
func (t *Task) commitLocked(c *Task, a *ForkArgs) {
	c.pid.task = c
	c.sched = t.sched.forChild()
	if t.sched.Policy&schedReset != 0 {
		c.nice.Store(max(0, c.nice.Load()))
	}
	for n := c.pid.ns; n != nil; n = n.parent {
		n.tasks++
	}
	tg := c.tg
	t.joinCgroupLocked(c, a)
	if a.shares(ShareThread) {
		tg.tasks = append(tg.tasks, c)
	} else {
		t.linkGroupLocked(c, a)
	}
	tg.live++
	tg.meterTask(c)
	t.ptraceChildLocked(c, a)
	t.inheritRulesLocked(c)
}

// linkGroupLocked makes the child's new process a child of its parent, a member of
// its parent's process group, and perhaps the init of a namespace.
func (t *Task) linkGroupLocked(c *Task, a *ForkArgs) {
	tg := c.tg
	tg.tasks = []*Task{c}
	c.pid.tg = tg
	if ns := c.pid.ns; ns.init == nil {
		ns.init = tg
		tg.initOf = ns
	}
	parent, by := t.tg, t
	if a.shares(ShareParent) && t.tg.parent != nil {
		parent, by = t.tg.parent, t.tg.parentTask
		tg.exitSignal = t.tg.exitSignal
	}
	if init := c.pid.ns.init; a.ToInit && init != tg {
		parent, by = init, init.anyLiveLocked()
	}
	if a.Main != nil {
		tg.leadSessionLocked()
	} else {
		t.tg.group.joinLocked(tg)
	}
	if a.Main == nil || tg.initOf == nil { // else it is the first of all
		parent.addChildLocked(tg, by)
	}
	t.k.counts.processes.Add(1)
	tg.armCPULimit()
	tg.stopForks.Store(t.tg.stopForks.Load())
	if a.BornStopped || tg.stopForks.Load() {
		tg.stopAtBirth()
	}
}

// storeID writes the child's id where the parent wants to see it. A bad address is
// ignored, as the child exists already.
func (t *Task) storeID(c *Task, a *ForkArgs) {
	if a.ParentTID != 0 {
		t.storeTID(c, a.ParentTID)
	}
	c.setTID = a.ChildTID
}

// storeTID writes the id of o, as t sees it, to at.
func (t *Task) storeTID(o *Task, at mm.Addr) {
	var b [4]byte
	putUint32(b[:], uint32(o.pid.In(t.pidns)))
	t.MM().CopyOut(at, b[:]) //nolint:errcheck // see those who call it
}
