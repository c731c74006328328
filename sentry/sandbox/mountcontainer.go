package sandbox

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gosentry/fs/dev"
	"gosentry/fs/proc"
	"gosentry/fs/sys"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/oci"
	"gosentry/sentry/personality/linux"

	"golang.org/x/sys/unix"
)

// containerMounts puts together what a container's configuration asks for.
type containerMounts struct {
	in     *Inside
	k      *kernel.Kernel
	memory *mm.MemoryFile
	pids   *kernel.PIDNamespace // of the container
	mounter
}

// mountContainer mounts a container's file systems, in the order of its configuration.
func (in *Inside) mountContainer(k *kernel.Kernel, pids *kernel.PIDNamespace, ns *vfs.Namespace, memory *mm.MemoryFile) error {
	in.registerFileSystems(k, memory)
	c := &containerMounts{in, k, memory, pids, mounter{builder{cred.New(0, 0, nil, nil)}, ns}}
	mounts := in.Container.Mounts
	if !slices.ContainsFunc(mounts, func(m oci.Mount) bool { return m.At == "/dev" }) {
		mounts = append([]oci.Mount{{Type: "devtmpfs", At: "/dev", NoSuid: true}}, mounts...)
	}
	for _, m := range mounts {
		if err := c.mountOne(m); err != nil {
			return err
		}
	}
	for name, value := range in.Container.Sysctl {
		if err := c.setSysctl(name, value); err != nil {
			return &Failure{What: fmt.Sprintf("linux.sysctl: cannot set %s to %q", name, value), Cause: err}
		}
	}
	if err := c.cover(); err != nil {
		return err
	}
	if in.Container.ReadOnlyRoot {
		if err := ns.Remount(ns.Root(), vfs.ReadOnly); err != nil {
			return &Failure{What: "root.readonly: cannot make the root read-only", Cause: err}
		}
	}
	return nil
}

func (c *containerMounts) mountOne(m oci.Mount) error {
	root, err := c.root(m)
	if err != nil {
		return &Failure{What: fmt.Sprintf("cannot make the %s at %s", m.Type, m.At), Cause: err}
	}
	if root == nil {
		return nil
	}
	var flags vfs.MountFlags
	for on, flag := range map[*bool]vfs.MountFlags{&m.ReadOnly: vfs.ReadOnly, &m.NoSuid: vfs.NoSuid, &m.NoDev: vfs.NoDev, &m.NoExec: vfs.NoExec} {
		if *on {
			flags |= flag
		}
	}
	source, fstype := m.Source, m.Type
	if m.Type == "bind" {
		source, fstype = m.At, "host"
	}
	return c.mount(m.At, root, flags, fstype, source)
}

// root makes a mount's file system; nil where there is one already.
func (c *containerMounts) root(m oci.Mount) (vfs.Inode, error) {
	switch m.Type {
	case "bind":
		return c.in.Binds[m.Bind].inode(c.in.Log)
	case "proc":
		return proc.New(c.k.NewProcViewIn(c.pids, systemInfo())), nil
	case "sysfs":
		return sys.New(sys.Config{CPUs: linux.CPUs()}), nil
	case "cgroup", "cgroup2":
		return c.k.Cgroups().Root().Inode(), nil
	case "mqueue":
		return c.k.FirstMessageQueues().Root(), nil
	case "devpts":
		return nil, nil // part of /dev
	case "devtmpfs":
		return c.devices(), nil
	case "tmpfs":
		if m.At == "/dev" {
			return c.devices(), nil
		}
		config, err := tmpfs.Config{File: c.memory}.WithOptions(m.Data)
		if err != nil {
			return nil, err
		}
		return tmpfs.New(config), nil
	}
	return nil, unix.ENODEV
}

func (c *containerMounts) devices() vfs.Inode {
	return dev.New(dev.Config{Memory: c.memory, Terminal: c.k.OpenTerminal})
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
		_, err := c.ns.MountAt(p, tmpfs.New(tmpfs.Config{File: c.memory}), vfs.ReadOnly, "tmpfs", "tmpfs")
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
