package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
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
	s, err := t.CopyInString(mm.Addr(addr), pathMax)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	return s, err
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
	case flags&unix.MS_REMOUNT != 0:
		return 0, ns.Remount(at, mountFlags(flags))
	case flags&unix.MS_BIND != 0:
		return 0, bindMount(t, source, at, flags)
	case flags&mountTypes != 0:
		return 0, changePropagation(t, at, flags)
	case flags&unix.MS_MOVE != 0:
		from, err := vfs.Walk(t, t.WalkArgs(), source)
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
	} {
		if flags&m.bit != 0 {
			f |= m.flag
		}
	}
	return f
}

func bindMount(t *kernel.Task, source string, at vfs.Path, flags uint64) error {
	if source == "" {
		return unix.EINVAL
	}
	from, err := vfs.Walk(t, t.WalkArgs(), source)
	if err != nil {
		return err
	}
	_, err = t.MountsOf().Bind(from, at, 0, flags&unix.MS_REC != 0)
	return err
}

// changePropagation is mount(2) that makes a mount private, as all are anyway, a slave of nobody, or unbindable; shared
// mounts are not built.
func changePropagation(t *kernel.Task, at vfs.Path, flags uint64) error {
	kind := flags & mountTypes
	switch {
	case kind&(kind-1) != 0, flags&^(mountTypes|unix.MS_REC|unix.MS_SILENT) != 0, kind == unix.MS_SHARED:
		return unix.EINVAL
	}
	return t.MountsOf().SetUnbindable(at, kind == unix.MS_UNBINDABLE)
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
	_, err = t.MountsOf().MountAt(at, root, mountFlags(flags), fstype, source)
	return err
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
