package vfs

import "golang.org/x/sys/unix"

// Attributes are a change of mounts (mount_setattr(2)).
type Attributes struct {
	Set, Clear  MountFlags // what is in both is set
	Propagation int        // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE; 0: as it is
}

// SetAttr changes the mount whose root is path, with recursive set those on it too: all or none. EINVAL when path is not the
// root of a mount that is in use in ns, EPERM to take away a flag that is locked.
func (ns *Namespace) SetAttr(path Path, a Attributes, recursive bool) error {
	s := ns.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	m := path.Mount
	if path.Dentry != m.root || !ns.uses(m) {
		return unix.EINVAL
	}
	t := tree{m}
	if recursive {
		t = m.tree()
	}
	for _, m := range t {
		if m.lockedFlags&a.Clear&^a.Set != 0 {
			return unix.EPERM
		}
	}
	for _, m := range t {
		m.flags.Store(uint32(m.Flags()&^a.Clear | a.Set))
		if a.Propagation != 0 {
			m.setPropagation(a.Propagation)
		}
	}
	path.Mount.ns.Load().changed()
	return nil
}
