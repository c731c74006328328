package host

import "golang.org/x/sys/unix"

const (
	// openFlags go with every open. O_NONBLOCK keeps an open from waiting if a FIFO
	// or a device took the file's name meanwhile; it does nothing to regular files.
	openFlags = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_NONBLOCK

	resolveFlags = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

	statFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	statMask  = unix.STATX_BASIC_STATS | unix.STATX_BTIME

	maxName = 255
)

// openAt opens the one component name below dirFD.
func openAt(dirFD int, name string, flags int, mode uint32) (int, error) {
	all := flags | openFlags | unix.O_LARGEFILE
	if flags&unix.O_PATH != 0 {
		all = flags | unix.O_CLOEXEC | unix.O_NOFOLLOW // openat2 refuses the others with O_PATH
	}
	how := unix.OpenHow{
		Flags:   uint64(all),
		Mode:    uint64(mode),
		Resolve: resolveFlags,
	}
	for {
		fd, err := unix.Openat2(dirFD, name, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR:
			continue
		case unix.ELOOP, unix.EXDEV:
			return -1, unix.ESTALE // a link took the name
		}
		return -1, err
	}
}

// statAt asks for the attributes of name below dirFD, or of dirFD itself if name is empty.
func statAt(dirFD int, name string, st *unix.Statx_t) error {
	flags := statFlags
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	for {
		err := unix.Statx(dirFD, name, flags, statMask, st)
		if err != unix.EINTR {
			return err
		}
	}
}

// checkName refuses what the VFS should never pass: a name that is not one component.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." {
		return unix.EINVAL
	}
	if len(name) > maxName {
		return unix.ENAMETOOLONG
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' || name[i] == 0 {
			return unix.EINVAL
		}
	}
	return nil
}

// closeFD closes a descriptor of ours. Linux frees the number whatever it returns.
func closeFD(fd int) { _ = unix.Close(fd) }
