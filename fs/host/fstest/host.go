package fstest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is a directory of the host.
type Host struct{ Dir string }

// at is path below the directory. Links in it must not be absolute.
func (h Host) at(path string) string {
	p := filepath.Join(h.Dir, path)
	if strings.HasSuffix(path, "/") {
		p += "/"
	}
	return p
}

// Create implements FS.
func (h Host) Create(path string, mode uint32) error {
	fd, err := unix.Open(h.at(path), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (h Host) with(path string, flags int, fn func(fd int) error) error {
	fd, err := unix.Open(h.at(path), flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

// WriteAt implements FS.
func (h Host) WriteAt(path string, data []byte, off int64) error {
	return h.with(path, unix.O_WRONLY, func(fd int) error {
		_, err := unix.Pwrite(fd, data, off)
		return err
	})
}

// Append implements FS.
func (h Host) Append(path string, data []byte) error {
	return h.with(path, unix.O_WRONLY|unix.O_APPEND, func(fd int) error {
		_, err := unix.Write(fd, data)
		return err
	})
}

// ReadFile implements FS.
func (h Host) ReadFile(path string) (data []byte, err error) {
	err = h.with(path, unix.O_RDONLY, func(fd int) error {
		for {
			var buf [8192]byte
			n, err := unix.Read(fd, buf[:])
			if n <= 0 || err != nil {
				return err
			}
			data = append(data, buf[:n]...)
		}
	})
	return data, err
}

// OpenTrunc implements FS.
func (h Host) OpenTrunc(path string) error {
	return h.with(path, unix.O_WRONLY|unix.O_TRUNC, func(int) error { return nil })
}

// Truncate implements FS.
func (h Host) Truncate(path string, size int64) error { return unix.Truncate(h.at(path), size) }

// Mkdir implements FS.
func (h Host) Mkdir(path string, mode uint32) error { return unix.Mkdir(h.at(path), mode) }

// Mkfifo implements FS.
func (h Host) Mkfifo(path string, mode uint32) error { return unix.Mkfifo(h.at(path), mode) }

// Rmdir implements FS.
func (h Host) Rmdir(path string) error { return unix.Rmdir(h.at(path)) }

// Unlink implements FS.
func (h Host) Unlink(path string) error { return unix.Unlink(h.at(path)) }

// Rename implements FS.
func (h Host) Rename(from, to string, flags uint32) error {
	return unix.Renameat2(unix.AT_FDCWD, h.at(from), unix.AT_FDCWD, h.at(to), uint(flags))
}

// Link implements FS.
func (h Host) Link(from, to string) error { return unix.Link(h.at(from), h.at(to)) }

// Symlink implements FS.
func (h Host) Symlink(target, path string) error { return unix.Symlink(target, h.at(path)) }

// Readlink implements FS.
func (h Host) Readlink(path string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlink(h.at(path), buf[:])
	return string(buf[:max(n, 0)]), err
}

// Chmod implements FS.
func (h Host) Chmod(path string, mode uint32) error { return unix.Chmod(h.at(path), mode) }

// Chown implements FS.
func (h Host) Chown(path string, uid, gid uint32) error {
	return unix.Lchown(h.at(path), int(int32(uid)), int(int32(gid)))
}

// Utimes implements FS.
func (h Host) Utimes(path string, sec int64) error {
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, h.at(path), ts, unix.AT_SYMLINK_NOFOLLOW)
}

// Lstat implements FS.
func (h Host) Lstat(path string) (Stat, error) { return h.stat(path, unix.AT_SYMLINK_NOFOLLOW) }

// Stat implements FS.
func (h Host) Stat(path string) (Stat, error) { return h.stat(path, 0) }

func (h Host) stat(path string, flags int) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, h.at(path), &st, flags); err != nil {
		return Stat{}, err
	}
	return shown(Stat{
		Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Size: st.Size, Mtime: st.Mtim.Sec, Rdev: st.Rdev, Ino: st.Ino,
	}), nil
}

func shown(s Stat) Stat {
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK:
	default:
		s.Size = 0
	}
	return s
}

// List implements FS.
func (h Host) List(path string) ([]string, error) {
	entries, err := os.ReadDir(h.at(path))
	if err != nil {
		return nil, err.(*os.PathError).Err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// SetXattr implements FS.
func (h Host) SetXattr(path, name, value string, flags int) error {
	return unix.Lsetxattr(h.at(path), name, []byte(value), flags)
}

// GetXattr implements FS.
func (h Host) GetXattr(path, name string) (string, error) {
	var buf [70000]byte
	n, err := unix.Lgetxattr(h.at(path), name, buf[:])
	return string(buf[:max(n, 0)]), err
}

// ListXattr implements FS.
func (h Host) ListXattr(path string) ([]string, error) {
	var buf [70000]byte
	n, err := unix.Llistxattr(h.at(path), buf[:])
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
}

// RemoveXattr implements FS.
func (h Host) RemoveXattr(path, name string) error { return unix.Lremovexattr(h.at(path), name) }
