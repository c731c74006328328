package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Unmount detaches the mount whose root is path, and what propagation put where its peers are. flags are umount2(2)'s: with
// MNT_DETACH whatever is still open stays usable, else that is EBUSY. EINVAL
// when path is not the root of a mount in ns, or is locked there.
func (ns *Namespace) Unmount(path Path, flags int) error {
	held, err := ns.unmount(path, flags)
	release(held)
	return err
}

func (ns *Namespace) unmount(path Path, flags int) ([]MountHolder, error) {
	s := ns.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	path = path.top()
	m := path.Mount
	if m.ns.Load() != ns || path.Dentry != m.root || m == ns.root.Load() || !ns.has(m) || m.locked {
		return nil, unix.EINVAL
	}
	t := m.tree()
	if flags&unix.MNT_DETACH == 0 && (len(t) > 1 || m.files.Load() > 0) {
		return nil, unix.EBUSY
	}
	gone := s.unmounts(t)
	if flags&unix.MNT_DETACH == 0 && slices.ContainsFunc(gone, func(m *Mount) bool { return m.files.Load() > 0 }) {
		return nil, unix.EBUSY
	}
	return s.remove(gone), nil
}

// unmounts returns t and the mounts that go with it, since what they stand on receives what happens to t. One that
// carries others stays.
func (s *System) unmounts(t tree) []*Mount {
	going := map[*Mount]bool{}
	for _, m := range t {
		going[m] = true
	}
	var more []*Mount
	for _, m := range t {
		at := m.at.Load()
		if at == nil {
			continue
		}
		for _, r := range receivers(*at, false) {
			if c := r.mount.on(at.Dentry); c != nil && !going[c] {
				going[c] = true
				more = append(more, c)
			}
		}
	}
	keepWhatCarries(going, more)
	return slices.DeleteFunc(append(slices.Clone(t), more...), func(m *Mount) bool { return !going[m] })
}

// keepWhatCarries takes those of more out of going that carry a mount which stays, and those that are locked to one. What stands
// on the root of a mount that goes takes its place, so it does not keep it.
func keepWhatCarries(going map[*Mount]bool, more []*Mount) {
	depth := map[*Mount]int{}
	for _, m := range more {
		for at := m.at.Load(); at != nil; at = at.Mount.at.Load() {
			depth[m]++
		}
	}
	slices.SortStableFunc(more, func(a, b *Mount) int { return depth[b] - depth[a] })
	for _, m := range more {
		if m.carries(going) {
			delete(going, m)
		}
	}
	for _, m := range slices.Backward(more) {
		if at := m.at.Load(); m.locked && !going[at.Mount] {
			delete(going, m)
		}
	}
}

// carries tells whether something stays on m, other than on its root, when all of going go.
func (m *Mount) carries(going map[*Mount]bool) bool {
	over := m.over.Load()
	if over == nil {
		return false
	}
	for d, c := range *over {
		for going[c] && c != nil { // what stands on the root of one that goes comes here
			c = c.on(c.root)
		}
		if c != nil && d != m.root {
			return true
		}
	}
	return false
}

// remove unmounts all of gone, and returns what is to be released once the lock is.
func (s *System) remove(gone []*Mount) []MountHolder {
	going := map[*Mount]bool{}
	spaces := map[*Namespace]bool{}
	for _, m := range gone {
		going[m] = true
		spaces[m.ns.Load()] = true
	}
	for _, m := range gone {
		s.giveUp(m, going)
	}
	var held []MountHolder
	for _, m := range gone {
		held = append(held, m.detach()...)
	}
	for ns := range spaces {
		ns.mounts = slices.DeleteFunc(slices.Clone(ns.mounts), func(m *Mount) bool { return going[m] })
		ns.changed()
	}
	s.mounts.Take(-int64(len(gone)))
	s.moves.Add(1)
	return held
}

// giveUp takes m off its place; what stands on its root and stays comes there.
func (s *System) giveUp(m *Mount, going map[*Mount]bool) {
	at := m.at.Load()
	if at == nil || going[at.Mount] || at.Mount.on(at.Dentry) != m {
		return
	}
	at.Mount.setOn(at.Dentry, nil)
	top := m.on(m.root)
	for top != nil && going[top] {
		top = top.on(top.root)
	}
	if top != nil {
		s.displace(top)
		s.place(top, *at)
	}
}

// detach takes a mount from its place and its groups, and what is mounted on it out of sight. The mount below
// is seen to by the caller.
func (m *Mount) detach() []MountHolder {
	if at := m.at.Load(); at != nil {
		at.Dentry.mounts.Add(-1)
	}
	m.at.Store(nil)
	m.over.Store(nil)
	return tree{m}.drop()
}

// Release unmounts everything, when the last task has left the namespace. Open
// files stay usable.
func (ns *Namespace) Release() {
	release(ns.empty())
}

func (ns *Namespace) empty() (held []MountHolder) {
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	for _, m := range ns.mounts {
		held = append(held, m.detach()...)
	}
	ns.sys.mounts.Take(-int64(len(ns.mounts)))
	ns.mounts = nil
	ns.sys.moves.Add(1)
	return held
}
