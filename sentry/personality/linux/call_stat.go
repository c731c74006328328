package linux

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysStat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doStat(t, cwd, a[0], a[1], 0)
}

func sysLstat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doStat(t, cwd, a[0], a[1], unix.AT_SYMLINK_NOFOLLOW)
}

func sysFstat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	attr, err := fdAttr(t, int32(a[0]))
	if err != nil {
		return 0, err
	}
	return 0, storeStat(t, a[1], &attr)
}

// atFlags are those that fstatat(2) and statx(2) know; AT_NO_AUTOMOUNT means nothing here.
const atFlags = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT

func sysNewfstatat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^atFlags != 0 {
		return 0, unix.EINVAL
	}
	return doStat(t, a[0], a[1], a[2], a[3])
}

func doStat(t *kernel.Task, dirfd, name, buf, flags uint64) (uint64, error) {
	attr, err := attrAt(t, dirfd, name, flags)
	if err != nil {
		return 0, err
	}
	return 0, storeStat(t, buf, &attr)
}

func fdAttr(t *kernel.Task, fd int32) (vfs.Attr, error) {
	f, err := t.FDs().Get(fd)
	if err != nil {
		return vfs.Attr{}, err
	}
	defer f.DecRef()
	return f.Attr()
}

// attrAt returns the attributes of a named file, or of a descriptor where the
// name is empty.
func attrAt(t *kernel.Task, dirfd, name, flags uint64) (vfs.Attr, error) {
	if flags&unix.AT_EMPTY_PATH != 0 && int32(dirfd) != unix.AT_FDCWD {
		if name == 0 {
			return fdAttr(t, int32(dirfd))
		}
		if s, err := path(t, name); err == nil && s == "" {
			return fdAttr(t, int32(dirfd))
		}
	}
	p, err := find(t, dirfd, name, flags)
	if err != nil {
		return vfs.Attr{}, err
	}
	return vfs.Stat(t, p)
}

// storeStat writes a struct stat.
func storeStat(t *kernel.Task, addr uint64, s *vfs.Attr) error {
	return t.CopyOut(mm.Addr(addr), abi.AppendStat(make([]byte, 0, abi.StatSize), &unix.Stat_t{
		Dev: unix.Mkdev(s.Major, s.Minor), Rdev: unix.Mkdev(s.RdevMajor, s.RdevMinor),
		Ino: s.Ino, Nlink: uint64(s.Nlink), Mode: s.Mode, Uid: showUID(t, s.UID), Gid: showGID(t, s.GID),
		Size: s.Size, Blksize: int64(s.BlockSize), Blocks: s.Blocks,
		Atim: s.Atime, Mtim: s.Mtime, Ctim: s.Ctime,
	}))
}

// Masks of statx(2).
const (
	statxReserved = 0x80000000
	// statxFlags are STATX_ATTR_*, with the numbers of the flags of inodes.
	statxFlags = vfs.FlagImmutable | vfs.FlagAppend | vfs.FlagNoDump
	statxSync  = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
)

func sysStatx(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags, mask := a[2], a[3]
	if flags&^(atFlags|statxSync) != 0 || flags&statxSync == statxSync || mask&statxReserved != 0 {
		return 0, unix.EINVAL
	}
	s, err := attrAt(t, a[0], a[1], flags)
	if err != nil {
		return 0, err
	}
	return 0, storeStatx(t, a[4], uint32(mask), &s)
}

// storeStatx writes a struct statx. The number of the mount is one that no other ever has, so that it serves for both kinds
// that can be asked for.
func storeStatx(t *kernel.Task, addr uint64, wanted uint32, s *vfs.Attr) error {
	got := uint32(unix.STATX_BASIC_STATS)
	if wanted&unix.STATX_MNT_ID_UNIQUE != 0 {
		got |= unix.STATX_MNT_ID_UNIQUE
	} else {
		got |= unix.STATX_MNT_ID
	}
	attributes := uint64(s.Flags) & statxFlags
	if s.MountRoot {
		attributes |= unix.STATX_ATTR_MOUNT_ROOT
	}
	if s.Btime != (unix.Timespec{}) {
		got |= unix.STATX_BTIME
	}
	return t.CopyOut(mm.Addr(addr), abi.AppendStatx(make([]byte, 0, abi.StatxSize), &unix.Statx_t{
		Mask: got, Blksize: s.BlockSize, Nlink: s.Nlink, Uid: showUID(t, s.UID), Gid: showGID(t, s.GID), Mode: uint16(s.Mode),
		Ino: s.Ino, Size: uint64(s.Size), Blocks: uint64(s.Blocks),
		Atime: statxTime(s.Atime), Btime: statxTime(s.Btime), Ctime: statxTime(s.Ctime), Mtime: statxTime(s.Mtime),
		Attributes: attributes, Attributes_mask: statxFlags | unix.STATX_ATTR_MOUNT_ROOT, Mnt_id: s.MountID,
		Rdev_major: s.RdevMajor, Rdev_minor: s.RdevMinor, Dev_major: s.Major, Dev_minor: s.Minor,
	}))
}

func statxTime(ts unix.Timespec) unix.StatxTimestamp {
	return unix.StatxTimestamp{Sec: ts.Sec, Nsec: uint32(ts.Nsec)}
}

func sysStatfs(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p, err := find(t, cwd, a[0], 0)
	if err != nil {
		return 0, err
	}
	return 0, storeStatfs(t, a[1], p)
}

func sysFstatfs(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	f, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return 0, storeStatfs(t, a[1], f.Path())
}

// storeStatfs writes a struct statfs.
func storeStatfs(t *kernel.Task, addr uint64, p vfs.Path) error {
	s, err := vfs.Statfs(t, p)
	if err != nil {
		return err
	}
	return t.CopyOut(mm.Addr(addr), abi.AppendStatfs(make([]byte, 0, abi.StatfsSize), &s))
}

func sysAccess(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doAccess(t, cwd, a[0], a[1], 0)
}

func sysFaccessat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doAccess(t, a[0], a[1], a[2], 0)
}

func sysFaccessat2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doAccess(t, a[0], a[1], a[2], a[3])
}

func doAccess(t *kernel.Task, dirfd, name, mode, flags uint64) (uint64, error) {
	if mode&^7 != 0 || flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	w, s, err := walkArgs(t, dirfd, name, flags&unix.AT_EMPTY_PATH != 0)
	if err != nil {
		return 0, err
	}
	w.NoFollow = flags&unix.AT_SYMLINK_NOFOLLOW != 0
	c := vfs.Caller(t)
	if flags&unix.AT_EACCESS == 0 {
		c = kernel.AsRealUser(t)
	}
	p, err := vfs.Walk(c, w, s)
	if err != nil {
		return 0, err
	}
	return 0, vfs.Access(c, p, uint32(mode))
}

// ustatSize is the size of struct ustat: free blocks, free inodes, and two names that nothing has.
const ustatSize = 32

// sysUstat tells of the mounted file system with a device number; EINVAL for others.
func sysUstat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	device := uint64(uint32(a[0]))
	for _, m := range t.MountsOf().Mounts() {
		attr, err := vfs.Stat(t, m.Root())
		if err != nil || unix.Mkdev(attr.Major, attr.Minor) != device {
			continue
		}
		s, err := vfs.Statfs(t, m.Root())
		if err != nil {
			return 0, err
		}
		var b [ustatSize]byte
		binary.NativeEndian.PutUint32(b[:], uint32(s.Bfree))
		binary.NativeEndian.PutUint64(b[8:], s.Ffree)
		return 0, t.CopyOut(mm.Addr(a[1]), b[:])
	}
	return 0, unix.EINVAL
}
