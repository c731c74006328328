package linux

import (
	"gosentry/fs/vfs"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysInotifyInit(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return sysInotifyInit1(t, arch.SyscallArgs{})
}

func sysInotifyInit1(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := int(int32(a[0]))
	if flags&^(unix.IN_CLOEXEC|unix.IN_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	f, err := t.Kernel().VFS().NewInotify(t, flags&unix.IN_NONBLOCK)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, flags&unix.IN_CLOEXEC != 0)
}

// onInotify runs fn with the instance of a descriptor; EINVAL for another file.
func onInotify(t *kernel.Task, fd uint64, fn func(*vfs.Inotify) error) error {
	_, err := onFile(t, fd, func(f *vfs.File) error {
		i, ok := f.Ops().(*vfs.Inotify)
		if !ok {
			return unix.EINVAL
		}
		return fn(i)
	})
	return err
}

func sysInotifyAddWatch(t *kernel.Task, a arch.SyscallArgs) (wd uint64, err error) {
	mask := uint32(a[2])
	if err := vfs.CheckWatchMask(mask); err != nil {
		return 0, err
	}
	err = onInotify(t, a[0], func(i *vfs.Inotify) error {
		w, name, err := walkArgs(t, cwd, a[1], false)
		if err != nil {
			return err
		}
		w.NoFollow = mask&unix.IN_DONT_FOLLOW != 0
		w.Directory = mask&unix.IN_ONLYDIR != 0
		p, err := vfs.Walk(t, w, name)
		if err != nil {
			return err
		}
		n, err := i.Watch(t, p, mask)
		wd = uint64(uint32(n))
		return err
	})
	return wd, err
}

func sysInotifyRmWatch(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, onInotify(t, a[0], func(i *vfs.Inotify) error { return i.Unwatch(int32(a[1])) })
}
