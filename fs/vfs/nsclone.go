package vfs

import "golang.org/x/sys/unix"

// lockable are the flags of a mount that who is less privileged may not take away.
const lockable = ReadOnly | NoExec | NoSuid | NoDev | NoAtime

// Clone copies the namespace; ENOSPC where there are too many mounts. translate turns a path of the old one into the same
// path of the new one. In a clone for somebody less privileged mounts are locked: they go only together, so that
// what they cover stays covered, and keep their flags.
func (ns *Namespace) Clone(lock bool) (clone *Namespace, translate func(Path) Path, err error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if !ns.sys.mounts.Take(int64(len(ns.mounts))) {
		return nil, nil, unix.ENOSPC
	}
	n := &Namespace{sys: ns.sys, id: ns.sys.nsID.Add(1)}
	copies := map[*Mount]*Mount{}
	var placed []*Mount
	for _, old := range ns.mounts {
		c := n.copyMount(old, old.root)
		c.unbindable.Store(old.unbindable.Load())
		c.locked = old.locked
		copies[old] = c
		n.mounts = append(n.mounts, c)
		at := old.at.Load()
		if lock {
			c.lockedFlags |= c.Flags() & lockable
			c.locked = at != nil
		}
		if at != nil {
			c.at.Store(&Path{copies[at.Mount], at.Dentry})
			placed = append(placed, c)
		}
	}
	n.sys.connect(placed)
	n.root.Store(copies[ns.root.Load()])
	return n, func(p Path) Path {
		if c := copies[p.Mount]; c != nil {
			p.Mount = c
		}
		return p
	}, nil
}

// reveals tells whether something locked covers a place below p. ns.mu is held.
func (ns *Namespace) reveals(p Path) bool {
	for _, m := range ns.mounts {
		if at := m.at.Load(); m.locked && at != nil && at.Mount == p.Mount && at.Dentry.isUnder(p.Dentry) {
			return true
		}
	}
	return false
}

// Has tells whether the mount is one of ns, or was until it was unmounted.
func (ns *Namespace) Has(m *Mount) bool { return m.ns == ns }

// SetUnbindable says whether the mount that path is on can be bound elsewhere. EINVAL when path is not its root.
func (ns *Namespace) SetUnbindable(path Path, on bool) error {
	if path.Mount.ns != ns || path.Dentry != path.Mount.root {
		return unix.EINVAL
	}
	path.Mount.unbindable.Store(on)
	return nil
}

// PivotRoot is pivot_root(2) for a caller whose root directory is root: the mount that root is the root of goes to old, and that of
// new takes its place. EINVAL where root or new is not the root of a mount, old is not below new, or new is locked; EBUSY
// when new or old is on the mount of root itself; ENOTDIR, ENOENT.
func (ns *Namespace) PivotRoot(root, new, old Path) error {
	defer old.Dentry.keepName()()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	from, to := root.Mount, new.Mount
	switch {
	case from.ns != ns || to.ns != ns || old.Mount.ns != ns || to.locked:
		return unix.EINVAL
	case new.Deleted():
		return unix.ENOENT
	case to == from || old.Mount == from:
		return unix.EBUSY
	case root.Dentry != from.root || new.Dentry != to.root || to == ns.root.Load():
		return unix.EINVAL
	case !to.isOn(from) || !ns.has(from) || !below(old, new):
		return unix.EINVAL
	}
	ns.displace(to)
	if at := from.at.Load(); at != nil {
		ns.displace(from)
		ns.place(to, *at)
	} else {
		to.at.Store(nil)
		ns.root.Store(to)
	}
	ns.place(from, old.top())
	if from.locked {
		to.locked, from.locked = true, false
	}
	ns.toEnd(from)
	return nil
}

// below tells whether p is top or below it, through mounts.
func below(p, top Path) bool {
	for p.Mount != top.Mount {
		at := p.Mount.at.Load()
		if at == nil {
			return false
		}
		p = *at
	}
	return p.Dentry.isUnder(top.Dentry)
}
