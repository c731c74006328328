package fstest

import (
	"slices"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Caller is a vfs.Caller for tests.
type Caller struct {
	Cred *cred.Credentials
	Due  func() bool // whether a signal is due; nil for never
}

// Self is a caller with the ids of the process, so that both sides have the same rights.
func Self() *Caller {
	return &Caller{Cred: cred.New(cred.UID(unix.Geteuid()), cred.GID(unix.Getegid()), nil, nil)}
}

// Creds implements vfs.Caller.
func (c *Caller) Creds() *cred.Credentials { return c.Cred }

// FileSizeLimit implements vfs.Caller.
func (c *Caller) FileSizeLimit() uint64 { return ^uint64(0) }

// Interrupted implements vfs.Caller.
func (c *Caller) Interrupted() bool { return c.Due != nil && c.Due() }

// Guest is a mount namespace.
type Guest struct {
	C  *Caller
	NS *vfs.Namespace
}

// NewGuest makes a namespace with root as its root file system.
func NewGuest(root vfs.Inode) (*Guest, error) {
	ns, err := vfs.NewSystem().NewNamespace(root, 0, "test", "test")
	if err != nil {
		return nil, err
	}
	return &Guest{C: Self(), NS: ns}, nil
}

func (g *Guest) args() vfs.WalkArgs { return vfs.WalkArgs{Root: g.NS.Root(), Start: g.NS.Root()} }

// Walk finds a file.
func (g *Guest) Walk(path string, follow bool) (vfs.Path, error) {
	a := g.args()
	a.NoFollow = !follow
	return vfs.Walk(g.C, a, path)
}

// Open opens a file.
func (g *Guest) Open(path string, flags int, mode uint32) (*vfs.File, error) {
	return vfs.Open(g.C, g.args(), path, vfs.OpenArgs{Flags: flags, Mode: mode})
}

func (g *Guest) with(path string, flags int, mode uint32, fn func(f *vfs.File) error) error {
	f, err := g.Open(path, flags|unix.O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	defer f.DecRef()
	return fn(f)
}

// Create implements FS.
func (g *Guest) Create(path string, mode uint32) error {
	return g.with(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode, func(*vfs.File) error { return nil })
}

// WriteAt implements FS.
func (g *Guest) WriteAt(path string, data []byte, off int64) error {
	return g.with(path, unix.O_WRONLY, 0, func(f *vfs.File) error {
		_, err := f.PWrite(g.C, mm.BytesBuffer(data), off)
		return err
	})
}

// Append implements FS.
func (g *Guest) Append(path string, data []byte) error {
	return g.with(path, unix.O_WRONLY|unix.O_APPEND, 0, func(f *vfs.File) error {
		_, err := f.Write(g.C, mm.BytesBuffer(data))
		return err
	})
}

// ReadFile implements FS.
func (g *Guest) ReadFile(path string) (data []byte, err error) {
	err = g.with(path, unix.O_RDONLY, 0, func(f *vfs.File) error {
		data, err = g.ReadAll(f)
		return err
	})
	return data, err
}

// ReadAll reads an open file from its position to the end.
func (g *Guest) ReadAll(f *vfs.File) (data []byte, err error) {
	for {
		var buf [8192]byte
		n, err := f.Read(g.C, mm.BytesBuffer(buf[:]))
		if n <= 0 || err != nil {
			return data, err
		}
		data = append(data, buf[:n]...)
	}
}

// OpenTrunc implements FS.
func (g *Guest) OpenTrunc(path string) error {
	return g.with(path, unix.O_WRONLY|unix.O_TRUNC, 0, func(*vfs.File) error { return nil })
}

// Truncate implements FS.
func (g *Guest) Truncate(path string, size int64) error {
	p, err := g.Walk(path, true)
	if err != nil {
		return err
	}
	return vfs.Truncate(g.C, p, size)
}

// Mkdir implements FS.
func (g *Guest) Mkdir(path string, mode uint32) error {
	return vfs.MkdirAt(g.C, g.args(), path, mode, 0)
}

// Mkfifo implements FS.
func (g *Guest) Mkfifo(path string, mode uint32) error {
	return vfs.MknodAt(g.C, g.args(), path, unix.S_IFIFO|mode, 0, 0, 0)
}

// Rmdir implements FS.
func (g *Guest) Rmdir(path string) error { return vfs.RmdirAt(g.C, g.args(), path) }

// Unlink implements FS.
func (g *Guest) Unlink(path string) error { return vfs.UnlinkAt(g.C, g.args(), path) }

// Rename implements FS.
func (g *Guest) Rename(from, to string, flags uint32) error {
	return vfs.RenameAt(g.C, g.args(), from, g.args(), to, flags)
}

// Link implements FS.
func (g *Guest) Link(from, to string) error {
	p, err := g.Walk(from, false)
	if err != nil {
		return err
	}
	return vfs.LinkAt(g.C, p, g.args(), to)
}

// Symlink implements FS.
func (g *Guest) Symlink(target, path string) error {
	return vfs.SymlinkAt(g.C, target, g.args(), path)
}

// Readlink implements FS.
func (g *Guest) Readlink(path string) (string, error) { return vfs.ReadlinkAt(g.C, g.args(), path) }

// Chmod implements FS.
func (g *Guest) Chmod(path string, mode uint32) error {
	p, err := g.Walk(path, true)
	if err != nil {
		return err
	}
	return vfs.ChangeMode(g.C, p, mode)
}

// Chown implements FS.
func (g *Guest) Chown(path string, uid, gid uint32) error {
	p, err := g.Walk(path, false)
	if err != nil {
		return err
	}
	return vfs.ChangeOwner(g.C, p, uid, gid)
}

// Utimes implements FS.
func (g *Guest) Utimes(path string, sec int64) error {
	p, err := g.Walk(path, false)
	if err != nil {
		return err
	}
	return vfs.SetTimes(g.C, p, &[2]unix.Timespec{{Sec: sec}, {Sec: sec}})
}

// Lstat implements FS.
func (g *Guest) Lstat(path string) (Stat, error) { return g.stat(path, false) }

// Stat implements FS.
func (g *Guest) Stat(path string) (Stat, error) { return g.stat(path, true) }

func (g *Guest) stat(path string, follow bool) (Stat, error) {
	p, err := g.Walk(path, follow)
	if err != nil {
		return Stat{}, err
	}
	a, err := vfs.Stat(g.C, p)
	if err != nil {
		return Stat{}, err
	}
	return shown(Stat{
		Mode: a.Mode, Nlink: a.Nlink, UID: uint32(a.UID), GID: uint32(a.GID), Size: a.Size,
		Mtime: a.Mtime.Sec, Rdev: unix.Mkdev(a.RdevMajor, a.RdevMinor), Ino: a.Ino,
	}), nil
}

// List implements FS.
func (g *Guest) List(path string) (names []string, err error) {
	err = g.with(path, unix.O_RDONLY|unix.O_DIRECTORY, 0, func(f *vfs.File) error {
		entries, err := g.Entries(f, 5)
		for _, e := range entries {
			if e.Name != "." && e.Name != ".." {
				names = append(names, strings.Clone(e.Name))
			}
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// Entries lists an open directory, at most per entries a call.
func (g *Guest) Entries(f *vfs.File, per int) (all []vfs.Dirent, err error) {
	for {
		n := 0
		err := f.ReadDir(g.C, func(e vfs.Dirent) bool {
			if n == per {
				return false
			}
			n++
			all = append(all, e)
			return true
		})
		if n == 0 || err != nil {
			return all, err
		}
	}
}

// SetXattr implements FS.
func (g *Guest) SetXattr(path, name, value string, flags int) error {
	p, err := g.Walk(path, false)
	if err != nil {
		return err
	}
	return vfs.SetXattr(g.C, p, name, []byte(value), flags)
}

// GetXattr implements FS.
func (g *Guest) GetXattr(path, name string) (string, error) {
	p, err := g.Walk(path, false)
	if err != nil {
		return "", err
	}
	v, err := vfs.GetXattr(g.C, p, name)
	return string(v), err
}

// ListXattr implements FS.
func (g *Guest) ListXattr(path string) ([]string, error) {
	p, err := g.Walk(path, false)
	if err != nil {
		return nil, err
	}
	return vfs.ListXattr(g.C, p)
}

// RemoveXattr implements FS.
func (g *Guest) RemoveXattr(path, name string) error {
	p, err := g.Walk(path, false)
	if err != nil {
		return err
	}
	return vfs.RemoveXattr(g.C, p, name)
}
