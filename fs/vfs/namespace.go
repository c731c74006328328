package vfs

import (
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Namespace is a mount namespace: a tree of mounts. A nameless one holds a tree that is not mounted anywhere yet.
type Namespace struct {
	sys  *System
	id   uint64
	root atomic.Pointer[Mount] // replaced under System.mountMu
	// domain tells namespaces of different privilege apart: what comes from another one is locked.
	domain *domain
	// nameless tells that no task is in the namespace; origin is the one that it was made in.
	nameless bool
	origin   *Namespace
	changes  MountChanges

	// Guarded by System.mountMu.
	mounts []*Mount // lower ones first
}

// domain has no content: its address counts.
type domain struct{ _ byte }

// NewNamespace makes a mount namespace with root as its root file system.
func (s *System) NewNamespace(root Inode, flags MountFlags, fstype, source string) (*Namespace, error) {
	m, err := s.newMount(root, flags, fstype, source)
	if err != nil {
		return nil, err
	}
	ns := s.newNamespace(new(domain))
	ns.root.Store(m)
	ns.add(tree{m})
	s.mounts.Take(1)
	return ns, nil
}

func (s *System) newNamespace(d *domain) *Namespace {
	return &Namespace{sys: s, id: s.nsID.Add(1), domain: d}
}

func (s *System) newMount(root Inode, flags MountFlags, fstype, source string) (*Mount, error) {
	fs := &fileSystem{sys: s, minor: s.minor.Add(1), fstype: fstype}
	d, err := newDentry(fs, nil, "", root)
	if err != nil {
		return nil, err
	}
	fs.root = d
	m := &Mount{id: s.mountID.Add(1), fs: fs, root: d, source: source}
	m.flags.Store(uint32(flags))
	return m, nil
}

// System returns what ns shares with other namespaces.
func (ns *Namespace) System() *System { return ns.sys }

// ID tells namespaces of one System apart.
func (ns *Namespace) ID() uint64 { return ns.id }

// Root is the root of the namespace, under whatever was mounted over it.
func (ns *Namespace) Root() Path { return ns.root.Load().Root().top() }

// MountAt mounts a new file system at path. ENOTDIR unless both are directories or both are
// not; EINVAL when path is not in this namespace; ENOENT when it was removed. One
// inode is mounted once: use Bind for more.
func (ns *Namespace) MountAt(path Path, root Inode, flags MountFlags, fstype, source string) (*Mount, error) {
	i, err := ns.sys.NewInstance(root, fstype, source)
	if err != nil {
		return nil, err
	}
	return ns.MountInstance(path, i, flags)
}

// MountInstance is MountAt for a file system that may be mounted elsewhere too.
func (ns *Namespace) MountInstance(path Path, i *Instance, flags MountFlags) (*Mount, error) {
	m := i.newMount(flags)
	defer path.Dentry.keepName()()
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	return m, ns.graft(tree{m}, path)
}

// Bind makes what is at from visible at path too; with recursive set, with the
// mounts below it. EINVAL for what may not be bound.
func (ns *Namespace) Bind(from, path Path, flags MountFlags, recursive bool) (*Mount, error) {
	t, err := ns.bind(from, path, flags, recursive)
	if err != nil {
		release(t.dropped())
		return nil, err
	}
	return t[0], nil
}

func (ns *Namespace) bind(from, path Path, flags MountFlags, recursive bool) (tree, error) {
	defer path.Dentry.keepName()()
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	t, err := ns.copyTree(from, recursive)
	if err != nil {
		return nil, err
	}
	t[0].flags.Store(uint32(flags) | t[0].flags.Load())
	return t, ns.graft(t, path)
}

// copyTree copies what is at from, with recursive set with the mounts below it. System.mountMu is held.
func (ns *Namespace) copyTree(from Path, recursive bool) (tree, error) {
	if from.Mount == ns.sys.nsfs {
		return copyNamespaceFile(from)
	}
	if !ns.uses(from.Mount) || from.Mount.unbindable || !recursive && from.Mount.reveals(from) {
		return nil, unix.EINVAL
	}
	if !recursive {
		return tree{from.Mount}.copy(from.Dentry, asPeer), nil
	}
	t := from.Mount.tree()
	if len(t) > maxMounts-len(ns.mounts) {
		return nil, unix.ENOSPC
	}
	return t.copy(from.Dentry, asPeer), nil
}

// copyNamespaceFile makes a mount of a file in /proc/PID/ns. EINVAL for a namespace that has ended.
func copyNamespaceFile(from Path) (tree, error) {
	m := from.Mount.copyMount(from.Dentry, asPeer)
	if m.holds == nil {
		return nil, unix.EINVAL
	}
	return tree{m}, nil
}

// uses tells whether m may be looked at by who is in ns: it is there, or in a nameless namespace made there.
func (ns *Namespace) uses(m *Mount) bool {
	o := m.ns.Load()
	return o != nil && (o == ns || o.nameless && o.origin == ns) && o.has(m)
}

// connect makes new mounts seen where their at is. System.mountMu is held.
func (s *System) connect(mounts []*Mount) {
	over := map[*Mount]map[*Dentry]*Mount{}
	for _, c := range mounts {
		at := c.at.Load()
		t := over[at.Mount]
		if t == nil {
			t = map[*Dentry]*Mount{}
			if old := at.Mount.over.Load(); old != nil {
				maps.Copy(t, *old)
			}
			over[at.Mount] = t
		}
		t[at.Dentry] = c
		at.Dentry.mounts.Add(1)
	}
	for m, t := range over {
		m.over.Store(&t)
	}
	s.moves.Add(1)
}

// graft mounts a new tree on path. System.mountMu is held.
func (ns *Namespace) graft(t tree, path Path) error {
	path = path.top()
	switch {
	case !ns.uses(path.Mount):
		return unix.EINVAL
	case path.Deleted() || path.magic():
		return unix.ENOENT
	case path.IsDir() != (t[0].root.kind == unix.S_IFDIR):
		return unix.ENOTDIR
	}
	return ns.sys.attach(t, path, len(t), func() { ns.sys.put(t, path) })
}

// place puts m on path, which nothing covers. System.mountMu is held.
func (s *System) place(m *Mount, path Path) {
	path.Dentry.mounts.Add(1)
	m.at.Store(&path)
	path.Mount.setOn(path.Dentry, m)
	s.moves.Add(1)
}

// displace takes m, which is not the root, off its place. System.mountMu is held.
func (s *System) displace(m *Mount) {
	at := m.at.Load()
	at.Mount.setOn(at.Dentry, nil)
	at.Dentry.mounts.Add(-1)
	s.moves.Add(1)
}

// has tells whether m is mounted in ns: unmounted lazily, it is not. System.mountMu is held.
func (ns *Namespace) has(m *Mount) bool {
	for m != ns.root.Load() {
		at := m.at.Load()
		if at == nil {
			return false
		}
		m = at.Mount
	}
	return true
}

// Move moves the mount whose root is from to path. ELOOP when path is below it, EINVAL when it is locked or stands
// on a shared mount, or where one is unbindable and would be shared.
func (ns *Namespace) Move(from, path Path) error {
	s := ns.sys
	defer path.Dentry.keepName()()
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	m := from.Mount
	path = path.top()
	if err := ns.mayMove(from, path); err != nil {
		return err
	}
	t := m.tree()
	if path.Mount.group != nil && t.hasUnbindable() {
		return unix.EINVAL
	}
	o := m.ns.Load()
	if o.nameless {
		return s.attach(t, path, len(t), func() {
			s.adopt(t, path)
			o.abandon()
		})
	}
	return s.attach(t, path, 0, func() {
		s.displace(m)
		s.place(m, path)
		ns.order()
		ns.changed()
	})
}

func (ns *Namespace) mayMove(from, path Path) error {
	m := from.Mount
	o := m.ns.Load()
	switch {
	case from.Dentry != m.root || path.IsDir() != (m.root.kind == unix.S_IFDIR):
		return unix.EINVAL
	case path.Deleted() || path.magic():
		return unix.ENOENT
	case o == ns && (m == ns.root.Load() || !ns.has(m) || m.locked || m.at.Load().Mount.group != nil || path.Mount.ns.Load() != ns),
		o != ns && (!ns.uses(m) || m != o.root.Load() || path.Mount.ns.Load() == o),
		!ns.uses(path.Mount):
		return unix.EINVAL
	case path.Mount.isOn(m):
		return unix.ELOOP
	}
	return nil
}

// isOn tells whether m is top or stands on it, however far above.
func (m *Mount) isOn(top *Mount) bool {
	for m != top {
		at := m.at.Load()
		if at == nil {
			return false
		}
		m = at.Mount
	}
	return true
}

// order puts each mount behind those that it stands on, after some have changed their places. System.mountMu is held.
func (ns *Namespace) order() {
	done := make(map[*Mount]bool, len(ns.mounts))
	ordered := make([]*Mount, 0, len(ns.mounts))
	var chain []*Mount
	for _, m := range ns.mounts {
		chain = chain[:0]
		for !done[m] {
			done[m] = true
			chain = append(chain, m)
			if at := m.at.Load(); at != nil {
				m = at.Mount
			}
		}
		slices.Reverse(chain)
		ordered = append(ordered, chain...)
	}
	ns.mounts = ordered
}

// Remount changes the flags of the mount that path is on. EPERM to take away a flag that is locked.
func (ns *Namespace) Remount(path Path, flags MountFlags) error {
	if path.Mount.ns.Load() != ns {
		return unix.EINVAL
	}
	return ns.SetAttr(path, Attributes{Set: flags, Clear: ^flags}, false)
}

// Mounts returns the mounts in the order in which they were made, for /proc/PID/mounts.
func (ns *Namespace) Mounts() []*Mount {
	ns.sys.mountMu.Lock()
	mounts := slices.Clone(ns.mounts)
	ns.sys.mountMu.Unlock()
	slices.SortFunc(mounts, older)
	return mounts
}
