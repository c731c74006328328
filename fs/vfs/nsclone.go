package vfs

import "golang.org/x/sys/unix"

// lockable are the flags of a mount that who is less privileged may not take away.
const lockable = ReadOnly | NoExec | NoSuid | NoDev | NoAtime

// Clone copies the namespace; ENOSPC where there are too many mounts. translate turns a path of the old one into the same
// path of the new one. The copies are peers of shared mounts, and slaves of what others are slaves of. In a clone for somebody less
// privileged they are slaves of shared mounts, and locked: they go only together, so that
// what they cover stays covered, and keep their flags. Files of mount namespaces stay behind.
func (ns *Namespace) Clone(lock bool) (clone *Namespace, translate func(Path) Path, err error) {
	s := ns.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	if !s.mounts.Take(int64(len(ns.mounts))) {
		return nil, nil, unix.ENOSPC
	}
	n, kind := s.newNamespace(ns.domain), asPeer
	if lock {
		n.domain, kind = new(domain), asSlave
	}
	copies := map[*Mount]*Mount{}
	for _, old := range ns.mounts {
		n.cloneMount(old, kind, lock, copies)
	}
	s.mounts.Take(int64(len(n.mounts) - len(ns.mounts)))
	s.connect(n.mounts[1:])
	n.root.Store(copies[ns.root.Load()])
	return n, func(p Path) Path {
		if c := copies[p.Mount]; c != nil {
			p.Mount = c
		}
		return p
	}, nil
}

// cloneMount adds a copy of old to the namespace and to copies, which has those below it.
func (ns *Namespace) cloneMount(old *Mount, kind copyKind, lock bool, copies map[*Mount]*Mount) {
	at := old.at.Load()
	if at != nil && copies[at.Mount] == nil || old.holds != nil && old.holds.PrivateMount() {
		return
	}
	c := old.copyMount(old.root, kind)
	c.unbindable, c.locked = old.unbindable, old.locked
	if lock {
		c.lockedFlags |= c.Flags() & lockable
		c.locked = at != nil
	}
	if at != nil {
		c.at.Store(&Path{copies[at.Mount], at.Dentry})
	}
	copies[old] = c
	ns.add(tree{c})
}

// reveals tells whether something locked covers a place below p. System.mountMu is held.
func (m *Mount) reveals(p Path) bool {
	over := m.over.Load()
	if over == nil {
		return false
	}
	for d, c := range *over {
		if c.locked && d.isUnder(p.Dentry) {
			return true
		}
	}
	return false
}

// Has tells whether the mount is one of ns, or was until it was unmounted.
func (ns *Namespace) Has(m *Mount) bool { return m.ns.Load() == ns }

// PivotRoot is pivot_root(2) for a caller whose root directory is root: the mount that root is the root of goes to old, and that of
// new takes its place. EINVAL where root or new is not the root of a mount, old is not below new, or new is locked; EBUSY
// when new or old is on the mount of root itself; EINVAL where old, or what root or new stand on, is shared; ENOTDIR, ENOENT.
func (ns *Namespace) PivotRoot(root, new, old Path) error {
	defer old.Dentry.keepName()()
	s := ns.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	from, to := root.Mount, new.Mount
	switch {
	case !ns.Has(from) || !ns.Has(to) || !ns.Has(old.Mount) || to.locked, old.Mount.group != nil || from.onShared() || to.onShared():
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
	s.displace(to)
	if at := from.at.Load(); at != nil {
		s.displace(from)
		s.place(to, *at)
	} else {
		to.at.Store(nil)
		ns.root.Store(to)
	}
	s.place(from, old.top())
	if from.locked {
		to.locked, from.locked = true, false
	}
	ns.order()
	return nil
}

// onShared tells whether m stands on a shared mount.
func (m *Mount) onShared() bool {
	at := m.at.Load()
	return at != nil && at.Mount.group != nil
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
