package kernel

import (
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Namespaces are a task's namespaces but for the user namespace, which is part of its
// credentials, and the pid namespace of its own ids, which never changes. A Namespaces
// is immutable and counted, and refers to each object in it; tasks share it until one asks for others.
type Namespaces struct {
	refs atomic.Int32

	Mount           *MountNamespace
	UTS             *UTSNamespace
	IPC             *IPCNamespace
	Net             *NetNamespace
	Cgroup          *CgroupNamespace
	Time            *TimeNamespace
	TimeForChildren *TimeNamespace
	PIDForChildren  *PIDNamespace
}

// all are the common parts of the objects in n.
func (n *Namespaces) all() [8]*nsCommon {
	return [...]*nsCommon{
		&n.Mount.nsCommon, &n.UTS.nsCommon, &n.IPC.nsCommon, &n.Net.nsCommon, &n.Cgroup.nsCommon,
		&n.Time.nsCommon, &n.TimeForChildren.nsCommon, &n.PIDForChildren.nsCommon,
	}
}

// publish makes a filled-in Namespaces usable, with one reference.
func (n *Namespaces) publish() *Namespaces {
	for _, c := range n.all() {
		c.incRef()
	}
	n.refs.Store(1)
	return n
}

// copy returns a Namespaces with the same objects, to be changed and published.
func (n *Namespaces) copy() *Namespaces {
	return &Namespaces{
		Mount: n.Mount, UTS: n.UTS, IPC: n.IPC, Net: n.Net, Cgroup: n.Cgroup,
		Time: n.Time, TimeForChildren: n.TimeForChildren, PIDForChildren: n.PIDForChildren,
	}
}

func (n *Namespaces) incRef() *Namespaces {
	n.refs.Add(1)
	return n
}

// tryIncRef is incRef unless the last reference has gone.
func (n *Namespaces) tryIncRef() bool {
	for {
		r := n.refs.Load()
		if r == 0 {
			return false
		}
		if n.refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

func (n *Namespaces) decRef() {
	if n.refs.Add(-1) != 0 {
		return
	}
	for _, c := range n.all() {
		c.decRef()
	}
}

// makeNamespaces makes the initial namespaces.
func (k *Kernel) makeNamespaces(hostname string, mounts *vfs.Namespace) error {
	k.rootUserNS = new(cred.UserNamespace)
	k.rootUserNS.SetIno(inoUserNS)
	k.rootUserNS.Hold()
	n := &Namespaces{
		Mount: &MountNamespace{Namespace: mounts},
		UTS:   &UTSNamespace{host: hostname, domain: "(none)"},
		IPC:   new(IPCNamespace), Net: newNetNamespace(nil), Cgroup: &CgroupNamespace{root: k.cgroups.Root()}, Time: new(TimeNamespace),
	}
	n.TimeForChildren = n.Time
	var err error
	if n.PIDForChildren, err = k.newPIDNamespace(nil, nil); err != nil {
		return err
	}
	n.Mount.initFirst(k, cred.KindMount, inoMountNS)
	n.UTS.initFirst(k, cred.KindUTS, inoUTSNS)
	n.IPC.initFirst(k, cred.KindIPC, inoIPCNS)
	n.Net.initFirst(k, cred.KindNet, inoNetNS)
	n.Cgroup.initFirst(k, cred.KindCgroup, inoCgroupNS)
	n.Time.initFirst(k, cred.KindTime, inoTimeNS)
	k.first, k.rootPIDNS = n.publish(), n.PIDForChildren
	return nil
}

// makeFresh returns what a task with credentials c and namespaces t's has, or its child, after making those
// that fresh says anew. The result has one reference, and the directories of fs, which is nobody else's, are moved to a new mount
// namespace. EPERM without CAP_SYS_ADMIN, EINVAL, ENOSPC.
func (t *Task) makeFresh(fresh Fresh, c *cred.Credentials, fs *FSContext) (*Namespaces, error) {
	old := t.Namespaces()
	if fresh == 0 {
		return old.incRef(), nil
	}
	if !c.Has(unix.CAP_SYS_ADMIN) {
		return nil, unix.EPERM
	}
	n := old.copy()
	var move func(vfs.Path) vfs.Path
	for _, m := range [...]struct {
		kind Fresh
		make func() (*nsCommon, error)
	}{
		{FreshMount, func() (made *nsCommon, err error) {
			made, move, err = t.freshMount(n, c)
			return made, err
		}},
		{FreshUTS, func() (*nsCommon, error) { return t.freshUTS(n, c) }},
		{FreshIPC, func() (*nsCommon, error) { return n.freshIPC(t.k, c) }},
		{FreshPID, func() (*nsCommon, error) { return t.freshPID(n, c) }},
		{FreshCgroup, func() (*nsCommon, error) { return t.freshCgroup(n, c) }},
		{FreshTime, func() (*nsCommon, error) { return t.freshTime(n, c) }},
		{FreshNet, func() (*nsCommon, error) { return n.freshNet(t.k, c) }},
	} {
		if fresh&m.kind == 0 {
			continue
		}
		made, err := m.make()
		if err != nil {
			return nil, err
		}
		// publish takes a reference of n's own.
		defer made.decRef()
	}
	if move != nil {
		fs.move(move)
	}
	return n.publish(), nil
}

// setNamespaces gives the task n, whose reference it takes over.
func (t *Task) setNamespaces(n *Namespaces) {
	old := t.ns.Load()
	if old != nil && (n == nil || n.IPC != old.IPC) {
		t.dropSemUndo()
	}
	t.ns.Store(n)
	if old != nil {
		old.decRef()
	}
}

// leaveNamespaces ends the task's part in its namespaces.
func (t *Task) leaveNamespaces() {
	t.setNamespaces(nil)
}
