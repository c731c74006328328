// Package dev is the file system at /dev: the devices of memory and chance, the
// controlling terminal, links to a task's own descriptors, and empty directories
// for others to be mounted on.
//
// It is fixed when it is made, but for modes, owners and times. Containers have a file system in memory there instead,
// which Fill fills. Nodes of devices on any file system are opened by their numbers (Config.Open). Devices keep no
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
	Terminal Opener
	// Multiplexer opens a new pseudo-terminal's master. nil: ptmx is a link to that of the devpts on pts, as in containers.
	Multiplexer Opener
	// Messages opens the kernel's log, as kmsg; nil: it is not there, as in containers.
	Messages Opener
	// Console opens the terminal that a container was given; nil: there is none.
	Console Opener
}

// Opener opens a device.
type Opener func(c vfs.Caller, flags int) (vfs.FileOps, error)

// known is a device that exists.
type known struct {
	name         string // usual
	major, minor uint32
	open         Opener // nil: it is not there
	mode         uint32 // 0: everybody reads and writes it
}

// devices are those that there are.
func (c *Config) devices() []known {
	return []known{
		{name: "null", major: majorMemory, minor: 3, open: opens(null{})},
		{name: "zero", major: majorMemory, minor: 5, open: opens(&zero{memory: c.Memory})},
		{name: "full", major: majorMemory, minor: 7, open: opens(full{})},
		{name: "random", major: majorMemory, minor: 8, open: opens(random{})},
		{name: "urandom", major: majorMemory, minor: 9, open: opens(random{})},
		{name: "kmsg", major: majorMemory, minor: 11, open: c.Messages, mode: 0o644},
		{name: "tty", major: majorTTY, minor: 0, open: c.openTerminal},
		{name: "ptmx", major: majorTTY, minor: 2, open: c.Multiplexer},
		{name: "console", major: majorTTY, minor: 1, open: c.Console},
	}
}

// Exists tells whether there is a device that nodes with these numbers can stand for.
func Exists(kind, major, minor uint32) bool {
	for _, d := range new(Config).devices() {
		if kind == unix.S_IFCHR && d.major == major && d.minor == minor {
			return true
		}
	}
	return false
}

// Open opens what a node with these numbers stands for; ENXIO for nothing.
func (c Config) Open(who vfs.Caller, kind, major, minor uint32, flags int) (vfs.FileOps, error) {
	for _, d := range c.devices() {
		if kind == unix.S_IFCHR && d.major == major && d.minor == minor && d.open != nil {
			return d.open(who, flags)
		}
	}
	return nil, unix.ENXIO
}

// links are the symbolic links in /dev.
func links() map[string]string {
	return map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
}

// New returns the root directory.
func New(c Config) vfs.Inode {
	fs := &pseudo.FS{Magic: tmpfsMagic, Mutable: true}
	root := fs.NewDir(0o755)
	for _, d := range c.devices() {
		if d.open != nil {
			mode := d.mode
			if mode == 0 {
				mode = 0o666
			}
			root.Add(d.name, fs.NewDevice(unix.S_IFCHR|mode, d.major, d.minor, d.open))
		}
	}
	if c.Multiplexer == nil {
		root.Add("ptmx", fs.NewFixedSymlink(multiplexer))
	}
	for name, target := range links() {
		root.Add(name, fs.NewFixedSymlink(target))
	}
	root.Add("shm", fs.NewDir(0o1777))
	root.Add("mqueue", fs.NewDir(0o1777))
	root.Add("pts", fs.NewDir(0o755))
	return root
}

// multiplexer is where a container's ptmx is.
const multiplexer = "pts/ptmx"

// Fill puts the devices and links that every container has into a directory, as nodes that Open is to open; console adds the
// one of a container that has a terminal.
func Fill(root vfs.Inode, who vfs.Caller, owner vfs.NewAttr, console bool) error {
	for _, d := range new(Config).devices() {
		if d.name == "ptmx" || d.name == "kmsg" || d.name == "console" && !console {
			continue
		}
		owner.Mode = unix.S_IFCHR | 0o666
		if _, err := root.Mknod(who, d.name, owner, d.major, d.minor); err != nil {
			return err
		}
	}
	owner.Mode = unix.S_IFLNK | 0o777
	all := links()
	all["ptmx"] = multiplexer
	for name, target := range all {
		if _, err := root.Symlink(who, name, target, owner); err != nil {
			return err
		}
	}
	return nil
}

// opens returns an open function for a device whose open files need nothing of
// their own.
func opens(ops vfs.FileOps) Opener {
	return func(vfs.Caller, int) (vfs.FileOps, error) { return ops, nil }
}

func (c *Config) openTerminal(caller vfs.Caller, flags int) (vfs.FileOps, error) {
	if c.Terminal == nil {
		return nil, unix.ENXIO
	}
	return c.Terminal(caller, flags)
}
