package cgroup

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// MayMove tells whether c may move a process, or only one thread of it, from one group to another, or
// have a child born there (cgroups(7)). ENODEV for a group that was removed, EACCES where c may
// not write the cgroup.procs of a group above both, EOPNOTSUPP for a group that can have no
// processes or for a thread that would part from its process, EBUSY where the group gives
// controllers to its children.
func (t *Tree) MayMove(c vfs.Caller, from, to *Group, thread bool) error {
	attr, err := commonAncestor(from, to).dir.files["cgroup.procs"].Attr()
	if err != nil {
		return err
	}
	if err := vfs.PermissionCheck(c, &attr, vfs.MayWrite); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case to.removed:
		return unix.ENODEV
	case !to.takesTasksLocked():
		return unix.EOPNOTSUPP
	case to.parent != nil && (to.below.has(memory) || to.below != 0 && to.populatedChildrenLocked()):
		return unix.EBUSY
	case thread && from != to:
		return unix.EOPNOTSUPP
	}
	return nil
}

// MayBeBorn is MayMove for a child of c: it must also be allowed to write to's own cgroup.procs.
func (t *Tree) MayBeBorn(c vfs.Caller, from, to *Group, thread bool) error {
	attr, err := to.dir.files["cgroup.procs"].Attr()
	if err != nil {
		return err
	}
	if err := vfs.PermissionCheck(c, &attr, vfs.MayWrite); err != nil {
		return err
	}
	return t.MayMove(c, from, to, thread)
}

func (g *Group) populatedChildrenLocked() bool { return g.live > g.own }

// threadRootLocked tells whether g has tasks that compete with its children for what a controller gives.
func (g *Group) threadRootLocked() bool {
	return g.parent != nil && g.own > 0 && g.below != 0
}

// takesTasksLocked is false below a group that has tasks and controllers for its children.
func (g *Group) takesTasksLocked() bool {
	for a := g.parent; a != nil; a = a.parent {
		if a.threadRootLocked() {
			return false
		}
	}
	return true
}

// kindLocked is what cgroup.type says.
func (g *Group) kindLocked() string {
	switch {
	case !g.takesTasksLocked():
		return "domain invalid"
	case g.threadRootLocked():
		return "domain threaded"
	}
	return "domain"
}
