package sandbox

import (
	"path"

	"gosentry/fs/dev"
	"gosentry/fs/tty"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/oci"

	"golang.org/x/sys/unix"
)

// devices are what nodes of devices stand for in a container; of returns it once it is there, nil where the sandbox is for a
// program alone.
func (m *machine) devices(memory *mm.MemoryFile, of func() *container) dev.Config {
	return dev.Config{
		Memory:   memory,
		Terminal: func(c vfs.Caller, flags int) (vfs.FileOps, error) { return m.kernel.OpenTerminal(c, flags) },
		Messages: func(c vfs.Caller, flags int) (vfs.FileOps, error) { return m.kernel.OpenMessages(c, flags) },
		Multiplexer: func(c vfs.Caller, flags int) (vfs.FileOps, error) {
			if of() == nil {
				return nil, unix.ENXIO
			}
			return of().terminals.Open(c, flags)
		},
		Console: func(c vfs.Caller, flags int) (vfs.FileOps, error) {
			if t := of().terminal(); t != nil {
				return t.Open(c, flags)
			}
			return nil, unix.ENXIO
		},
	}
}

// nodes are what nodes of devices stand for in the container.
func (c *container) nodes() dev.Config {
	return c.m.devices(c.kernel.Memory(), func() *container { return c })
}

// terminal is the one that the container's program was given, nil for none.
func (c *container) terminal() *tty.Terminal {
	if c == nil || c.console == nil {
		return nil
	}
	return c.console.master.Terminal()
}

// makeDevices makes the nodes that the configuration asks for, where there are none.
func (c *containerMounts) makeDevices(list []oci.Device) error {
	walk := vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root()}
	for _, d := range list {
		err := c.makeAll(walk, path.Dir(d.Path))
		if err == nil {
			err = vfs.MknodAt(c.who, walk, d.Path, d.Mode, 0, d.Major, d.Minor)
		}
		if err == unix.EEXIST {
			continue
		}
		if err == nil {
			err = c.own(walk, d)
		}
		if err != nil {
			return &Failure{What: "linux.devices: cannot make " + d.Path, Cause: err}
		}
	}
	return nil
}

// own gives a device's node to its owner, if that is not the container's root.
func (c *containerMounts) own(walk vfs.WalkArgs, d oci.Device) error {
	uid, known := c.owner.UserNS.ToUID(d.UID)
	gid, also := c.owner.UserNS.ToGID(d.GID)
	if !known || !also {
		return unix.EINVAL
	}
	walk.NoFollow = true
	p, err := vfs.Walk(c.who, walk, d.Path)
	if err != nil {
		return err
	}
	return vfs.ChangeOwner(c.who, p, uint32(uid), uint32(gid))
}
