package vfs

import (
	"maps"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// MountFlags are properties of one mount.
type MountFlags uint32

// Mount flags.
const (
	ReadOnly MountFlags = 1 << iota
	NoExec
	NoSuid
	NoDev
	NoAtime
	NoSymFollow
	NoDirAtime
	StrictAtime
)

// Mount is a file system, or a part of one, made visible at a place of a
// Namespace. One that is not mounted yet, or no longer, may be of none.
type Mount struct {
	id     uint64
	fs     *fileSystem
	root   *Dentry
	source string
	holds  MountHolder // the root's, if it is to know that it is mounted

	// ns is nil for files without a name and for what was never mounted; it is changed under System.mountMu.
	ns atomic.Pointer[Namespace]

	// Guarded by System.mountMu.
	locked bool // the mount goes only with the one below it
	// lockedFlags cannot be taken away; set before the mount is placed.
	lockedFlags MountFlags
	unbindable  bool       // left out of what is bound elsewhere
	group       *peerGroup // nil unless shared
	master      *peerGroup // nil unless a slave

	flags atomic.Uint32
	// at is where it is mounted; nil for a namespace's root and once unmounted. Changed under System.mountMu.
	at atomic.Pointer[Path]
	// over are the mounts on this one; replaced under System.mountMu, never changed.
	over atomic.Pointer[map[*Dentry]*Mount]
	// files counts open files and held paths, for EBUSY.
	files atomic.Int64
}

// ID is the number of the mount in /proc/PID/mountinfo.
func (m *Mount) ID() uint64 { return m.id }

// FSType is the type of the file system, as in /proc/PID/mounts.
func (m *Mount) FSType() string { return m.fs.fstype }

// Source is what was mounted, as in /proc/PID/mounts.
func (m *Mount) Source() string { return m.source }

// Device returns the numbers of the file system's device.
func (m *Mount) Device() (major, minor uint32) { return 0, m.fs.minor }

// Flags returns the mount's flags.
func (m *Mount) Flags() MountFlags { return MountFlags(m.flags.Load()) }

// Root is the path of the mount's own root.
func (m *Mount) Root() Path { return Path{m, m.root} }

// Parent returns the mount below and where on it this one is mounted.
func (m *Mount) Parent() (Path, bool) {
	p := m.at.Load()
	if p == nil {
		return Path{}, false
	}
	return *p, true
}

// on returns the mount that covers d in m, or nil.
func (m *Mount) on(d *Dentry) *Mount {
	t := m.over.Load()
	if t == nil {
		return nil
	}
	return (*t)[d]
}

// setOn changes what covers d; nil for nothing. System.mountMu is held.
func (m *Mount) setOn(d *Dentry, child *Mount) {
	t := map[*Dentry]*Mount{}
	if old := m.over.Load(); old != nil {
		maps.Copy(t, *old)
	}
	if child == nil {
		delete(t, d)
	} else {
		t[d] = child
	}
	m.over.Store(&t)
}

// FSReadOnly tells whether the file system itself is read-only, whatever the mount is.
func (m *Mount) FSReadOnly() bool { return m.fs.readOnly.Load() }

// FileSystem is what is mounted.
func (m *Mount) FileSystem() *Instance { return &Instance{m.fs, m.source} }

// writable is EROFS for a read-only mount.
func (m *Mount) writable() error {
	if m.Flags()&ReadOnly != 0 || m.FSReadOnly() {
		return unix.EROFS
	}
	return nil
}

// Hold keeps the mount of p busy, as an open file does, until Unhold: for working and root directories.
func (p Path) Hold() { p.Mount.files.Add(1) }

// Unhold ends one Hold.
func (p Path) Unhold() { p.Mount.files.Add(-1) }

// SameFS tells whether two places are in one file system, by whatever mounts.
func (p Path) SameFS(other Path) bool { return p.Mount.fs == other.Mount.fs }

// magic tells whether p is a link to an object, on which nothing can be mounted.
func (p Path) magic() bool {
	_, ok := p.Dentry.inode.(MagicLink)
	return ok
}

// top follows mounts that cover p.
func (p Path) top() Path {
	for p.Dentry.mounts.Load() != 0 {
		m := p.Mount.on(p.Dentry)
		if m == nil {
			break
		}
		p = Path{m, m.root}
	}
	return p
}
