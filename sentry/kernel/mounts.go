package kernel

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// MayMount tells whether the task may change its tree of mounts.
func (t *Task) MayMount() bool {
	return t.Creds().HasIn(unix.CAP_SYS_ADMIN, t.Namespaces().Mount.Owner())
}

// PivotRoot is pivot_root(2): what new leads to becomes the root directory, and the old one is mounted on old. Every task in the
// mount namespace whose root or working directory the old root was follows.
func (t *Task) PivotRoot(new, old vfs.Path) error {
	if !t.MayMount() {
		return unix.EPERM
	}
	root := t.FS().Root()
	if err := t.MountsOf().PivotRoot(root, new, old); err != nil {
		return err
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	for _, p := range t.k.rootPIDNS.ids {
		if p.task == nil || p.task.FS() == nil {
			continue
		}
		p.task.FS().move(func(p vfs.Path) vfs.Path {
			if p == root {
				return new
			}
			return p
		})
	}
	return nil
}

// ownsFileSystem is EPERM where the task's user namespace may not mount a type of file system: one other than the initial namespace may mount those
// that show only what is its own.
func (t *Task) ownsFileSystem(name string) error {
	c, ns := t.Creds(), t.Namespaces()
	if c.UserNS.Initial() {
		return nil
	}
	owner := c.UserNS
	switch name {
	case "tmpfs":
	case "proc":
		owner = t.pidns.owner
	case "sysfs":
		owner = ns.Net.owner
	case "cgroup2":
		owner = ns.Cgroup.owner
	case "mqueue":
		owner = ns.IPC.owner
	default:
		return unix.EPERM
	}
	if !c.HasIn(unix.CAP_SYS_ADMIN, owner) {
		return unix.EPERM
	}
	return nil
}

// OwnsFileSystemOf tells whether the task has the rights over the file system of m itself: those in the user
// namespace that it was made in.
func (t *Task) OwnsFileSystemOf(m *vfs.Mount) bool {
	return t.ownsFor(m.FileSystem().Owner())
}

// ownsFor tells whether the task has the rights over what was made for owner, nobody meaning the system.
func (t *Task) ownsFor(owner any) bool {
	ns, ok := owner.(*cred.UserNamespace)
	if !ok {
		ns = t.k.rootUserNS
	}
	return t.Creds().HasIn(unix.CAP_SYS_ADMIN, ns)
}

// MayBind is EINVAL for the file of a mount namespace that is not younger than the task's own: two could hold each other.
func (t *Task) MayBind(p vfs.Path) error {
	i, ok := p.Inode().(*nsInode)
	if !ok {
		return nil
	}
	if ns, ok := i.ref.object.(*MountNamespace); ok && ns.ID() <= t.MountsOf().ID() {
		return unix.EINVAL
	}
	return nil
}
