package sandbox

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// sealGrants clones the trees that the outer process could not clone. A
// refusal leaves the plain descriptor in use.
func (cfg *config) sealGrants() error {
	all := []*grant{&cfg.Root}
	for i := range cfg.Binds {
		all = append(all, &cfg.Binds[i])
	}
	for _, g := range all {
		if g.Sealed {
			continue
		}
		fd, err := sealTree(string(g.Host), g.Write)
		if err != nil {
			continue
		}
		// The number stays: others of the config follow it.
		err = unix.Dup3(fd, g.FD, unix.O_CLOEXEC)
		unix.Close(fd)
		if err != nil {
			return &Failure{What: "cannot place the directory " + string(g.Host), Cause: err}
		}
		g.Sealed = true
	}
	return nil
}

// emptyRoot leaves the process, in its own mount namespace, with nothing but an
// empty directory that cannot be written.
func emptyRoot() error {
	if err := pivot(); err != nil {
		f := &Failure{What: "cannot make an empty root", Cause: err}
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			f.Way = wayToNamespaces()
		}
		return f
	}
	return nil
}

func pivot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	empty, err := emptyTree()
	if err != nil {
		return err
	}
	defer unix.Close(empty)
	if err := unix.MoveMount(empty, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if err := unix.Fchdir(empty); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		// The root of an initramfs cannot be exchanged; what is above "." cannot be
		// reached either once the process has no capabilities.
		return unix.Chroot(".")
	}
	// The old root lies on top of the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// emptyTree makes a detached read-only file system without a file.
func emptyTree() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "mode", "0555"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|
		unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// showGrants mounts a root that may be written, and the directories bound in it, where nobody sees them but who enters the mount namespace
// from outside, as engines do to copy files from and to a container: on top of this process's own root, whose paths go on to start below, in the empty
// one. What cannot be mounted is left out.
func (cfg *config) showGrants() {
	const here = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if cfg.Container == nil || !cfg.Root.Write || !cfg.Root.Sealed {
		return
	}
	if unix.MoveMount(cfg.Root.FD, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH) != nil {
		return
	}
	for _, g := range cfg.Binds {
		var st unix.Stat_t
		if unix.Fstat(g.FD, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || !g.Sealed {
			continue
		}
		at, err := makeBelow(cfg.Root.FD, string(g.Inside))
		if err != nil {
			continue
		}
		unix.MoveMount(g.FD, "", at, "", here) //nolint:errcheck // who copies finds the directory below
		unix.Close(at)
	}
}

// makeBelow opens a directory below root, and makes it where it is missing, as the kernel inside would: it mounts on the same one.
func makeBelow(root int, name string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	at, err := unix.Openat2(root, name, &how)
	dir := path.Dir(name)
	if err != unix.ENOENT || dir == name || strings.HasPrefix(name, "/dev/") {
		return at, err
	}
	above, err := makeBelow(root, dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	if err := unix.Mkdirat(above, path.Base(name), 0o755); err != nil {
		return -1, err
	}
	return unix.Openat2(root, name, &how)
}
