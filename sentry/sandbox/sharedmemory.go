package sandbox

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/sentry/oci"

	"golang.org/x/sys/unix"
)

// sharedMemory is where POSIX shared memory and semaphores are (shm_overview(7)). The containers of a pod are given the same directory
// of the host there. It must be one file system inside too: words that threads of several containers wait on
// are found by the file that they are in.
const sharedMemory = "/dev/shm"

// sharedMemories are the directories that containers have there, while any of them does.
type sharedMemories struct {
	// Guarded by mu.
	mu   sync.Mutex
	list map[hostFile]*sharedDir
}

// hostFile identifies a file of the host.
type hostFile struct{ dev, ino uint64 }

type sharedDir struct {
	instance *vfs.Instance
	attr     vfs.Attr
	users    int
}

// mountShared mounts the host's directory for shared memory, in common with other containers that have it.
func (c *containerMounts) mountShared(m oci.Mount, flags vfs.MountFlags) error {
	d := &c.in.Binds[m.Bind]
	shared, err := c.m.shared.take(c, d)
	if err != nil {
		return &Failure{What: "cannot show a directory at " + m.At, Cause: err}
	}
	return c.mountInstance(m.At, shared.instance, shared.attr, flags)
}

// take returns the shared directory that d is, for c to use until it gives it back.
func (s *sharedMemories) take(c *containerMounts, d *Directory) (*sharedDir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.FD, &st); err != nil {
		return nil, err
	}
	key := hostFile{st.Dev, st.Ino}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.list[key]
	if known != nil {
		unix.Close(d.FD)
		d.FD = -1
	} else {
		root, err := d.inode(c.in)
		if err != nil {
			return nil, err
		}
		known = new(sharedDir)
		if known.attr, err = root.Attr(); err != nil {
			return nil, err
		}
		if known.instance, err = c.ns.System().NewInstance(root, "host", sharedMemory); err != nil {
			return nil, err
		}
		if s.list == nil {
			s.list = map[hostFile]*sharedDir{}
		}
		s.list[key] = known
	}
	known.users++
	c.sharing = append(c.sharing, key)
	return known, nil
}

// give gives back what a container has taken.
func (s *sharedMemories) give(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range c.sharing {
		if d := s.list[key]; d.users > 1 {
			d.users--
		} else {
			delete(s.list, key)
		}
	}
	c.sharing = nil
}
