package vfs

import "golang.org/x/sys/unix"

// MoveBeneath moves the mount whose root is from below the one that covers path, where it comes to light when that is
// unmounted. EINVAL where nothing that could be unmounted covers path, and for what Move refuses.
func (ns *Namespace) MoveBeneath(from, path Path) error {
	s := ns.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	path = path.top()
	m, top := from.Mount, path.Mount
	at := top.at.Load()
	if !ns.uses(top) || path.Dentry != top.root || at == nil || top.locked || top.isOn(m) {
		return unix.EINVAL
	}
	if err := ns.mayMove(from, *at); err != nil {
		return err
	}
	t := m.tree()
	if at.Mount.group != nil && (t.hasUnbindable() || at.Mount.group == top.group || at.Mount.group == m.group) {
		return unix.EINVAL
	}
	below := *at
	o := m.ns.Load()
	more := 0
	if o.nameless {
		more = len(t)
	}
	return s.attach(t, below, more, func() {
		s.displace(top)
		if o.nameless {
			s.adopt(t, below)
			o.abandon()
		} else {
			s.displace(m)
			s.place(m, below)
		}
		s.place(top, m.Root().top())
		ns.order()
	})
}

// SetGroup puts the mount whose root is to into the peer group and under the master of from (MOVE_MOUNT_SET_GROUP). EINVAL
// unless both are mounts of one file system, from shows all that to does, and to is private and from is not.
func (ns *Namespace) SetGroup(from, to Path) error {
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	f, m := from.Mount, to.Mount
	switch {
	case !ns.uses(f) || !ns.uses(m) || from.Dentry != f.root || to.Dentry != m.root,
		f.fs != m.fs || !m.root.isUnder(f.root) || f.reveals(Path{f, m.root}),
		m.group != nil || m.master != nil,
		f.group == nil && f.master == nil:
		return unix.EINVAL
	}
	m.follow(f.master)
	m.join(f.group)
	return nil
}
