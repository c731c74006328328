// Package dev is the file system at /dev: the devices of memory and chance, the
// controlling terminal, links to a task's own descriptors, and empty directories
// for others to be mounted on.
//
// It is fixed when it is made, but for modes, owners and times. Devices keep no
// state and take no locks.
package dev

import (
	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// tmpfsMagic is what statfs(2) tells of /dev (TMPFS_MAGIC).
const tmpfsMagic = 0x01021994

// Major numbers of character devices.
const (
	majorMemory = 1
	majorTTY    = 5
)

// Config says what the devices need.
type Config struct {
	// Memory is where shared mappings of /dev/zero lie.
	Memory *mm.MemoryFile
	// Terminal opens the caller's controlling terminal; ENXIO when it has none. nil:
	// nobody has one.
	Terminal func(c vfs.Caller, flags int) (vfs.FileOps, error)
	// Multiplexer opens a new pseudo-terminal's master. nil: ptmx is a link to that of the devpts on pts, as in containers.
	Multiplexer func(c vfs.Caller, flags int) (vfs.FileOps, error)
}

// New returns the root directory.
func New(c Config) vfs.Inode {
	fs := &pseudo.FS{Magic: tmpfsMagic, Mutable: true}
	root := fs.NewDir(0o755)
	add := func(name string, mode, major, minor uint32, open func(vfs.Caller, int) (vfs.FileOps, error)) {
		root.Add(name, fs.NewDevice(unix.S_IFCHR|mode, major, minor, open))
	}
	add("null", 0o666, majorMemory, 3, opens(null{}))
	add("zero", 0o666, majorMemory, 5, opens(&zero{memory: c.Memory}))
	add("full", 0o666, majorMemory, 7, opens(full{}))
	add("random", 0o666, majorMemory, 8, opens(random{}))
	add("urandom", 0o666, majorMemory, 9, opens(random{}))
	add("tty", 0o666, majorTTY, 0, c.openTerminal)
	if c.Multiplexer != nil {
		add("ptmx", 0o666, majorTTY, 2, c.Multiplexer)
	} else {
		root.Add("ptmx", fs.NewFixedSymlink("pts/ptmx"))
	}

	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2",
	} {
		root.Add(name, fs.NewFixedSymlink(target))
	}
	root.Add("shm", fs.NewDir(0o1777))
	root.Add("mqueue", fs.NewDir(0o1777))
	root.Add("pts", fs.NewDir(0o755))
	return root
}

// opens returns an open function for a device whose open files need nothing of
// their own.
func opens(ops vfs.FileOps) func(vfs.Caller, int) (vfs.FileOps, error) {
	return func(vfs.Caller, int) (vfs.FileOps, error) { return ops, nil }
}

func (c *Config) openTerminal(caller vfs.Caller, flags int) (vfs.FileOps, error) {
	if c.Terminal == nil {
		return nil, unix.ENXIO
	}
	return c.Terminal(caller, flags)
}
