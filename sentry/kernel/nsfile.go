package kernel

import (
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// nsRef refers to a namespace of any kind: common, or user for a user namespace.
type nsRef struct {
	kind   Fresh
	name   string // of the kind, as in /proc/PID/ns
	common *nsCommon
	user   *cred.UserNamespace
	object any // *MountNamespace...
}

// refs are the namespaces of t in the order in which setns(2) enters several at once; without those but user and pid when
// t has ended.
func (t *Task) refs() []nsRef {
	user := t.Creds().UserNS
	all := []nsRef{{kind: FreshUser, name: "user", user: user, object: user}}
	ns := t.Namespaces()
	if ns != nil {
		all = append(all,
			nsRef{FreshMount, "mnt", &ns.Mount.nsCommon, nil, ns.Mount},
			nsRef{FreshUTS, "uts", &ns.UTS.nsCommon, nil, ns.UTS},
			nsRef{FreshIPC, "ipc", &ns.IPC.nsCommon, nil, ns.IPC})
	}
	all = append(all, nsRef{FreshPID, "pid", &t.pidns.nsCommon, nil, t.pidns})
	if ns != nil {
		all = append(all,
			nsRef{FreshCgroup, "cgroup", &ns.Cgroup.nsCommon, nil, ns.Cgroup},
			nsRef{FreshNet, "net", &ns.Net.nsCommon, nil, ns.Net},
			nsRef{FreshTime, "time", &ns.Time.nsCommon, nil, ns.Time})
	}
	return all
}

// childRefs are the namespaces that are not t's own but its children's.
func (t *Task) childRefs() []nsRef {
	ns := t.Namespaces()
	if ns == nil {
		return nil
	}
	return []nsRef{
		{FreshPID, "pid", &ns.PIDForChildren.nsCommon, nil, ns.PIDForChildren},
		{FreshTime, "time", &ns.TimeForChildren.nsCommon, nil, ns.TimeForChildren},
	}
}

func (r *nsRef) ino() uint64 {
	if r.user != nil {
		return r.user.Ino()
	}
	return r.common.ino
}

// owner is the user namespace whose capabilities count; for a user namespace its parent, nil for the initial one.
func (r *nsRef) owner() *cred.UserNamespace {
	if r.user != nil {
		return r.user.Parent
	}
	return r.common.owner
}

// hold keeps the namespace until drop; false when it has ended.
func (r *nsRef) hold() bool {
	if r.user != nil {
		return r.user.TryHold()
	}
	return r.common.tryIncRef()
}

func (r *nsRef) drop() {
	if r.user != nil {
		r.user.Drop()
		return
	}
	r.common.decRef()
}

// nsInode is the inode of a namespace's file (nsfs).
type nsInode struct {
	vfs.NoInode
	k   *Kernel
	ref nsRef
}

// path is where a link in /proc/PID/ns leads.
func (k *Kernel) nsPath(r nsRef) vfs.Path {
	return k.VFS().NamespacePath(&nsInode{k: k, ref: r}, fmt.Sprintf("%s:[%d]", r.name, r.ino()))
}

// Attr implements vfs.Inode.
func (i *nsInode) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: i.ref.ino(), Mode: unix.S_IFREG | 0o444, Nlink: 1, BlockSize: mm.PageSize}, nil
}

// Permission implements vfs.PermissionOps: such a file cannot be changed.
func (*nsInode) Permission(_ vfs.Caller, want uint32) error {
	switch {
	case want&vfs.MayWrite != 0:
		return unix.EPERM
	case want&vfs.MayExec != 0:
		return unix.EACCES
	}
	return nil
}

// Open implements vfs.Inode. The file holds the namespace.
func (i *nsInode) Open(vfs.Caller, int) (vfs.FileOps, error) {
	if !i.ref.hold() {
		return nil, unix.ENOENT
	}
	return &nsFile{k: i.k, ref: i.ref}, nil
}

// Mounted implements vfs.MountHolder: a mount of the file keeps the namespace.
func (i *nsInode) Mounted() bool { return i.ref.hold() }

// Unmounted implements vfs.MountHolder.
func (i *nsInode) Unmounted() { i.ref.drop() }

// PrivateMount implements vfs.MountHolder: a copy of a mount namespace does not keep other mount namespaces.
func (i *nsInode) PrivateMount() bool { return i.ref.kind == FreshMount }

// nsFile is an open file that stands for a namespace.
type nsFile struct {
	k   *Kernel
	ref nsRef
}

// Read implements vfs.FileOps.
func (*nsFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Write implements vfs.FileOps.
func (*nsFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Release implements vfs.FileOps.
func (f *nsFile) Release() { f.ref.drop() }

// Requests of ioctl_nsfs(2) that x/sys lacks.
const (
	nsGetPIDFrom  = 0x8004b706
	nsGetTGIDFrom = 0x8004b707
	nsGetPIDIn    = 0x8004b708
	nsGetTGIDIn   = 0x8004b709
)

// Ioctl implements vfs.IoctlOps (ioctl_nsfs(2)).
func (f *nsFile) Ioctl(c vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	t := taskOf(c)
	if t == nil {
		return 0, unix.ENOTTY
	}
	switch cmd {
	case unix.NS_GET_USERNS:
		return t.openOwner(f.ref.owner())
	case unix.NS_GET_PARENT:
		return f.parent(t)
	case unix.NS_GET_NSTYPE:
		return f.ref.kind.cloneFlag(), nil
	case unix.NS_GET_OWNER_UID:
		if f.ref.user == nil {
			return 0, unix.EINVAL
		}
		var b [4]byte
		putUint32(b[:], t.Creds().UserNS.ShowUID(f.ref.user.Owner))
		_, err := mem.CopyOut(mm.Addr(arg), b[:])
		return 0, err
	case nsGetPIDFrom, nsGetTGIDFrom, nsGetPIDIn, nsGetTGIDIn:
		return f.translate(t, cmd, int32(arg))
	}
	return 0, unix.ENOTTY
}

// translate turns the number of a thread in the pid namespace into the caller's, or the other way round.
func (f *nsFile) translate(t *Task, cmd uint32, nr int32) (uint64, error) {
	ns, ok := f.ref.object.(*PIDNamespace)
	if !ok {
		return 0, unix.EINVAL
	}
	from, to := ns, t.pidns
	if cmd == nsGetPIDIn || cmd == nsGetTGIDIn {
		from, to = to, from
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := from.ids[nr]
	if p == nil || p.task == nil {
		return 0, unix.ESRCH
	}
	if cmd == nsGetTGIDFrom || cmd == nsGetTGIDIn {
		p = p.task.tg.pid
	}
	if n := p.In(to); n != 0 {
		return uint64(n), nil
	}
	return 0, unix.ESRCH
}

// parent opens the parent of a user or pid namespace; EPERM where that is out of the caller's sight.
func (f *nsFile) parent(t *Task) (uint64, error) {
	switch ns := f.ref.object.(type) {
	case *cred.UserNamespace:
		return t.openOwner(ns.Parent)
	case *PIDNamespace:
		if ns.parent == nil || !ns.parent.within(t.pidns) {
			return 0, unix.EPERM
		}
		return t.openNS(nsRef{FreshPID, "pid", &ns.parent.nsCommon, nil, ns.parent})
	}
	return 0, unix.EINVAL
}

// within tells whether ns is top or a descendant of it.
func (ns *PIDNamespace) within(top *PIDNamespace) bool {
	for ; ns != nil; ns = ns.parent {
		if ns == top {
			return true
		}
	}
	return false
}

// openOwner opens a user namespace if it is the caller's or below.
func (t *Task) openOwner(ns *cred.UserNamespace) (uint64, error) {
	if ns == nil || !ns.Within(t.Creds().UserNS) {
		return 0, unix.EPERM
	}
	return t.openNS(nsRef{kind: FreshUser, name: "user", user: ns, object: ns})
}

// openNS gives the task a descriptor of a namespace.
func (t *Task) openNS(r nsRef) (uint64, error) { return t.openNSFile(t.k.nsPath(r), nil) }

// openNSFile is openNS for the file of a namespace, unless there is an error.
func (t *Task) openNSFile(p vfs.Path, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	fd, err := t.FDs().Open(t.Limits(), true, func() (*vfs.File, error) {
		return vfs.OpenPath(t, p, unix.O_RDONLY)
	})
	return uint64(fd), err
}

// cloneFlag is the CLONE_ flag of one kind.
func (f Fresh) cloneFlag() uint64 {
	switch f {
	case FreshMount:
		return unix.CLONE_NEWNS
	case FreshCgroup:
		return unix.CLONE_NEWCGROUP
	case FreshUTS:
		return unix.CLONE_NEWUTS
	case FreshIPC:
		return unix.CLONE_NEWIPC
	case FreshUser:
		return unix.CLONE_NEWUSER
	case FreshPID:
		return unix.CLONE_NEWPID
	case FreshNet:
		return unix.CLONE_NEWNET
	}
	return unix.CLONE_NEWTIME
}
