package sandbox

import (
	"fmt"
	"path"
	"strings"

	"gosentry/fs/dev"
	"gosentry/fs/overlay"
	"gosentry/fs/proc"
	"gosentry/fs/sys"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/control"
	"gosentry/sentry/cred"
	"gosentry/sentry/oci"
	"gosentry/sentry/personality/linux"

	"golang.org/x/sys/unix"
)

// containerMounts puts together what a container's configuration asks for.
type containerMounts struct {
	*container
	mounter
}

// bootContainer makes the container that the sandbox is for.
func (m *machine) bootContainer() (err error) {
	box := m.in.Container
	if m.server, err = control.NewServer(m.in.ListenFD); err != nil {
		return &Failure{What: "cannot use the control socket", Cause: err}
	}
	c := m.newContainer(m.in)
	c.kernel, c.mounts, c.owner = m.kernel.Whole(), m.mounts, m.kernel.Credentials(0, 0, nil)
	if box.UIDs != "" {
		if c.owner, err = m.kernel.NewUserNamespace(box.UIDs, box.GIDs); err != nil {
			return badMaps(err)
		}
		m.kernel.OwnFirst(c.owner.UserNS)
	}
	if err = c.kernel.OwnPIDs(c.owner); err != nil {
		return &Failure{What: "cannot make a pid namespace", Cause: err}
	}
	if box.Domainname != "" {
		c.kernel.SetDomain(box.Domainname)
	}
	m.first = c
	m.in.registerFileSystems(m.kernel)
	return c.mountAll()
}

func badMaps(err error) error {
	return &Failure{What: "linux.uidMappings, linux.gidMappings: they cannot be used", Cause: err}
}

// mountAll mounts the container's file systems. What is made for them belongs to the container's root.
func (c *container) mountAll() error {
	maker := cred.New(0, 0, nil, nil)
	if uid, ok := c.owner.UserNS.ToUID(0); ok {
		maker.FSUID = uid
	}
	if gid, ok := c.owner.UserNS.ToGID(0); ok {
		maker.FSGID = gid
	}
	w := &containerMounts{container: c, mounter: mounter{builder{maker}, c.mounts}}
	return w.mountAll()
}

// mountAll mounts a container's file systems, in the order of its configuration.
func (c *containerMounts) mountAll() (err error) {
	in, ns := c.in, c.ns
	mounts, err := c.withDevices(in.Container.Mounts)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := c.mountOne(m); err != nil {
			return err
		}
		if err := c.propagate(m.At, m.Propagation...); err != nil {
			return err
		}
	}
	if err := c.makeDevices(in.Container.Devices); err != nil {
		return err
	}
	// As in runc. Where it cannot be made, the program's start tells.
	c.makeAll(vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}, path.Clean(string(in.Container.Process.Cwd))) //nolint:errcheck // see above
	for name, value := range in.Container.Sysctl {
		if err := c.setSysctl(name, value); err != nil {
			return &Failure{What: fmt.Sprintf("linux.sysctl: cannot set %s to %q", name, value), Cause: err}
		}
	}
	if err := c.cover(); err != nil {
		return err
	}
	// Only now, since what is unbindable cannot be covered.
	if err := c.propagate("/", in.Container.RootPropagation); err != nil {
		return err
	}
	if in.Container.ReadOnlyRoot {
		if err := ns.Remount(ns.Root(), vfs.ReadOnly); err != nil {
			return &Failure{What: "root.readonly: cannot make the root read-only", Cause: err}
		}
	}
	return nil
}

// withDevices adds /dev and /dev/pts where they are missing; the first options given for terminals are those of all.
func (c *containerMounts) withDevices(given []oci.Mount) (mounts []oci.Mount, err error) {
	options, pts, dev := "gid=5,mode=620,ptmxmode=666", false, false
	for _, m := range given {
		if m.At == "/dev" {
			dev = true
		}
		if m.Type == "devpts" && !pts {
			options, pts = m.Data, true
		}
	}
	if c.terminals, err = c.m.kernel.NewTerminals(options); err != nil {
		return nil, &Failure{What: fmt.Sprintf("cannot make terminals with the options %q", options), Cause: err}
	}
	mounts = given
	if !dev {
		mounts = append([]oci.Mount{{Type: "devtmpfs", At: "/dev", NoSuid: true}}, mounts...)
		if !pts {
			mounts = append(mounts, oci.Mount{Type: "devpts", At: "/dev/pts", NoSuid: true, NoExec: true})
		}
	}
	return mounts, nil
}

func (c *containerMounts) mountOne(m oci.Mount) error {
	var flags vfs.MountFlags
	for on, flag := range map[*bool]vfs.MountFlags{&m.ReadOnly: vfs.ReadOnly, &m.NoSuid: vfs.NoSuid, &m.NoDev: vfs.NoDev, &m.NoExec: vfs.NoExec} {
		if *on {
			flags |= flag
		}
	}
	if m.Type == "bind" && m.At == sharedMemory && !m.ReadOnly {
		return c.mountShared(m, flags)
	}
	root, err := c.root(m)
	if err != nil {
		return &Failure{What: fmt.Sprintf("cannot make the %s at %s", m.Type, m.At), Cause: err}
	}
	source, fstype := m.Source, m.Type
	switch m.Type {
	case "bind":
		source, fstype = m.At, "host"
	case "overlay":
		source = m.Type
	case "cgroup":
		fstype = "cgroup2" // the only kind there is
	}
	return c.mount(m.At, root, flags, fstype, source)
}

// propagate says how the mount at a path passes on what is mounted on it.
func (c *containerMounts) propagate(at string, how ...oci.Propagation) error {
	p, err := vfs.Walk(c.who, vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root()}, at)
	for _, h := range how {
		if err == nil && h.Kind != 0 {
			err = c.ns.SetAttr(p, vfs.Attributes{Propagation: h.Kind}, h.Recursive)
		}
		if h.Kind == unix.MS_SHARED {
			c.in.Log.Warnf("%s is shared inside; the host does not see what is mounted there", at)
		}
	}
	if err != nil {
		return &Failure{What: "cannot set the propagation of " + at, Cause: err}
	}
	return nil
}

// root makes a mount's file system.
func (c *containerMounts) root(m oci.Mount) (vfs.Inode, error) {
	switch m.Type {
	case "bind":
		return c.in.Binds[m.Bind].inode(c.in)
	case "overlay":
		lower, err := c.in.Binds[m.Bind].inode(c.in)
		if err != nil {
			return nil, err
		}
		return overlay.New(lower, overlay.Config{File: c.kernel.Memory(), Device: c.nodes().Open})
	case "proc":
		return proc.New(c.kernel.NewProcView(systemInfo())), nil
	case "sysfs":
		return sys.New(sys.Config{CPUs: linux.CPUs()}), nil
	case "cgroup", "cgroup2":
		return c.kernel.Cgroup().Inode(), nil
	case "mqueue":
		return c.kernel.MessageQueues().Root(), nil
	case "devpts":
		return c.terminals.Root(), nil
	case "devtmpfs", "tmpfs":
		return c.memory(m)
	}
	return nil, unix.ENODEV
}

// memory makes a file system in memory, with the devices that every container has if it is that of /dev.
func (c *containerMounts) memory(m oci.Mount) (vfs.Inode, error) {
	owner := c.who.creds
	config := tmpfs.Config{File: c.kernel.Memory(), IDs: c.owner.UserNS, UID: owner.FSUID, GID: owner.FSGID, OpenDevice: c.nodes().Open}
	under := c.under(m.At)
	if m.At == "/dev" {
		config.Mode = 0o755
	} else if under != nil {
		// As runc has it, and unlike mount(8).
		attr, err := under.Attr()
		if err != nil {
			return nil, err
		}
		config.Mode = attr.Mode
	}
	config, err := config.WithOptions(m.Data)
	if err != nil {
		return nil, err
	}
	root := tmpfs.New(config)
	if m.CopyUp && under != nil {
		if err := c.copyUp(under, root); err != nil {
			return nil, err
		}
	}
	if m.At == "/dev" {
		err = dev.Fill(root, c.who, vfs.NewAttr{UID: owner.FSUID, GID: owner.FSGID}, c.in.Container.Process.Terminal)
	}
	return root, err
}

// setSysctl writes a setting where processes inside would.
func (c *containerMounts) setSysctl(name, value string) error {
	walk := vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root()}
	f, err := vfs.Open(c.who, walk, path.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), vfs.OpenArgs{Flags: unix.O_WRONLY})
	if err != nil {
		return err
	}
	defer f.DecRef()
	_, err = f.Write(c.who, mm.BytesBuffer([]byte(value)))
	return err
}

// cover hides masked paths and makes others read-only. Those that do not exist are fine.
func (c *containerMounts) cover() error {
	walk := vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root()}
	for _, list := range []struct {
		field string
		paths []string
		cover func(vfs.Path) error
	}{
		{"linux.maskedPaths", c.in.Container.Masked, c.mask},
		{"linux.readonlyPaths", c.in.Container.ReadOnly, c.writeProtect},
	} {
		for _, name := range list.paths {
			p, err := vfs.Walk(c.who, walk, name)
			if err == unix.ENOENT || err == unix.ENOTDIR {
				continue
			}
			if err == nil {
				err = list.cover(p)
			}
			if err != nil {
				return &Failure{What: list.field + ": cannot cover " + name, Cause: err}
			}
		}
	}
	return nil
}

// mask puts an empty directory over a directory and /dev/null over anything else.
func (c *containerMounts) mask(p vfs.Path) error {
	attr, err := vfs.Stat(c.who, p)
	if err != nil {
		return err
	}
	if attr.Mode&unix.S_IFMT == unix.S_IFDIR {
		_, err := c.ns.MountAt(p, tmpfs.New(tmpfs.Config{File: c.kernel.Memory()}), vfs.ReadOnly, "tmpfs", "tmpfs")
		return err
	}
	null, err := vfs.Walk(c.who, vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root()}, "/dev/null")
	if err != nil {
		return err
	}
	_, err = c.ns.Bind(null, p, 0, false)
	return err
}

func (c *containerMounts) writeProtect(p vfs.Path) error {
	_, err := c.ns.Bind(p, p, vfs.ReadOnly, true)
	return err
}
