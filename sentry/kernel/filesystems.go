package kernel

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// MakeFileSystem makes a file system for the mount(2) of t and returns its root; options are its data.
type MakeFileSystem func(t *Task, options string) (vfs.Inode, error)

// maxMade bounds the mounts of guests' own file systems, whose names cost the sentry memory.
const maxMade = 256

// RegisterFileSystem makes a type of file system known, before the first task runs.
func (k *Kernel) RegisterFileSystem(name string, make MakeFileSystem) {
	if k.fileSystems == nil {
		k.fileSystems = map[string]MakeFileSystem{}
	}
	k.fileSystems[name] = make
}

// MountsOf returns the mount namespace of the task.
func (t *Task) MountsOf() *vfs.Namespace { return t.Namespaces().Mount.Namespace }

// NewFileSystem makes a file system of a type; ENODEV for an unknown one, EPERM, ENOSPC for too many.
func (t *Task) NewFileSystem(name, options string) (vfs.Inode, error) {
	make := t.k.fileSystems[name]
	if make == nil {
		return nil, unix.ENODEV
	}
	if err := t.ownsFileSystem(name); err != nil {
		return nil, err
	}
	made := map[uint32]bool{}
	for _, m := range t.MountsOf().Mounts() {
		if t.k.fileSystems[m.FSType()] != nil {
			_, minor := m.Device()
			made[minor] = true
		}
	}
	if len(made) >= maxMade {
		return nil, unix.ENOSPC
	}
	return make(t, options)
}
