package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// copyKind says how a copy of a mount stands to the original.
type copyKind int

const (
	asPeer   copyKind = iota // in its group, if it is shared
	asSlave                  // of its group
	asShared                 // asSlave, and in a group of its own
)

// copyMount returns a copy of old that shows root and is not mounted yet.
func (old *Mount) copyMount(root *Dentry, kind copyKind) *Mount {
	m := &Mount{id: old.fs.sys.mountID.Add(1), fs: old.fs, root: root, source: old.source, lockedFlags: old.lockedFlags}
	m.flags.Store(old.flags.Load())
	if h, ok := root.inode.(MountHolder); ok && h.Mounted() {
		m.holds = h
	}
	switch {
	case kind == asPeer:
		m.follow(old.master)
		m.join(old.group)
	case old.group != nil:
		m.follow(old.group)
	default:
		m.follow(old.master)
	}
	if kind == asShared {
		m.share()
	}
	return m
}

// tree is a mount and those on it, lower ones first; at of all but the first says where they are.
type tree []*Mount

// tree returns the tree of m that is mounted in its namespace. System.mountMu is held.
func (m *Mount) tree() tree {
	within := map[*Mount]bool{m: true}
	t := tree{m}
	for _, o := range m.ns.Load().mounts {
		if at := o.at.Load(); o != m && at != nil && within[at.Mount] {
			within[o] = true
			t = append(t, o)
		}
	}
	return t
}

// copy copies the tree from root on: what is below it, but for what may not be bound.
func (t tree) copy(root *Dentry, kind copyKind) tree {
	copies := map[*Mount]*Mount{t[0]: t[0].copyMount(root, kind)}
	c := tree{copies[t[0]]}
	for _, old := range t[1:] {
		at := old.at.Load()
		below := copies[at.Mount]
		if below == nil || !at.Dentry.isUnder(below.root) || old.unbindable {
			continue
		}
		m := old.copyMount(old.root, kind)
		m.locked = old.locked
		m.at.Store(&Path{below, at.Dentry})
		copies[old] = m
		c = append(c, m)
	}
	return c
}

// dropped forgets a tree that could not be mounted.
func (t tree) dropped() []MountHolder {
	if len(t) == 0 {
		return nil
	}
	s := t[0].fs.sys
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	return t.drop()
}

// drop takes the mounts of a tree out of their groups. What their roots hold is returned, for release.
func (t tree) drop() []MountHolder {
	var held []MountHolder
	for _, m := range t {
		m.alone()
		if m.holds != nil {
			held = append(held, m.holds)
		}
	}
	return held
}

func release(held []MountHolder) {
	for _, h := range held {
		h.Unmounted()
	}
}

// share makes all of the tree shared.
func (t tree) share() {
	for _, m := range t {
		m.share()
	}
}

func (t tree) hasUnbindable() bool {
	return slices.ContainsFunc(t, func(m *Mount) bool { return m.unbindable })
}

// lock keeps the tree, which is to be mounted for who is less privileged, together and its flags as they are.
func (t tree) lock() {
	for i, m := range t {
		m.locked = i > 0
		m.lockedFlags |= m.Flags() & lockable
	}
}

// receiver is a mount that receives what is mounted on another one.
type receiver struct {
	mount *Mount
	from  int // the receiver whose tree this one's is a copy of; -1: the original
	kind  copyKind
}

// receivers returns what receives what is mounted on or unmounted from at, those first that others are copies of. Those that do not show the
// place are left out. Trees that are mounted nowhere get nothing more (attaching), but lose what goes. System.mountMu is held.
func receivers(at Path, attaching bool) []receiver {
	if at.Mount.group == nil {
		return nil
	}
	w := receiverWalk{place: at.Dentry, attaching: attaching, seen: map[*peerGroup]bool{}}
	w.group(at.Mount.group, at.Mount, -1, asPeer)
	return w.found
}

type receiverWalk struct {
	place     *Dentry
	attaching bool
	seen      map[*peerGroup]bool
	found     []receiver
}

// group adds the members of g but skip, the first of them with a copy of kind of what from has, the others with
// peers of that; then their slaves.
func (w *receiverWalk) group(g *peerGroup, skip *Mount, from int, kind copyKind) {
	w.seen[g] = true
	for _, m := range byAge(g.members) {
		if m != skip && w.add(m, from, kind) {
			from, kind = len(w.found)-1, asPeer
		}
	}
	for _, m := range byAge(g.slaves) {
		switch {
		case m.group == nil:
			w.add(m, from, asSlave)
		case !w.seen[m.group]:
			w.group(m.group, nil, from, asShared)
		}
	}
}

func (w *receiverWalk) add(m *Mount, from int, kind copyKind) bool {
	if ns := m.ns.Load(); ns == nil || ns.nameless && w.attaching || !w.place.isUnder(m.root) {
		return false
	}
	w.found = append(w.found, receiver{m, from, kind})
	return true
}

// admit tells whether so many more mounts are allowed in each namespace, and takes them from the budget of all: ENOSPC.
func (s *System) admit(more map[*Namespace]int) error {
	total := 0
	for ns, n := range more {
		if n > maxMounts-len(ns.mounts) {
			return unix.ENOSPC
		}
		total += n
	}
	if !s.mounts.Take(int64(total)) {
		return unix.ENOSPC
	}
	return nil
}

// attach has mount put t on path, and mounts copies of it where that is propagated to. more is how many mounts path's namespace
// gets by t. ENOSPC for too many mounts; nothing has happened then. System.mountMu is held, and path is checked.
func (s *System) attach(t tree, path Path, more int, mount func()) error {
	to := receivers(path, true)
	counts := map[*Namespace]int{path.Mount.ns.Load(): more}
	for _, r := range to {
		counts[r.mount.ns.Load()] += len(t)
	}
	if err := s.admit(counts); err != nil {
		return err
	}
	if path.Mount.group != nil {
		t.share()
	}
	trees := s.copies(t, to, path.Mount.ns.Load())
	mount()
	changed := map[*Namespace]bool{}
	for i, r := range to {
		if s.tuck(trees[i], Path{r.mount, path.Dentry}) {
			changed[r.mount.ns.Load()] = true
		}
	}
	for ns := range changed {
		ns.order()
	}
	return nil
}

// copies makes what is to be mounted on each receiver of what is mounted in ns.
func (s *System) copies(t tree, to []receiver, ns *Namespace) []tree {
	trees := make([]tree, len(to))
	for i, r := range to {
		from := t
		if r.from >= 0 {
			from = trees[r.from]
		}
		trees[i] = from.copy(from[0].root, r.kind)
		s.mounts.Take(int64(len(trees[i]) - len(t))) // unbindable ones are not copied
		if r.mount.ns.Load().domain != ns.domain {
			trees[i].lock()
		}
	}
	return trees
}

// put mounts a new tree on path, which nothing covers.
func (s *System) put(t tree, path Path) {
	s.connect(t[1:])
	s.adopt(t, path)
}

// adopt mounts a tree that is connected on path.
func (s *System) adopt(t tree, path Path) {
	path.Mount.ns.Load().add(t)
	s.place(t[0], path)
}

// add makes the mounts of t the namespace's.
func (ns *Namespace) add(t tree) {
	for _, m := range t {
		m.ns.Store(ns)
	}
	ns.mounts = append(ns.mounts, t...)
	ns.changed()
}

// tuck mounts a tree on path. What is there already comes to stand on it: it returns true, and the namespace is to be put in
// order.
func (s *System) tuck(t tree, path Path) bool {
	there := path.Mount.on(path.Dentry)
	if there != nil {
		s.displace(there)
	}
	s.put(t, path)
	if there != nil {
		s.place(there, t[0].Root().top())
	}
	return there != nil
}
