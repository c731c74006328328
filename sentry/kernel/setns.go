package kernel

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// SetNS is setns(2): the task enters the namespace that file stands for, which must be of the kind that
// want has if that has one; or with a pidfd those of the process that want names, all or none.
// EINVAL, EPERM, ESRCH, EUSERS.
func (t *Task) SetNS(file *vfs.File, want Fresh) error {
	if f, ok := file.Ops().(*nsFile); ok {
		if want != 0 && want != f.ref.kind {
			return unix.EINVAL
		}
		return t.enterNamespaces([]nsRef{f.ref})
	}
	p, err := pidFileOf(file)
	if err != nil || want == 0 {
		return unix.EINVAL
	}
	t.k.tree.RLock()
	o := p.threadLocked()
	t.k.tree.RUnlock()
	if o == nil {
		return unix.ESRCH
	}
	if !t.mayInspect(o) {
		return unix.EPERM
	}
	// What the target has cannot go away meanwhile, so it is held before it is looked at.
	ns := o.Namespaces()
	if ns == nil || !ns.tryIncRef() {
		return unix.ESRCH
	}
	defer ns.decRef()
	var refs []nsRef
	for _, r := range o.refs() {
		if want&r.kind == 0 {
			continue
		}
		if !r.hold() {
			return unix.ESRCH
		}
		defer r.drop()
		refs = append(refs, r)
	}
	return t.enterNamespaces(refs)
}

// entry is what a task that enters namespaces will have.
type entry struct {
	ns    *Namespaces
	creds *cred.Credentials
	root  vfs.Path // with a mount namespace
}

// enterNamespaces enters all of refs, in their order, or none.
func (t *Task) enterNamespaces(refs []nsRef) error {
	e := &entry{ns: t.Namespaces().copy(), creds: t.Creds()}
	for i := range refs {
		if err := t.prepare(e, &refs[i]); err != nil {
			return err
		}
	}
	if err := t.k.changeTime(t.MM(), t.Namespaces().Time, e.ns.Time); err != nil {
		return err
	}
	e.ns.Time.fix()
	t.setNamespaces(e.ns.publish())
	if e.root.Ok() {
		t.FS().SetRoot(e.root)
		t.FS().SetCWD(e.root)
	}
	if e.creds != t.Creds() {
		t.SetCreds(e.creds)
	}
	return nil
}

// prepare checks whether the task may enter one namespace, and notes that it will.
func (t *Task) prepare(e *entry, r *nsRef) error {
	if r.user != nil {
		return t.prepareUser(e, r.user)
	}
	c := t.Creds()
	if !c.HasIn(unix.CAP_SYS_ADMIN, r.owner()) || !c.HasIn(unix.CAP_SYS_ADMIN, e.creds.UserNS) {
		return unix.EPERM
	}
	switch ns := r.object.(type) {
	case *MountNamespace:
		switch {
		case !c.HasIn(unix.CAP_SYS_CHROOT, e.creds.UserNS):
			return unix.EPERM
		case t.FS().refs.Load() != 1:
			return unix.EINVAL
		}
		e.ns.Mount, e.root = ns, ns.Root()
	case *UTSNamespace:
		e.ns.UTS = ns
	case *IPCNamespace:
		e.ns.IPC = ns
	case *PIDNamespace:
		if !ns.within(t.pidns) {
			return unix.EINVAL
		}
		e.ns.PIDForChildren = ns
	case *CgroupNamespace:
		e.ns.Cgroup = ns
	case *NetNamespace:
		e.ns.Net = ns
	case *TimeNamespace:
		if t.tg.threads() > 1 || t.MM().Users() > 1 {
			return unix.EUSERS
		}
		e.ns.Time, e.ns.TimeForChildren = ns, ns
	}
	return nil
}

func (t *Task) prepareUser(e *entry, ns *cred.UserNamespace) error {
	if ns != t.Creds().UserNS && (t.tg.threads() > 1 || t.FS().refs.Load() != 1) {
		return unix.EINVAL
	}
	var err error
	e.creds, err = t.Creds().Enter(ns)
	return err
}
