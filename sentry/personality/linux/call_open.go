package linux

import (
	"strconv"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// walkFrom says where a name given with a directory descriptor begins.
func walkFrom(t *kernel.Task, dirfd int32, name string, emptyOK bool) (vfs.WalkArgs, error) {
	w := t.WalkArgs()
	w.EmptyOK = emptyOK
	if dirfd == unix.AT_FDCWD || name != "" && name[0] == '/' {
		return w, nil
	}
	f, err := t.FDs().Get(dirfd)
	if err != nil {
		return w, err
	}
	defer f.DecRef()
	if name != "" && !f.Path().IsDir() {
		return w, unix.ENOTDIR
	}
	w.Start = f.Path()
	return w, nil
}

// walkArgs copies a name in and says where it begins.
func walkArgs(t *kernel.Task, dirfd, name uint64, emptyOK bool) (vfs.WalkArgs, string, error) {
	s, err := path(t, name)
	if err != nil {
		return vfs.WalkArgs{}, "", err
	}
	w, err := walkFrom(t, int32(dirfd), s, emptyOK)
	return w, s, err
}

// find walks to a file. Of flags AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW count.
func find(t *kernel.Task, dirfd, name, flags uint64) (vfs.Path, error) {
	w, s, err := walkArgs(t, dirfd, name, flags&unix.AT_EMPTY_PATH != 0)
	if err != nil {
		return vfs.Path{}, err
	}
	w.NoFollow = flags&unix.AT_SYMLINK_NOFOLLOW != 0
	return vfs.Walk(t, w, s)
}

// cwd is AT_FDCWD as an argument of a call.
var cwd = uint64(0xffffffffffffff9c)

// fdName is the name of a program run by a descriptor (execveat(2)).
func fdName(dirfd int32, name string) string {
	s := "/dev/fd/" + strconv.Itoa(int(dirfd))
	if name != "" {
		s += "/" + name
	}
	return s
}

// newFD gives a file that was just made a descriptor, dropping it if there is none left.
func newFD(t *kernel.Task, f *vfs.File, cloexec bool) (uint64, error) {
	fd, err := t.FDs().NewFD(t.Limits(), f, cloexec)
	return orDrop(f, fd, err)
}

// dupFD is newFD for a file that is open already, with a reference of the caller's; the descriptor is least at least.
func dupFD(t *kernel.Task, f *vfs.File, least int32, cloexec bool) (uint64, error) {
	fd, err := t.FDs().Dup(t.Limits(), least, f, cloexec)
	return orDrop(f, fd, err)
}

// orDrop is a call's result, fd, and drops the file where it has none.
func orDrop(f *vfs.File, fd int32, err error) (uint64, error) {
	if err != nil {
		f.DecRef()
		return 0, err
	}
	return uint64(fd), nil
}

func sysOpen(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doOpen(t, cwd, a[0], a[1], a[2])
}

func sysOpenat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doOpen(t, a[0], a[1], a[2], a[3])
}

func sysCreat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doOpen(t, cwd, a[0], unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, a[1])
}

func doOpen(t *kernel.Task, dirfd, name, flags, mode uint64) (uint64, error) {
	w, s, err := walkArgs(t, dirfd, name, false)
	if err != nil {
		return 0, err
	}
	return openFD(t, w, s, vfs.OpenArgs{Flags: int(uint32(flags)) | vfs.LargeFile, Mode: uint32(mode) & 0o7777, Umask: t.FS().Umask()})
}

func openFD(t *kernel.Task, w vfs.WalkArgs, name string, o vfs.OpenArgs) (uint64, error) {
	f, err := vfs.Open(t, w, name, o)
	if err != nil {
		return 0, err
	}
	if err := syscalls.WaitOpened(t, f); err != nil {
		f.DecRef()
		return 0, err
	}
	if o.Flags&(unix.O_NOCTTY|unix.O_PATH) == 0 {
		t.OpenedTerminal(f)
	}
	return newFD(t, f, o.Flags&unix.O_CLOEXEC != 0)
}

// Flags that openat2(2) knows.
const (
	openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND |
		unix.O_NONBLOCK | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | vfs.LargeFile | unix.O_DIRECTORY |
		unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_SYNC | unix.O_PATH | unix.O_TMPFILE
	resolveFlags = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | resolveCached
	resolveCached = 0x20 // RESOLVE_CACHED
)

func sysOpenat2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	size := a[3]
	if size < abi.OpenHowSize {
		return 0, unix.EINVAL
	}
	if size > mm.PageSize {
		return 0, unix.E2BIG
	}
	b := make([]byte, size)
	if err := t.CopyIn(mm.Addr(a[2]), b); err != nil {
		return 0, err
	}
	for _, tail := range b[abi.OpenHowSize:] {
		if tail != 0 {
			return 0, unix.E2BIG
		}
	}
	how := abi.DecodeOpenHow(b)
	flags, mode, resolve := how.Flags, how.Mode, how.Resolve
	if err := checkHow(flags, mode, resolve); err != nil {
		return 0, err
	}
	s, err := path(t, a[1])
	if err != nil {
		return 0, err
	}
	from := s
	if resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 && s != "" {
		from = "." // even "/" begins at the descriptor
	}
	w, err := walkFrom(t, int32(a[0]), from, false)
	if err != nil {
		return 0, err
	}
	w.Resolve = resolve
	return openFD(t, w, s, vfs.OpenArgs{Flags: int(flags) | vfs.LargeFile, Mode: uint32(mode), Umask: t.FS().Umask()})
}

// checkHow refuses what is unknown, and what does not go together.
func checkHow(flags, mode, resolve uint64) error {
	creates := flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) != 0
	switch {
	case flags&^uint64(openFlags) != 0, resolve&^uint64(resolveFlags) != 0:
		return unix.EINVAL
	case resolve&unix.RESOLVE_BENEATH != 0 && resolve&unix.RESOLVE_IN_ROOT != 0:
		return unix.EINVAL
	case mode != 0 && !creates, mode&^0o7777 != 0:
		return unix.EINVAL
	case flags&unix.O_PATH != 0 && flags&^(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC) != 0:
		return unix.EINVAL
	case resolve&resolveCached != 0 && (creates || flags&unix.O_TRUNC != 0):
		return unix.EAGAIN // what changes anything is never at hand
	}
	return nil
}
