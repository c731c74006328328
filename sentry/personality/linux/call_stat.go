package linux

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
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

// makedev is a device number as struct stat has it.
func makedev(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }

// storeStat writes a struct stat.
func storeStat(t *kernel.Task, addr uint64, s *vfs.Attr) error {
	le := binary.LittleEndian
	var b [144]byte
	le.PutUint64(b[0:], makedev(s.Major, s.Minor))
	le.PutUint64(b[8:], s.Ino)
	le.PutUint64(b[16:], uint64(s.Nlink))
	le.PutUint32(b[24:], s.Mode)
	le.PutUint32(b[28:], uint32(s.UID))
	le.PutUint32(b[32:], uint32(s.GID))
	le.PutUint64(b[40:], makedev(s.RdevMajor, s.RdevMinor))
	le.PutUint64(b[48:], uint64(s.Size))
	le.PutUint64(b[56:], uint64(s.BlockSize))
	le.PutUint64(b[64:], uint64(s.Blocks))
	for i, ts := range []unix.Timespec{s.Atime, s.Mtime, s.Ctime} {
		le.PutUint64(b[72+16*i:], uint64(ts.Sec))
		le.PutUint64(b[80+16*i:], uint64(ts.Nsec))
	}
	return t.CopyOut(mm.Addr(addr), b[:])
}

// Masks of statx(2).
const (
	statxKnown    = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	statxReserved = 0x80000000
	statxSync     = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
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
	return 0, storeStatx(t, a[4], &s)
}

// storeStatx writes a struct statx.
func storeStatx(t *kernel.Task, addr uint64, s *vfs.Attr) error {
	le := binary.LittleEndian
	var b [256]byte
	got := uint32(unix.STATX_BASIC_STATS)
	if s.Btime != (unix.Timespec{}) {
		got |= unix.STATX_BTIME
	}
	le.PutUint32(b[0:], got)
	le.PutUint32(b[4:], s.BlockSize)
	le.PutUint32(b[16:], s.Nlink)
	le.PutUint32(b[20:], uint32(s.UID))
	le.PutUint32(b[24:], uint32(s.GID))
	le.PutUint16(b[28:], uint16(s.Mode))
	le.PutUint64(b[32:], s.Ino)
	le.PutUint64(b[40:], uint64(s.Size))
	le.PutUint64(b[48:], uint64(s.Blocks))
	for i, ts := range []unix.Timespec{s.Atime, s.Btime, s.Ctime, s.Mtime} {
		le.PutUint64(b[64+16*i:], uint64(ts.Sec))
		le.PutUint32(b[72+16*i:], uint32(ts.Nsec))
	}
	for i, v := range []uint32{s.RdevMajor, s.RdevMinor, s.Major, s.Minor} {
		le.PutUint32(b[128+4*i:], v)
	}
	return t.CopyOut(mm.Addr(addr), b[:])
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
	fsid := uint64(uint32(s.Fsid.Val[0])) | uint64(uint32(s.Fsid.Val[1]))<<32
	return storeWords(t, addr, uint64(s.Type), uint64(s.Bsize), s.Blocks, s.Bfree, s.Bavail,
		s.Files, s.Ffree, fsid, uint64(s.Namelen), uint64(s.Frsize), uint64(s.Flags), 0, 0, 0, 0)
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
