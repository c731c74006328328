package sandbox

import (
	"errors"

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
