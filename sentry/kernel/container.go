package kernel

import (
	"sync/atomic"

	"gosentry/fs/cgroup"
	"gosentry/fs/mqueue"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// Container is a part of the sandbox that is limited, stands still and ends as one: programs from outside and what they
// start. The whole sandbox is the first; it bounds those that are added, and its end is theirs.
type Container struct {
	k      *Kernel
	memory *mm.MemoryFile
	ns     *Namespaces   // what programs begin in, with a reference
	pids   *PIDNamespace // of their ids, with a reference
	group  *cgroup.Group // that they begin in

	taskLimit atomic.Int64
	oomKills  atomic.Uint64

	// Guarded by userTable.mu.
	tasks int // zombies too
	live  int // those that have not ended
	// emptied has something when no task may be left.
	emptied chan struct{}

	// Guarded by Kernel.tree.
	main   *ThreadGroup // the program that it is for
	paused bool
	ending bool
	used   Usage // of processes that have ended
}

// ContainerArgs say what a further container has.
type ContainerArgs struct {
	// Name is that of its control group.
	Name string
	// Owner is who its own namespaces belong to.
	Owner *cred.Credentials
	// Mounts is its mount namespace, taken over.
	Mounts *vfs.Namespace
	// Memory is a part of the kernel's, taken over.
	Memory *mm.MemoryFile
	// Tasks is how many tasks it may have; 0: as many as the sandbox.
	Tasks int
	// Fresh are the kinds of namespaces that it has for itself. The others are those of the container in Join, else the first's.
	Fresh Fresh
	Join  map[Fresh]*Container
	// Host and Domain are its names, where it has a UTS namespace for itself; empty: the first's.
	Host, Domain string
}

// makeWhole makes the first container, with the first namespaces.
func (k *Kernel) makeWhole(tasks int) {
	k.whole = &Container{
		k: k, memory: k.memory, ns: k.first.incRef(), pids: k.rootPIDNS, group: k.cgroups.Root(), emptied: make(chan struct{}, 1),
	}
	k.whole.SetTaskLimit(tasks)
}

// Whole returns the container that is the whole sandbox.
func (k *Kernel) Whole() *Container { return k.whole }

// AddContainer makes a further container. ESRCH when one that it is to join has ended; EEXIST for a name that is in use;
// what namespaces and control groups refuse.
func (k *Kernel) AddContainer(a ContainerArgs) (*Container, error) {
	c := &Container{k: k, memory: a.Memory, emptied: make(chan struct{}, 1)}
	c.SetTaskLimit(a.Tasks)
	if err := c.makeGroup(a.Name); err != nil {
		c.memory.ClosePart()
		a.Mounts.Release()
		return nil, err
	}
	if err := c.makeNamespaces(&a); err != nil {
		c.removeGroup()
		c.memory.ClosePart()
		return nil, err
	}
	return c, nil
}

// makeNamespaces makes or joins the container's namespaces.
func (c *Container) makeNamespaces(a *ContainerArgs) (err error) {
	n := c.k.whole.ns.copy()
	mounts := &MountNamespace{Namespace: a.Mounts}
	if err := mounts.initFor(c.k, cred.KindMount, a.Owner); err != nil {
		a.Mounts.Release()
		return err
	}
	mounts.close = mounts.Release
	n.Mount = mounts
	defer mounts.decRef()
	n.PIDForChildren = c.k.whole.pids
	c.k.tree.RLock()
	for kind, of := range a.Join {
		if of.ending {
			err = unix.ESRCH
		}
		n.join(kind, of)
	}
	c.k.tree.RUnlock()
	if err != nil {
		return err
	}
	for _, kind := range []Fresh{FreshUTS, FreshIPC, FreshNet, FreshPID, FreshCgroup} {
		if a.Fresh&kind == 0 {
			continue
		}
		made, err := c.freshNamespace(n, kind, a)
		if err != nil {
			return err
		}
		// publish takes a reference of n's own.
		defer made.decRef()
	}
	c.ns, c.pids = n.publish(), n.PIDForChildren
	c.pids.incRef()
	return nil
}

// freshNamespace makes a namespace for n, with a reference.
func (c *Container) freshNamespace(n *Namespaces, kind Fresh, a *ContainerArgs) (*nsCommon, error) {
	switch kind {
	case FreshUTS:
		n.UTS = n.UTS.renamed(a.Host, a.Domain)
		return &n.UTS.nsCommon, n.UTS.initFor(c.k, cred.KindUTS, a.Owner)
	case FreshIPC:
		return n.freshIPC(c.k, a.Owner)
	case FreshNet:
		return n.freshNet(c.k, a.Owner)
	case FreshCgroup:
		n.Cgroup = &CgroupNamespace{root: c.group}
		return &n.Cgroup.nsCommon, n.Cgroup.initFor(c.k, cred.KindCgroup, a.Owner)
	}
	pids, err := c.k.newPIDNamespace(c.k.rootPIDNS, a.Owner)
	if err != nil {
		return nil, err
	}
	n.PIDForChildren = pids
	return &pids.nsCommon, nil
}

// join takes a namespace of another container.
func (n *Namespaces) join(kind Fresh, of *Container) {
	switch kind {
	case FreshUTS:
		n.UTS = of.ns.UTS
	case FreshIPC:
		n.IPC = of.ns.IPC
	case FreshNet:
		n.Net = of.ns.Net
	case FreshCgroup:
		n.Cgroup = of.ns.Cgroup
	case FreshTime:
		n.Time, n.TimeForChildren = of.ns.Time, of.ns.TimeForChildren
	case FreshPID:
		n.PIDForChildren = of.pids
	}
}

// makeGroup makes the control group, below the root.
func (c *Container) makeGroup(name string) error {
	in, err := c.k.cgroups.Root().Inode().Mkdir(nil, name, vfs.NewAttr{Mode: 0o755})
	if err == nil {
		c.group, err = cgroup.GroupOf(in)
	}
	if err == nil {
		c.group.GiveMemory(c.memory)
	}
	return err
}

// removeGroup removes the group and those that its processes made below it.
func (c *Container) removeGroup() { c.group.RemoveAll() }

// OwnPIDs gives the whole sandbox's programs a pid namespace of their own, whose init the first one will be. It belongs to the user
// namespace of owner.
func (c *Container) OwnPIDs(owner *cred.Credentials) error {
	pids, err := c.k.newPIDNamespace(c.k.rootPIDNS, owner)
	if err != nil {
		return err
	}
	n := c.ns.copy()
	n.PIDForChildren = pids
	c.ns.decRef()
	c.ns, c.pids = n.publish(), pids
	return nil
}

// SetDomain sets the domain name that the container's programs see.
func (c *Container) SetDomain(name string) { c.ns.UTS.SetDomain(name) }

// Cgroup returns the group that the container's programs begin in.
func (c *Container) Cgroup() *cgroup.Group { return c.group }

// Memory returns the memory that the container's programs and file systems are charged to.
func (c *Container) Memory() *mm.MemoryFile { return c.memory }

// MessageQueues returns the POSIX message queues of the container's ipc namespace.
func (c *Container) MessageQueues() *mqueue.FileSystem { return c.k.mqueues(c.ns.IPC) }

// Memory returns the memory that the task is charged to.
func (t *Task) Memory() *mm.MemoryFile { return t.container.memory }

// SetTaskLimit changes how many tasks there may be; 0: as many as the kernel takes.
func (c *Container) SetTaskLimit(tasks int) {
	if tasks <= 0 {
		tasks = maxTasks
	}
	c.taskLimit.Store(int64(min(tasks, maxTasks)))
}

// SetMemoryLimit changes how many bytes may be allocated.
func (c *Container) SetMemoryLimit(limit uint64) { c.memory.SetLimit(limit) }

// Pause makes the container's processes stand still, or go on, whatever their control groups say.
func (c *Container) Pause(on bool) {
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	c.paused = on
	c.eachLocked((*ThreadGroup).freezeLocked)
}

// eachLocked calls f with each process of the container that has not ended, but not those of others.
func (c *Container) eachLocked(f func(*ThreadGroup)) {
	for _, p := range c.k.rootPIDNS.ids {
		if p.tg != nil && p.tg != c.k.init && p.tg.live > 0 && p.tg.leader.container == c {
			f(p.tg)
		}
	}
}

// Kill ends all that runs in the container, and lets nothing more be started in it.
func (c *Container) Kill() {
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	c.endLocked()
}

func (c *Container) endLocked() {
	c.ending = true
	c.eachLocked(func(tg *ThreadGroup) { tg.killAll(ExitStatus{Signal: unix.SIGKILL}) })
}

// Release waits until nothing runs in an added container after its program's end, and takes it apart.
func (c *Container) Release() {
	for !c.empty() {
		<-c.emptied
	}
	c.ns.decRef()
	c.pids.decRef()
	c.removeGroup()
	c.memory.ClosePart()
}

func (c *Container) empty() bool {
	u := c.k.users
	u.mu.Lock()
	defer u.mu.Unlock()
	return c.live == 0
}

// endedLocked counts a task that has ended. userTable.mu is held.
func (c *Container) endedLocked() {
	if c.live--; c.live > 0 {
		return
	}
	select {
	case c.emptied <- struct{}{}:
	default:
	}
}

// fullLocked tells whether the container, or the whole sandbox, has no room for another task. userTable.mu is held.
func (c *Container) fullLocked() bool {
	return c.tasks >= int(c.taskLimit.Load()) || c.k.users.tasks >= int(c.k.whole.taskLimit.Load())
}

// oomKilled counts a process that was killed for want of memory.
func (c *Container) oomKilled() {
	c.oomKills.Add(1)
	if c != c.k.whole {
		c.k.whole.oomKills.Add(1)
	}
}

// NewUserNamespace makes a user namespace with the given maps, as written to /proc/PID/uid_map, and returns the
// credentials of its maker in it, to whom all its capabilities belong. EINVAL for bad maps.
func (k *Kernel) NewUserNamespace(uids, gids string) (*cred.Credentials, error) {
	maker := k.Credentials(0, 0, nil)
	c, err := maker.NewUserNamespace(k.nextNSIno(), cred.Most{Tasks: limits.Infinity, Signals: limits.Infinity})
	if err != nil {
		return nil, err
	}
	for _, m := range []struct {
		kind cred.MapKind
		text string
	}{{cred.MapUID, uids}, {cred.MapGID, gids}} {
		if err := c.UserNS.WriteMap(m.kind, m.text, maker, maker); err != nil {
			c.UserNS.Drop()
			return nil, err
		}
	}
	return c, nil
}

// OwnFirst has a user namespace own the kernel's first namespaces from now on. It is for before the first program.
func (k *Kernel) OwnFirst(owner *cred.UserNamespace) {
	for _, n := range []*nsCommon{
		&k.first.Mount.nsCommon, &k.first.UTS.nsCommon, &k.first.IPC.nsCommon, &k.first.Net.nsCommon, &k.first.Cgroup.nsCommon,
	} {
		owner.Hold()
		n.owner.Drop()
		n.owner = owner
	}
}
