package linux

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Attributes of mounts by number (mount_setattr(2)).
var mountAttributes = [...]struct {
	bit  uint64
	flag vfs.MountFlags
}{
	{unix.MOUNT_ATTR_RDONLY, vfs.ReadOnly}, {unix.MOUNT_ATTR_NOSUID, vfs.NoSuid}, {unix.MOUNT_ATTR_NODEV, vfs.NoDev},
	{unix.MOUNT_ATTR_NOEXEC, vfs.NoExec}, {unix.MOUNT_ATTR_NODIRATIME, vfs.NoDirAtime}, {unix.MOUNT_ATTR_NOSYMFOLLOW, vfs.NoSymFollow},
}

const (
	mountTimes  = unix.MOUNT_ATTR__ATIME
	atimeFlags  = vfs.NoAtime | vfs.StrictAtime
	knownMounts = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC |
		mountTimes | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW
	openTreeClone = unix.OPEN_TREE_CLONE
	placeFlags    = unix.AT_EMPTY_PATH | unix.AT_NO_AUTOMOUNT | unix.AT_SYMLINK_NOFOLLOW
	moveBeneath   = 0x200
	moveFlags     = 0x377
)

// attributes translates MOUNT_ATTR_ flags; EINVAL for those unknown.
func attributes(bits uint64) (vfs.MountFlags, error) {
	var f vfs.MountFlags
	if bits&^knownMounts != 0 {
		return 0, unix.EINVAL
	}
	for _, a := range mountAttributes {
		if bits&a.bit != 0 {
			f |= a.flag
		}
	}
	switch bits & mountTimes {
	case unix.MOUNT_ATTR_NOATIME:
		f |= vfs.NoAtime
	case unix.MOUNT_ATTR_STRICTATIME:
		f |= vfs.StrictAtime
	case unix.MOUNT_ATTR_RELATIME:
	default:
		return 0, unix.EINVAL
	}
	return f, nil
}

// mountContext calls fn with what the descriptor fd of fsopen(2) stands for.
func mountContext(t *kernel.Task, fd uint64, fn func(*kernel.MountContext) error) error {
	_, err := onFile(t, fd, func(f *vfs.File) error {
		m, err := kernel.MountContextOf(f)
		if err != nil {
			return err
		}
		return fn(m)
	})
	return err
}

// sysFsopen is fsopen(2).
func sysFsopen(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if err := mayMount(t); err != nil {
		return 0, err
	}
	if uint32(a[1])&^unix.FSOPEN_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	fstype, err := boundedString(t, a[0], pathMax)
	if err != nil {
		return 0, err
	}
	f, err := t.OpenFileSystem(fstype)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, uint32(a[1]) != 0)
}

// boundedString copies in a string; EINVAL for one that is longer than most with its end.
func boundedString(t *kernel.Task, addr uint64, most int) (string, error) {
	s, err := t.CopyInString(mm.Addr(addr), most)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	return s, err
}

// maxParameter bounds the name and the value of a parameter, in bytes.
const maxParameter = 256

// sysFsconfig is fsconfig(2).
func sysFsconfig(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	fd, cmd, key, value, aux := int32(a[0]), uint32(a[1]), a[2], a[3], int32(a[4])
	if fd < 0 {
		return 0, unix.EINVAL
	}
	if err := checkParameter(cmd, key != 0, value != 0, aux); err != nil {
		return 0, err
	}
	return 0, mountContext(t, a[0], func(m *kernel.MountContext) error {
		switch cmd {
		case unix.FSCONFIG_CMD_RECONFIGURE:
			return m.Reconfigure(t)
		case unix.FSCONFIG_SET_FLAG, unix.FSCONFIG_SET_STRING:
			return setParameter(t, m, key, value)
		case unix.FSCONFIG_CMD_CREATE, createExcl:
			return m.Create(t)
		}
		return unix.EINVAL // no file system here knows parameters of other kinds
	})
}

// createExcl is FSCONFIG_CMD_CREATE_EXCL: each file system is made anew anyway.
const createExcl = 8

// checkParameter is EINVAL for arguments of fsconfig(2) that do not go together, EOPNOTSUPP for an unknown command.
func checkParameter(cmd uint32, key, value bool, aux int32) error {
	ok := false
	switch cmd {
	case unix.FSCONFIG_SET_FLAG:
		ok = key && !value && aux == 0
	case unix.FSCONFIG_SET_STRING:
		ok = key && value && aux == 0
	case unix.FSCONFIG_SET_BINARY:
		ok = key && value && aux > 0 && aux <= 1<<20
	case unix.FSCONFIG_SET_PATH, unix.FSCONFIG_SET_PATH_EMPTY:
		ok = key && value && (aux == unix.AT_FDCWD || aux >= 0)
	case unix.FSCONFIG_SET_FD:
		ok = key && !value && aux >= 0
	case unix.FSCONFIG_CMD_CREATE, createExcl, unix.FSCONFIG_CMD_RECONFIGURE:
		ok = !key && !value && aux == 0
	default:
		return unix.EOPNOTSUPP
	}
	if !ok {
		return unix.EINVAL
	}
	return nil
}

func setParameter(t *kernel.Task, m *kernel.MountContext, key, value uint64) error {
	k, err := boundedString(t, key, maxParameter)
	if err != nil {
		return err
	}
	if value == 0 {
		return m.Set(t, k, nil)
	}
	v, err := boundedString(t, value, maxParameter)
	if err != nil {
		return err
	}
	return m.Set(t, k, &v)
}

// sysFsmount is fsmount(2).
func sysFsmount(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if err := mayMount(t); err != nil {
		return 0, err
	}
	flags, err := attributes(uint64(uint32(a[2])))
	if err != nil || uint32(a[1])&^unix.FSMOUNT_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	var tree *vfs.File
	err = mountContext(t, a[0], func(m *kernel.MountContext) error {
		tree, err = m.Mount(t, flags)
		return err
	})
	if err != nil {
		return 0, err
	}
	return newFD(t, tree, uint32(a[1]) != 0)
}

// sysFspick is fspick(2).
func sysFspick(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const known = unix.FSPICK_CLOEXEC | unix.FSPICK_SYMLINK_NOFOLLOW | unix.FSPICK_NO_AUTOMOUNT | unix.FSPICK_EMPTY_PATH
	if err := mayMount(t); err != nil {
		return 0, err
	}
	flags := uint32(a[2])
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	p, err := place(t, a[0], a[1], flags&unix.FSPICK_EMPTY_PATH != 0, flags&unix.FSPICK_SYMLINK_NOFOLLOW == 0)
	if err != nil {
		return 0, err
	}
	f, err := t.PickFileSystem(p)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, flags&unix.FSPICK_CLOEXEC != 0)
}

// place walks to what a call about mounts names.
func place(t *kernel.Task, dirfd, name uint64, emptyOK, follow bool) (vfs.Path, error) {
	flags := uint64(0)
	if emptyOK {
		flags |= unix.AT_EMPTY_PATH
	}
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return find(t, dirfd, name, flags)
}

// sysOpenTree is open_tree(2).
func sysOpenTree(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := uint32(a[2])
	clone, recursive := flags&openTreeClone != 0, flags&unix.AT_RECURSIVE != 0
	switch {
	case flags&^(placeFlags|unix.AT_RECURSIVE|openTreeClone|unix.O_CLOEXEC) != 0, recursive && !clone:
		return 0, unix.EINVAL
	case clone && !t.MayMount():
		return 0, unix.EPERM
	}
	p, err := find(t, a[0], a[1], uint64(flags))
	if err != nil {
		return 0, err
	}
	var f *vfs.File
	if !clone {
		f, err = vfs.OpenPath(t, p, unix.O_PATH)
	} else if err = t.MayBind(p); err == nil {
		f, err = t.MountsOf().CopyDetached(p, recursive)
	}
	if err != nil {
		return 0, err
	}
	return newFD(t, f, flags&unix.O_CLOEXEC != 0)
}

// sysMoveMount is move_mount(2).
func sysMoveMount(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if err := mayMount(t); err != nil {
		return 0, err
	}
	flags := uint32(a[4])
	if flags&^moveFlags != 0 || flags&moveBeneath != 0 && flags&unix.MOVE_MOUNT_SET_GROUP != 0 {
		return 0, unix.EINVAL
	}
	to, err := place(t, a[2], a[3], flags&unix.MOVE_MOUNT_T_EMPTY_PATH != 0, flags&unix.MOVE_MOUNT_T_SYMLINKS != 0)
	if err != nil {
		return 0, err
	}
	from, err := place(t, a[0], a[1], flags&unix.MOVE_MOUNT_F_EMPTY_PATH != 0, flags&unix.MOVE_MOUNT_F_SYMLINKS != 0)
	if err != nil {
		return 0, err
	}
	switch ns := t.MountsOf(); {
	case flags&unix.MOVE_MOUNT_SET_GROUP != 0:
		return 0, ns.SetGroup(from, to)
	case flags&moveBeneath != 0:
		return 0, ns.MoveBeneath(from, to)
	default:
		return 0, ns.Move(from, to)
	}
}

// sysMountSetattr is mount_setattr(2).
func sysMountSetattr(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags, size := uint32(a[2]), a[4]
	switch {
	case flags&^(placeFlags|unix.AT_RECURSIVE) != 0:
		return 0, unix.EINVAL
	case size > mm.PageSize:
		return 0, unix.E2BIG
	case size < unix.MOUNT_ATTR_SIZE_VER0:
		return 0, unix.EINVAL
	}
	if err := mayMount(t); err != nil {
		return 0, err
	}
	change, err := mountChange(t, a[3], size)
	if err != nil || change == nil {
		return 0, err
	}
	p, err := find(t, a[0], a[1], uint64(flags))
	if err != nil {
		return 0, err
	}
	return 0, t.MountsOf().SetAttr(p, *change, flags&unix.AT_RECURSIVE != 0)
}

// mountChange copies in a struct mount_attr; nil for one that changes nothing.
func mountChange(t *kernel.Task, addr, size uint64) (*vfs.Attributes, error) {
	b := make([]byte, size)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return nil, err
	}
	for _, tail := range b[unix.MOUNT_ATTR_SIZE_VER0:] {
		if tail != 0 {
			return nil, unix.E2BIG
		}
	}
	var words [4]uint64 // set, clear, propagation, user namespace
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	set, clear, kind := words[0], words[1], words[2]
	if set|clear|kind == 0 {
		return nil, nil
	}
	if kind&^mountTypes != 0 || kind&(kind-1) != 0 || (set|clear)&^uint64(knownMounts) != 0 {
		return nil, unix.EINVAL
	}
	if times := clear & mountTimes; times != 0 && times != mountTimes || times == 0 && set&mountTimes != 0 {
		return nil, unix.EINVAL
	}
	a := &vfs.Attributes{Propagation: int(kind)}
	var err error
	if a.Set, err = attributes(set); err != nil {
		return nil, err
	}
	if a.Clear, err = attributes(clear &^ mountTimes); err != nil {
		return nil, err
	}
	if clear&mountTimes != 0 {
		a.Clear |= atimeFlags
	}
	return a, nil
}
