package vfs

import "golang.org/x/sys/unix"

// A tree of mounts that is not mounted anywhere (open_tree(2), fsmount(2)) is in a nameless namespace of its own, which
// lasts as long as the file that stands for it, or until the tree is moved to a place.

// detachedTree is what the file of a tree holds.
type detachedTree struct{ ns *Namespace }

// Hold implements HoldOps.
func (d detachedTree) Hold() bool { return true }

// Unhold implements HoldOps.
func (d detachedTree) Unhold() { d.ns.Release() }

// newTreeFile makes an O_PATH file of the root of t, which is new; ENOSPC.
func (ns *Namespace) newTreeFile(t tree) (*File, error) {
	s := ns.sys
	n := s.newNamespace(ns.domain)
	n.nameless, n.origin = true, ns
	if err := s.admit(map[*Namespace]int{n: len(t)}); err != nil {
		return nil, err
	}
	n.root.Store(t[0])
	n.add(t)
	s.connect(t[1:])
	f := NewFile(pathOps{}, t[0].Root(), unix.O_PATH)
	f.readable, f.writable, f.held = false, false, detachedTree{n}
	return f, nil
}

// MountDetached returns the file of a new mount of a file system's root that is mounted nowhere (fsmount(2)). ENOSPC.
func (ns *Namespace) MountDetached(i *Instance, flags MountFlags) (*File, error) {
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	return ns.newTreeFile(tree{i.newMount(flags)})
}

// CopyDetached returns the file of a copy of what is at from, with recursive set with the mounts below it, that is mounted
// nowhere (open_tree(2)). EINVAL for what may not be bound, ENOSPC.
func (ns *Namespace) CopyDetached(from Path, recursive bool) (*File, error) {
	f, t, err := ns.copyDetached(from, recursive)
	if err != nil {
		release(t.dropped())
	}
	return f, err
}

func (ns *Namespace) copyDetached(from Path, recursive bool) (*File, tree, error) {
	ns.sys.mountMu.Lock()
	defer ns.sys.mountMu.Unlock()
	t, err := ns.copyTree(from, recursive)
	if err != nil {
		return nil, nil, err
	}
	f, err := ns.newTreeFile(t)
	return f, t, err
}

// abandon says that the tree of a nameless namespace has gone elsewhere. System.mountMu is held.
func (ns *Namespace) abandon() {
	ns.sys.mounts.Take(-int64(len(ns.mounts)))
	ns.mounts = nil
}

// Instance is a file system that can be mounted.
type Instance struct {
	fs     *fileSystem
	source string
}

// NewInstance makes an instance of the file system with this root, which is in no other.
func (s *System) NewInstance(root Inode, fstype, source string) (*Instance, error) {
	m, err := s.newMount(root, 0, fstype, source)
	if err != nil {
		return nil, err
	}
	return &Instance{m.fs, source}, nil
}

// newMount returns a mount of the file system's root, which is mounted nowhere yet.
func (i *Instance) newMount(flags MountFlags) *Mount {
	m := &Mount{id: i.fs.sys.mountID.Add(1), fs: i.fs, root: i.fs.root, source: i.source}
	m.flags.Store(uint32(flags))
	return m
}

// InstanceAt returns the file system of p; EINVAL unless p is the root of a mount.
func InstanceAt(p Path) (*Instance, error) {
	if p.Dentry != p.Mount.root {
		return nil, unix.EINVAL
	}
	return p.Mount.FileSystem(), nil
}

// SetReadOnly says whether the file system can be written to, through whatever mount.
func (i *Instance) SetReadOnly(on bool) { i.fs.readOnly.Store(on) }

// Owner is what SetOwner said, nil for nothing.
func (i *Instance) Owner() any { return i.fs.owner.Load() }

// SetOwner says for whom the file system was made.
func (i *Instance) SetOwner(owner any) { i.fs.owner.Store(owner) }

// FSType is the type of the file system.
func (i *Instance) FSType() string { return i.fs.fstype }
