package linux

import (
	"gosentry/fs/vfs"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Flags of mount(2) without a name in package unix.
const (
	mountMagic     = 0xc0ed0000
	mountMagicMask = 0xffff0000
	mountNoSymlink = 0x100
	mountTypes     = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE
)

// mayMount is EPERM for those who may not change the tree of mounts.
func mayMount(t *kernel.Task) error {
	if !t.MayMount() {
		return unix.EPERM
	}
	return nil
}

// mountString copies in an argument of mount(2) that may be missing.
func mountString(t *kernel.Task, addr uint64) (string, error) {
	if addr == 0 {
		return "", nil
	}
	return boundedString(t, addr, pathMax)
}

func sysMount(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	fstype, err := mountString(t, a[2])
	if err != nil {
		return 0, err
	}
	source, err := mountString(t, a[0])
	if err != nil {
		return 0, err
	}
	at, err := find(t, cwd, a[1], 0)
	if err != nil {
		return 0, err
	}
	flags := a[3]
	if flags&mountMagicMask == mountMagic {
		flags &^= mountMagicMask
	}
	if err := mayMount(t); err != nil {
		return 0, err
	}
	ns := t.MountsOf()
	switch {
	case flags&unix.MS_NOUSER != 0:
		return 0, unix.EINVAL
	case flags&(unix.MS_REMOUNT|unix.MS_BIND) == unix.MS_REMOUNT|unix.MS_BIND:
		return 0, ns.Remount(at, remountFlags(at, flags))
	case flags&unix.MS_REMOUNT != 0:
		return 0, remount(t, at, flags)
	case flags&unix.MS_BIND != 0:
		return 0, bindMount(t, source, at, flags)
	case flags&mountTypes != 0:
		return 0, changePropagation(t, at, flags)
	case flags&unix.MS_MOVE != 0:
		from, err := findSource(t, source)
		if err != nil {
			return 0, err
		}
		return 0, ns.Move(from, at)
	}
	return 0, newMount(t, fstype, source, at, flags, a[4])
}

func mountFlags(flags uint64) vfs.MountFlags {
	var f vfs.MountFlags
	for _, m := range [...]struct {
		bit  uint64
		flag vfs.MountFlags
	}{
		{unix.MS_RDONLY, vfs.ReadOnly}, {unix.MS_NOEXEC, vfs.NoExec}, {unix.MS_NOSUID, vfs.NoSuid},
		{unix.MS_NODEV, vfs.NoDev}, {unix.MS_NOATIME, vfs.NoAtime}, {mountNoSymlink, vfs.NoSymFollow},
		{unix.MS_NODIRATIME, vfs.NoDirAtime}, {unix.MS_STRICTATIME, vfs.StrictAtime},
	} {
		if flags&m.bit != 0 {
			f |= m.flag
		}
	}
	if f&vfs.StrictAtime != 0 {
		f &^= vfs.NoAtime
	}
	return f
}

// remountFlags are the flags of a mount that is changed: without a word on times of access those stay.
func remountFlags(at vfs.Path, flags uint64) vfs.MountFlags {
	const times = unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME
	f := mountFlags(flags)
	if flags&times == 0 {
		f |= at.Mount.Flags() & (vfs.NoAtime | vfs.NoDirAtime | vfs.StrictAtime)
	}
	return f
}

// remount changes a mount and whether its file system can be written to, where the caller may change that.
func remount(t *kernel.Task, at vfs.Path, flags uint64) error {
	if err := t.MountsOf().Remount(at, remountFlags(at, flags)); err != nil {
		return err
	}
	if t.OwnsFileSystemOf(at.Mount) {
		at.Mount.FileSystem().SetReadOnly(flags&unix.MS_RDONLY != 0)
	}
	return nil
}

// findSource walks to what is to be bound or moved.
func findSource(t *kernel.Task, source string) (vfs.Path, error) {
	if source == "" {
		return vfs.Path{}, unix.EINVAL
	}
	return vfs.Walk(t, t.WalkArgs(), source)
}

func bindMount(t *kernel.Task, source string, at vfs.Path, flags uint64) error {
	from, err := findSource(t, source)
	if err != nil {
		return err
	}
	if err := t.MayBind(from); err != nil {
		return err
	}
	_, err = t.MountsOf().Bind(from, at, 0, flags&unix.MS_REC != 0)
	return err
}

// changePropagation is mount(2) that makes a mount shared, a slave, private or unbindable.
func changePropagation(t *kernel.Task, at vfs.Path, flags uint64) error {
	kind := flags & mountTypes
	switch {
	case kind&(kind-1) != 0, flags&^(mountTypes|unix.MS_REC|unix.MS_SILENT) != 0:
		return unix.EINVAL
	}
	return t.MountsOf().SetAttr(at, vfs.Attributes{Propagation: int(kind)}, flags&unix.MS_REC != 0)
}

func newMount(t *kernel.Task, fstype, source string, at vfs.Path, flags, data uint64) error {
	options, err := mountString(t, data)
	if err != nil {
		return err
	}
	if fstype == "" {
		return unix.EINVAL
	}
	root, err := t.NewFileSystem(fstype, options)
	if err != nil {
		return err
	}
	if source == "" {
		source = "none"
	}
	m, err := t.MountsOf().MountAt(at, root, mountFlags(flags), fstype, source)
	if err != nil {
		return err
	}
	m.FileSystem().SetOwner(t.Creds().UserNS)
	m.FileSystem().SetReadOnly(flags&unix.MS_RDONLY != 0)
	return nil
}

func sysUmount2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const noFollow = 8
	flags := int(int32(a[1]))
	if flags&^(unix.MNT_FORCE|unix.MNT_DETACH|unix.MNT_EXPIRE|noFollow) != 0 {
		return 0, unix.EINVAL
	}
	walk := uint64(0)
	if flags&noFollow != 0 {
		walk = unix.AT_SYMLINK_NOFOLLOW
	}
	p, err := find(t, cwd, a[0], walk)
	if err != nil {
		return 0, err
	}
	if err := mayMount(t); err != nil {
		return 0, err
	}
	if flags&unix.MNT_EXPIRE != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MountsOf().Unmount(p, flags)
}

// sysPivotRoot is pivot_root(2).
func sysPivotRoot(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if err := mayMount(t); err != nil {
		return 0, err
	}
	var places [2]vfs.Path
	for i := range places {
		p, err := find(t, cwd, a[i], 0)
		if err != nil {
			return 0, err
		}
		if !p.IsDir() {
			return 0, unix.ENOTDIR
		}
		places[i] = p
	}
	return 0, t.PivotRoot(places[0], places[1])
}
