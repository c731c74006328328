package linux

import (
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// onFile calls fn with the file of a descriptor that is not just a place (O_PATH).
func onFile(t *kernel.Task, fd uint64, fn func(*vfs.File) error) (uint64, error) {
	f, err := t.FDs().Get(int32(fd))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if f.IsPath() {
		return 0, unix.EBADF
	}
	return 0, fn(f)
}

// onPath calls fn with a named file.
func onPath(t *kernel.Task, dirfd, name, flags uint64, fn func(vfs.Path) error) (uint64, error) {
	p, err := find(t, dirfd, name, flags)
	if err != nil {
		return 0, err
	}
	return 0, fn(p)
}

func sysChmod(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysFchmodat2(t, arch.SyscallArgs{cwd, a[0], a[1], 0})
}

func sysFchmodat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	a[3] = 0
	return sysFchmodat2(t, a)
}

func sysFchmodat2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return onPath(t, a[0], a[1], a[3], func(p vfs.Path) error {
		return vfs.ChangeMode(t, p, uint32(a[2])&0o7777)
	})
}

func sysFchmod(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error {
		return vfs.ChangeMode(t, f.Path(), uint32(a[1])&0o7777)
	})
}

func sysChown(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysFchownat(t, arch.SyscallArgs{cwd, a[0], a[1], a[2], 0})
}

func sysLchown(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysFchownat(t, arch.SyscallArgs{cwd, a[0], a[1], a[2], unix.AT_SYMLINK_NOFOLLOW})
}

func sysFchownat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[4]&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return onPath(t, a[0], a[1], a[4], func(p vfs.Path) error { return changeOwner(t, p, a[2], a[3]) })
}

func sysFchown(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onFile(t, a[0], func(f *vfs.File) error { return changeOwner(t, f.Path(), a[1], a[2]) })
}

func changeOwner(t *kernel.Task, p vfs.Path, uid, gid uint64) error {
	uids, err := loadUIDs(t, uid)
	if err != nil {
		return err
	}
	gids, err := loadGIDs(t, gid)
	if err != nil {
		return err
	}
	return vfs.ChangeOwner(t, p, uids[0], gids[0])
}

func sysTruncate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int64(a[1]) < 0 {
		return 0, unix.EINVAL
	}
	return onPath(t, cwd, a[0], 0, func(p vfs.Path) error {
		return failWrite(t, vfs.Truncate(t, p, int64(a[1])))
	})
}

func sysFtruncate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int64(a[1]) < 0 {
		return 0, unix.EINVAL
	}
	return onFile(t, a[0], func(f *vfs.File) error {
		return failWrite(t, f.Truncate(t, int64(a[1])))
	})
}

// failWrite sends SIGXFSZ where a size was over RLIMIT_FSIZE.
func failWrite(t *kernel.Task, err error) error {
	if err == vfs.ErrFileTooBig {
		t.SendSelf(unix.SIGXFSZ)
	}
	return err
}

func sysUtimensat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := a[3]
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	times, err := loadTimes(t, a[2], 1)
	if err != nil {
		return 0, err
	}
	if times != nil && times[0].Nsec == unix.UTIME_OMIT && times[1].Nsec == unix.UTIME_OMIT {
		return 0, nil
	}
	if a[1] == 0 && int32(a[0]) != unix.AT_FDCWD {
		if flags != 0 {
			return 0, unix.EINVAL
		}
		return onFile(t, a[0], func(f *vfs.File) error { return vfs.SetTimes(t, f.Path(), times) })
	}
	return onPath(t, a[0], a[1], flags, func(p vfs.Path) error { return vfs.SetTimes(t, p, times) })
}

// loadTimes reads two times of which unit is the length of a fraction in ns: 1 for
// struct timespec, 1000 for struct timeval.
func loadTimes(t *kernel.Task, addr uint64, unit int64) (*[2]unix.Timespec, error) {
	if addr == 0 {
		return nil, nil
	}
	var b [2 * abi.TimespecSize]byte
	if err := t.CopyIn(mm.Addr(addr), b[:]); err != nil {
		return nil, err
	}
	var times [2]unix.Timespec
	for i := range times {
		ts := abi.DecodeTimespec(b[i*abi.TimespecSize:])
		special := unit == 1 && (ts.Nsec == unix.UTIME_NOW || ts.Nsec == unix.UTIME_OMIT)
		if !special && (ts.Nsec < 0 || ts.Nsec >= 1e9/unit) {
			return nil, unix.EINVAL
		}
		times[i] = unix.Timespec{Sec: ts.Sec, Nsec: ts.Nsec * unit}
	}
	return &times, nil
}

func sysUtimes(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysFutimesat(t, arch.SyscallArgs{cwd, a[0], a[1]})
}

func sysFutimesat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	times, err := loadTimes(t, a[2], 1000)
	if err != nil {
		return 0, err
	}
	if a[1] == 0 && int32(a[0]) != unix.AT_FDCWD {
		return onFile(t, a[0], func(f *vfs.File) error { return vfs.SetTimes(t, f.Path(), times) })
	}
	return onPath(t, a[0], a[1], 0, func(p vfs.Path) error { return vfs.SetTimes(t, p, times) })
}

func sysUtime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var times *[2]unix.Timespec
	if a[1] != 0 {
		var w [2]uint64
		if err := loadWords(t, a[1], w[:]); err != nil {
			return 0, err
		}
		times = &[2]unix.Timespec{{Sec: int64(w[0])}, {Sec: int64(w[1])}}
	}
	return onPath(t, cwd, a[0], 0, func(p vfs.Path) error { return vfs.SetTimes(t, p, times) })
}

// Limits of extended attributes (xattr(7)).
const (
	xattrNameMax = 255
	xattrSizeMax = 65536
)

func xattrName(t *kernel.Task, addr uint64) (string, error) {
	s, err := t.CopyInString(mm.Addr(addr), xattrNameMax+1)
	if err == unix.ENAMETOOLONG || err == nil && s == "" {
		return "", unix.ERANGE
	}
	return s, err
}

func setXattr(t *kernel.Task, a arch.SyscallArgs) (func(vfs.Path) error, error) {
	name, err := xattrName(t, a[1])
	if err != nil {
		return nil, err
	}
	if a[3] > xattrSizeMax {
		return nil, unix.E2BIG
	}
	if a[4]&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return nil, unix.EINVAL
	}
	value := make([]byte, a[3])
	if err := t.CopyIn(mm.Addr(a[2]), value); err != nil {
		return nil, err
	}
	return func(p vfs.Path) error { return vfs.SetXattr(t, p, name, value, int(a[4])) }, nil
}

// storeSized writes b where size bytes are; 0 asks for the length only.
func storeSized(t *kernel.Task, addr, size uint64, b []byte) (uint64, error) {
	if size == 0 {
		return uint64(len(b)), nil
	}
	if uint64(len(b)) > size {
		return 0, unix.ERANGE
	}
	return uint64(len(b)), t.CopyOut(mm.Addr(addr), b)
}

func getXattr(t *kernel.Task, p vfs.Path, a arch.SyscallArgs) (uint64, error) {
	name, err := xattrName(t, a[1])
	if err != nil {
		return 0, err
	}
	b, err := vfs.GetXattr(t, p, name)
	if err != nil {
		return 0, err
	}
	return storeSized(t, a[2], a[3], b)
}

func listXattr(t *kernel.Task, p vfs.Path, a arch.SyscallArgs) (uint64, error) {
	names, err := vfs.ListXattr(t, p)
	if err != nil {
		return 0, err
	}
	list := strings.Join(names, "\x00")
	if len(names) > 0 {
		list += "\x00"
	}
	return storeSized(t, a[1], a[2], []byte(list))
}

func removeXattr(t *kernel.Task, p vfs.Path, a arch.SyscallArgs) (uint64, error) {
	name, err := xattrName(t, a[1])
	if err != nil {
		return 0, err
	}
	return 0, vfs.RemoveXattr(t, p, name)
}

// xattrCall is one of the above on a place.
type xattrCall func(*kernel.Task, vfs.Path, arch.SyscallArgs) (uint64, error)

func setXattrOn(t *kernel.Task, p vfs.Path, a arch.SyscallArgs) (uint64, error) {
	set, err := setXattr(t, a)
	if err != nil {
		return 0, err
	}
	return 0, set(p)
}

// named is the call on a path, with flags of the *at calls.
func (fn xattrCall) named(flags uint64) handler {
	return func(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
		p, err := find(t, cwd, a[0], flags)
		if err != nil {
			return 0, err
		}
		return fn(t, p, a)
	}
}

// open is the call on a descriptor.
func (fn xattrCall) open() handler {
	return func(t *kernel.Task, a arch.SyscallArgs) (ret uint64, err error) {
		_, err = onFile(t, a[0], func(f *vfs.File) error {
			var err error
			ret, err = fn(t, f.Path(), a)
			return err
		})
		return ret, err
	}
}

const noFollow = unix.AT_SYMLINK_NOFOLLOW
