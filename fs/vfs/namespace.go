package vfs

import (
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Namespace is a mount namespace: a tree of mounts.
type Namespace struct {
	sys  *System
	id   uint64
	root atomic.Pointer[Mount] // replaced under mu

	mu     sync.Mutex
	mounts []*Mount // in the order of mounting, the root first
}

// NewNamespace makes a mount namespace with root as its root file system.
func (s *System) NewNamespace(root Inode, flags MountFlags, fstype, source string) (*Namespace, error) {
	ns := &Namespace{sys: s, id: s.nsID.Add(1)}
	m, err := ns.newMount(root, flags, fstype, source)
	if err != nil {
		return nil, err
	}
	ns.root.Store(m)
	ns.mounts = []*Mount{m}
	s.mounts.Take(1)
	return ns, nil
}

func (ns *Namespace) newMount(root Inode, flags MountFlags, fstype, source string) (*Mount, error) {
	fs := &fileSystem{sys: ns.sys, minor: ns.sys.minor.Add(1), fstype: fstype}
	d, err := newDentry(fs, nil, "", root)
	if err != nil {
		return nil, err
	}
	fs.root = d
	m := &Mount{id: ns.sys.mountID.Add(1), fs: fs, root: d, source: source, ns: ns}
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
	m, err := ns.newMount(root, flags, fstype, source)
	if err != nil {
		return nil, err
	}
	defer path.Dentry.keepName()()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return m, ns.attach(m, path)
}

// Bind makes what is at from visible at path too; with recursive set, with the
// mounts below it.
func (ns *Namespace) Bind(from, path Path, flags MountFlags, recursive bool) (*Mount, error) {
	defer path.Dentry.keepName()()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if from.Mount.ns != ns || from.Mount.unbindable.Load() || !recursive && ns.reveals(from) {
		return nil, unix.EINVAL
	}
	copies := map[*Mount]*Mount{}
	m := ns.copyMount(from.Mount, from.Dentry)
	m.flags.Store(uint32(flags) | from.Mount.flags.Load())
	copies[from.Mount] = m
	below := []*Mount{}
	if recursive {
		for _, old := range ns.mounts {
			at := old.at.Load()
			if at == nil || copies[at.Mount] == nil || !at.Dentry.isUnder(copies[at.Mount].root) || old.unbindable.Load() {
				continue
			}
			c := ns.copyMount(old, old.root)
			c.locked = old.locked
			c.at.Store(&Path{copies[at.Mount], at.Dentry})
			copies[old] = c
			below = append(below, c)
		}
	}
	if len(ns.mounts)+len(below) >= maxMounts || !ns.sys.mounts.Take(int64(len(below))) {
		return nil, unix.ENOSPC
	}
	if err := ns.attach(m, path); err != nil {
		ns.sys.mounts.Take(-int64(len(below)))
		return nil, err
	}
	ns.mounts = append(ns.mounts, below...)
	ns.sys.connect(below)
	return m, nil
}

// connect makes new mounts seen where their at is. Namespace.mu is held, or nobody knows the
// namespace yet.
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

func (ns *Namespace) copyMount(old *Mount, root *Dentry) *Mount {
	m := &Mount{
		id: ns.sys.mountID.Add(1), fs: old.fs, root: root, source: old.source, ns: ns, lockedFlags: old.lockedFlags,
	}
	m.flags.Store(old.flags.Load())
	return m
}

// attach puts m on path. ns.mu is held.
func (ns *Namespace) attach(m *Mount, path Path) error {
	path = path.top()
	switch {
	case path.Mount.ns != ns || !ns.has(path.Mount):
		return unix.EINVAL
	case path.Deleted():
		return unix.ENOENT
	case path.IsDir() != (m.root.kind == unix.S_IFDIR):
		return unix.ENOTDIR
	case len(ns.mounts) >= maxMounts || !ns.sys.mounts.Take(1):
		return unix.ENOSPC
	}
	ns.place(m, path)
	ns.mounts = append(ns.mounts, m)
	return nil
}

// place puts m on path, which nothing covers. ns.mu is held.
func (ns *Namespace) place(m *Mount, path Path) {
	path.Dentry.mounts.Add(1)
	m.at.Store(&path)
	path.Mount.setOn(path.Dentry, m)
	ns.sys.moves.Add(1)
}

// displace takes m, which is not the root, off its place. ns.mu is held.
func (ns *Namespace) displace(m *Mount) {
	at := m.at.Load()
	at.Mount.setOn(at.Dentry, nil)
	at.Dentry.mounts.Add(-1)
	ns.sys.moves.Add(1)
}

// has tells whether m is mounted in ns: unmounted lazily, it is not. ns.mu is held.
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

// Unmount detaches the mount whose root is path. flags are umount2(2)'s: with
// MNT_DETACH whatever is still open stays usable, else that is EBUSY. EINVAL
// when path is not the root of a mount in ns, or is locked there.
func (ns *Namespace) Unmount(path Path, flags int) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	path = path.top()
	m := path.Mount
	if m.ns != ns || path.Dentry != m.root || m == ns.root.Load() || !ns.has(m) || m.locked {
		return unix.EINVAL
	}
	gone := map[*Mount]bool{m: true}
	for _, o := range ns.mounts {
		if at := o.at.Load(); at != nil && gone[at.Mount] {
			gone[o] = true
		}
	}
	if flags&unix.MNT_DETACH == 0 && (len(gone) > 1 || m.files.Load() > 0) {
		return unix.EBUSY
	}
	at := m.at.Load()
	at.Mount.setOn(at.Dentry, nil)
	kept := ns.mounts[:0:0]
	for _, o := range ns.mounts {
		if gone[o] {
			o.detach()
		} else {
			kept = append(kept, o)
		}
	}
	ns.sys.mounts.Take(-int64(len(ns.mounts) - len(kept)))
	ns.mounts = kept
	ns.sys.moves.Add(1)
	return nil
}

// Release unmounts everything, when the last task has left the namespace. Open
// files stay usable.
func (ns *Namespace) Release() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, m := range ns.mounts {
		m.detach()
	}
	ns.sys.mounts.Take(-int64(len(ns.mounts)))
	ns.mounts = nil
	ns.sys.moves.Add(1)
}

// detach takes a mount from its place, and what is mounted on it out of sight. ns.mu is
// held; the mount below is seen to by the caller.
func (m *Mount) detach() {
	if at := m.at.Load(); at != nil {
		at.Dentry.mounts.Add(-1)
	}
	m.at.Store(nil)
	m.over.Store(nil)
}

// Move moves the mount whose root is from to path. ELOOP when path is below it, EINVAL when it is locked.
func (ns *Namespace) Move(from, path Path) error {
	defer path.Dentry.keepName()()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m := from.Mount
	path = path.top()
	switch {
	case m.ns != ns || from.Dentry != m.root || m == ns.root.Load() || !ns.has(m) || m.locked,
		path.Mount.ns != ns || !ns.has(path.Mount):
		return unix.EINVAL
	case path.Mount.isOn(m):
		return unix.ELOOP
	case path.Deleted():
		return unix.ENOENT
	case path.IsDir() != (m.root.kind == unix.S_IFDIR):
		return unix.ENOTDIR
	}
	ns.displace(m)
	ns.place(m, path)
	ns.toEnd(m)
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

// toEnd puts m and the mounts on it behind all others, so that those below
// come first. ns.mu is held.
func (ns *Namespace) toEnd(m *Mount) {
	moved := map[*Mount]bool{m: true}
	var head, tail []*Mount
	for _, o := range ns.mounts {
		at := o.at.Load()
		if o != m && (at == nil || !moved[at.Mount]) {
			head = append(head, o)
			continue
		}
		moved[o] = true
		tail = append(tail, o)
	}
	ns.mounts = append(head, tail...)
}

// Remount changes the flags of the mount that path is on. EPERM to take away a flag that is locked.
func (ns *Namespace) Remount(path Path, flags MountFlags) error {
	m := path.Mount
	switch {
	case m.ns != ns || path.Dentry != m.root:
		return unix.EINVAL
	case m.lockedFlags&^flags != 0:
		return unix.EPERM
	}
	m.flags.Store(uint32(flags))
	return nil
}

// Mounts returns the mounts, lower ones first, for /proc/PID/mounts.
func (ns *Namespace) Mounts() []*Mount {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return append([]*Mount(nil), ns.mounts...)
}
