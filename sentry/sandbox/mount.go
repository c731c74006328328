package sandbox

import (
	"path"
	"slices"
	"strings"

	"gosentry/fs/dev"
	"gosentry/fs/host"
	"gosentry/fs/overlay"
	"gosentry/fs/proc"
	"gosentry/fs/sys"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/limits"
	"gosentry/sentry/personality/linux"

	"golang.org/x/sys/unix"
)

// builder is the Caller that puts the sandbox's file systems together.
type builder struct{ creds *cred.Credentials }

// Creds implements vfs.Caller.
func (b builder) Creds() *cred.Credentials { return b.creds }

// FileSizeLimit implements vfs.Caller.
func (builder) FileSizeLimit() uint64 { return limits.Infinity }

// Interrupted implements vfs.Caller.
func (builder) Interrupted() bool { return false }

// mountRoot makes a mount namespace whose root is the root directory where that may be written, and else an overlay over it.
func (in *Inside) mountRoot(sys *vfs.System, memory *mm.MemoryFile, devices dev.Config) (*vfs.Namespace, error) {
	fail := func(err error) (*vfs.Namespace, error) {
		return nil, &Failure{What: "cannot mount the root file system", Cause: err}
	}
	lower, err := in.Root.inode(in)
	if err != nil {
		return fail(err)
	}
	root, fstype := lower, "host"
	if !in.Root.Writable {
		fstype = "overlay"
		if root, err = overlay.New(lower, overlay.Config{File: memory, Device: devices.Open}); err != nil {
			return fail(err)
		}
	}
	ns, err := sys.NewNamespace(root, 0, fstype, fstype)
	if err != nil {
		return fail(err)
	}
	return ns, nil
}

// inode shows a host directory, whose descriptor it takes over.
func (d *Directory) inode(in *Inside) (vfs.Inode, error) {
	if !d.Sealed {
		in.Log.Warnf("%s is a plain descriptor: the host does not let its mounts be cloned", d.Inside)
	}
	i, err := host.New(d.FD, host.Config{
		ReadOnly: !d.Writable, Cache: !d.Writable, MaxDirs: d.MaxDirs, Devices: d.Devices, NoDev: d.Sealed,
		Opened: in.Opened,
	})
	if err != nil {
		return nil, err
	}
	d.FD = -1
	return i, nil
}

// mountSystem mounts what every Linux system has, and the caller's directories.
func (in *Inside) mountSystem(k *kernel.Kernel, ns *vfs.Namespace, memory *mm.MemoryFile) error {
	const plain = vfs.NoSuid | vfs.NoDev
	user := cred.New(0, 0, nil, nil)
	terminals, err := k.NewTerminals("gid=5,mode=620,ptmxmode=666")
	if err != nil {
		return err
	}
	w := &mounter{builder{user}, ns}
	devices := dev.Config{Memory: memory, Terminal: k.OpenTerminal, Multiplexer: terminals.Open, Messages: k.OpenMessages}
	type step struct {
		at     string
		root   vfs.Inode
		flags  vfs.MountFlags
		fstype string
	}
	steps := []step{
		{"/dev", dev.New(devices), vfs.NoSuid | vfs.NoExec, "devtmpfs"},
		{"/proc", proc.New(k.NewProcView(systemInfo())), plain | vfs.NoExec, "proc"},
		{"/sys", sys.New(sys.Config{CPUs: linux.CPUs()}), plain | vfs.NoExec | vfs.ReadOnly, "sysfs"},
		{"/sys/fs/cgroup", k.Cgroups().Root().Inode(), plain | vfs.NoExec, "cgroup2"},
		{"/dev/shm", tmpfs.New(tmpfs.Config{File: memory}), plain, "tmpfs"},
		{"/dev/pts", terminals.Root(), vfs.NoSuid | vfs.NoExec, "devpts"},
		{"/dev/mqueue", k.Whole().MessageQueues().Root(), plain | vfs.NoExec, "mqueue"},
	}
	in.registerFileSystems(k)
	for _, s := range steps {
		if err := w.mount(s.at, s.root, s.flags, s.fstype, s.fstype); err != nil {
			return err
		}
	}
	for _, d := range in.Binds {
		root, err := d.inode(in)
		if err != nil {
			return &Failure{What: "cannot show a directory at " + d.Inside, Cause: err}
		}
		flags := plain
		if !d.Writable {
			flags |= vfs.ReadOnly
		}
		if err := w.mount(d.Inside, root, flags, "host", d.Inside); err != nil {
			return err
		}
	}
	return nil
}

// registerFileSystems makes known what guests may mount.
func (in *Inside) registerFileSystems(k *kernel.Kernel) {
	k.RegisterFileSystem("tmpfs", func(t *kernel.Task, options string) (vfs.Inode, error) {
		c := t.Creds()
		devices := dev.Config{Memory: t.Payer(), Terminal: k.OpenTerminal, Messages: k.OpenMessages}
		config, err := tmpfs.Config{File: t.Payer(), IDs: c.UserNS, UID: c.FSUID, GID: c.FSGID, OpenDevice: devices.Open}.WithOptions(options)
		if err != nil {
			return nil, err
		}
		return tmpfs.New(config), nil
	})
	k.RegisterFileSystem("proc", ignoring([]string{"hidepid", "gid", "subset"}, func(t *kernel.Task) vfs.Inode {
		return proc.New(t.NewProcViewFor(systemInfo()))
	}))
	k.RegisterFileSystem("sysfs", ignoring(nil, func(*kernel.Task) vfs.Inode { return sys.New(sys.Config{CPUs: linux.CPUs()}) }))
	k.RegisterFileSystem("cgroup2", ignoring([]string{
		"nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting", "pids_localevents",
	}, func(t *kernel.Task) vfs.Inode { return t.CgroupRoot().Inode() }))
	k.RegisterFileSystem("devpts", func(_ *kernel.Task, options string) (vfs.Inode, error) {
		fs, err := k.NewTerminals(options)
		if err != nil {
			return nil, err
		}
		return fs.Root(), nil
	})
	k.RegisterFileSystem("mqueue", ignoring(nil, func(t *kernel.Task) vfs.Inode { return t.MessageQueues().Root() }))
}

// ignoring makes file systems that know the given options, which change nothing; EINVAL for others.
func ignoring(known []string, make func(*kernel.Task) vfs.Inode) kernel.MakeFileSystem {
	return func(t *kernel.Task, options string) (vfs.Inode, error) {
		for option := range strings.SplitSeq(options, ",") {
			if name, _, _ := strings.Cut(option, "="); name != "" && !slices.Contains(known, name) {
				return nil, unix.EINVAL
			}
		}
		return make(t), nil
	}
}

// systemInfo is what /proc tells of the system itself.
func systemInfo() proc.Info {
	return proc.Info{
		Sysname: linux.Sysname, Release: linux.Release, Version: linux.Version, Machine: linux.Machine,
		CPUs: linux.CPUs(), FileSystems: []string{"overlay", "tmpfs", "proc", "sysfs", "cgroup2", "devtmpfs", "pipefs", "mqueue", "devpts"},
	}
}

// mounter mounts file systems and makes the directories to mount them on.
type mounter struct {
	who builder
	ns  *vfs.Namespace
}

func (w *mounter) mount(at string, root vfs.Inode, flags vfs.MountFlags, fstype, source string) error {
	i, err := w.ns.System().NewInstance(root, fstype, source)
	var attr vfs.Attr
	if err == nil {
		attr, err = root.Attr()
	}
	if err != nil {
		return &Failure{What: "cannot mount on " + at + " inside", Cause: err}
	}
	return w.mountInstance(at, i, attr, flags)
}

// mountInstance mounts a file system whose root has these attributes.
func (w *mounter) mountInstance(at string, i *vfs.Instance, attr vfs.Attr, flags vfs.MountFlags) error {
	isDir := attr.Mode&unix.S_IFMT == unix.S_IFDIR
	walk := vfs.WalkArgs{Root: w.ns.Root(), Start: w.ns.Root(), Directory: isDir}
	p, err := vfs.Walk(w.who, walk, at)
	if err == unix.ENOENT {
		if err = w.makeTarget(walk, at, isDir); err == nil {
			p, err = vfs.Walk(w.who, walk, at)
		}
	}
	if err == nil {
		_, err = w.ns.MountInstance(p, i, flags)
	}
	f := &Failure{What: "cannot mount on " + at + " inside", Cause: err}
	switch err {
	case nil:
		return nil
	case unix.EACCES:
		// That of root had been asked by a process with capabilities.
		f.Way = "the user who starts the sandbox must be allowed to search the directories there, without capabilities"
	}
	return f
}

// makeTarget makes what is mounted on: a directory or a file, and the directories above it.
func (w *mounter) makeTarget(walk vfs.WalkArgs, at string, isDir bool) error {
	if isDir {
		return w.makeAll(walk, at)
	}
	if err := w.makeAll(walk, path.Dir(at)); err != nil {
		return err
	}
	return vfs.MknodAt(w.who, walk, at, unix.S_IFREG|0o644, 0, 0, 0)
}

// makeAll makes a directory and those above it; in a root under an overlay they exist there alone.
func (w *mounter) makeAll(walk vfs.WalkArgs, dir string) error {
	made := "/"
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		made = path.Join(made, name)
		if err := vfs.MkdirAt(w.who, walk, made, 0o755, 0); err != nil && err != unix.EEXIST {
			return err
		}
	}
	return nil
}
