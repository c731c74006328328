package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysMkdir(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysMkdirat(t, arch.SyscallArgs{cwd, a[0], a[1]})
}

func sysMkdirat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	w, name, err := walkArgs(t, a[0], a[1], false)
	if err != nil {
		return 0, err
	}
	return 0, vfs.MkdirAt(t, w, name, uint32(a[2]), t.FS().Umask())
}

func sysMknod(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysMknodat(t, arch.SyscallArgs{cwd, a[0], a[1], a[2]})
}

func sysMknodat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	w, name, err := walkArgs(t, a[0], a[1], false)
	if err != nil {
		return 0, err
	}
	dev := uint64(uint32(a[3]))
	return 0, vfs.MknodAt(t, w, name, uint32(a[2]), t.FS().Umask(), unix.Major(dev), unix.Minor(dev))
}

func sysRmdir(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysUnlinkat(t, arch.SyscallArgs{cwd, a[0], unix.AT_REMOVEDIR})
}

func sysUnlink(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysUnlinkat(t, arch.SyscallArgs{cwd, a[0], 0})
}

func sysUnlinkat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2]&^unix.AT_REMOVEDIR != 0 {
		return 0, unix.EINVAL
	}
	w, name, err := walkArgs(t, a[0], a[1], false)
	if err != nil {
		return 0, err
	}
	if a[2] != 0 {
		return 0, vfs.RmdirAt(t, w, name)
	}
	return 0, vfs.UnlinkAt(t, w, name)
}

func sysRename(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysRenameat2(t, arch.SyscallArgs{cwd, a[0], cwd, a[1], 0})
}

func sysRenameat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	a[4] = 0
	return sysRenameat2(t, a)
}

func sysRenameat2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	w1, from, err := walkArgs(t, a[0], a[1], false)
	if err != nil {
		return 0, err
	}
	w2, to, err := walkArgs(t, a[2], a[3], false)
	if err != nil {
		return 0, err
	}
	return 0, vfs.RenameAt(t, w1, from, w2, to, uint32(a[4]))
}

func sysLink(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysLinkat(t, arch.SyscallArgs{cwd, a[0], cwd, a[1], 0})
}

func sysLinkat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[4]&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	flags := a[4] & unix.AT_EMPTY_PATH
	if a[4]&unix.AT_SYMLINK_FOLLOW == 0 {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	old, err := find(t, a[0], a[1], flags)
	if err != nil {
		return 0, err
	}
	w, name, err := walkArgs(t, a[2], a[3], false)
	if err != nil {
		return 0, err
	}
	return 0, vfs.LinkAt(t, old, w, name)
}

func sysSymlink(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysSymlinkat(t, arch.SyscallArgs{a[0], cwd, a[1]})
}

func sysSymlinkat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	target, err := path(t, a[0])
	if err != nil {
		return 0, err
	}
	w, name, err := walkArgs(t, a[1], a[2], false)
	if err != nil {
		return 0, err
	}
	return 0, vfs.SymlinkAt(t, target, w, name)
}

func sysReadlink(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysReadlinkat(t, arch.SyscallArgs{cwd, a[0], a[1], a[2]})
}

func sysReadlinkat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	size := int32(a[3])
	if size <= 0 {
		return 0, unix.EINVAL
	}
	w, name, err := walkArgs(t, a[0], a[1], true)
	if err != nil {
		return 0, err
	}
	if name == "" && int32(a[0]) == unix.AT_FDCWD {
		return 0, unix.ENOENT
	}
	s, err := vfs.ReadlinkAt(t, w, name)
	if err != nil {
		return 0, err
	}
	s = s[:min(len(s), int(size))]
	return uint64(len(s)), t.CopyOut(mm.Addr(a[2]), []byte(s))
}

func sysUmask(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return uint64(t.FS().SetUmask(uint32(a[0]))), nil
}

func sysGetcwd(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p := t.FS().CWD()
	if p.Deleted() {
		return 0, unix.ENOENT
	}
	s, reachable := vfs.PathName(t.FS().Root(), p)
	if !reachable {
		s = "(unreachable)" + s
	}
	if len(s)+1 > pathMax {
		return 0, unix.ENAMETOOLONG
	}
	if uint64(len(s))+1 > a[1] {
		return 0, unix.ERANGE
	}
	return uint64(len(s) + 1), t.CopyOut(mm.Addr(a[0]), append([]byte(s), 0))
}

func sysChdir(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p, err := findDir(t, a[0])
	if err != nil {
		return 0, err
	}
	t.FS().SetCWD(p)
	return 0, nil
}

// findDir walks to a directory that the caller may search.
func findDir(t *kernel.Task, name uint64) (vfs.Path, error) {
	w, s, err := walkArgs(t, cwd, name, false)
	if err != nil {
		return vfs.Path{}, err
	}
	w.Directory = true
	p, err := vfs.Walk(t, w, s)
	if err != nil {
		return vfs.Path{}, err
	}
	return p, vfs.Access(t, p, vfs.MayExec)
}

func sysFchdir(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if !f.Path().IsDir() {
		return 0, unix.ENOTDIR
	}
	if err := vfs.Access(t, f.Path(), vfs.MayExec); err != nil {
		return 0, err
	}
	t.FS().SetCWD(f.Path())
	return 0, nil
}

func sysChroot(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p, err := findDir(t, a[0])
	if err != nil {
		return 0, err
	}
	if !t.Creds().Has(unix.CAP_SYS_CHROOT) {
		return 0, unix.EPERM
	}
	t.FS().SetRoot(p)
	return 0, nil
}
