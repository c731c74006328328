package vfs_test

import (
	"strings"
	"testing"

	"gosentry/fs/pseudo"
	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// mount puts an empty tmpfs at name.
func (tr *tree) mount(name string, flags vfs.MountFlags) *vfs.Mount {
	tr.t.Helper()
	m, err := tr.ns.MountAt(tr.path(name), tmpfs.New(tmpfs.Config{File: tr.mem, Mode: 0o755}), flags, "tmpfs", name)
	tr.must(err)
	return m
}

// TestWalkErrors are the errors of path_resolution(7).
func TestWalkErrors(t *testing.T) {
	tr := newTree(t).make("d/", "d/f", "d/sub/", "loop1->loop2", "loop2->loop1", "to->d/f", "dangling->none")
	long := strings.Repeat("n", 255)
	chain := "d/f"
	for i := range 41 {
		name := "c" + strings.Repeat("i", i)
		tr.make(name + "->" + chain)
		chain = name
	}
	for _, tc := range []struct {
		name string
		want unix.Errno
	}{
		{"", unix.ENOENT}, {"d/none", unix.ENOENT}, {"none/f", unix.ENOENT},
		{"d/f/x", unix.ENOTDIR}, {"d/f/", unix.ENOTDIR}, {"d/f/.", unix.ENOTDIR}, {"d/f/..", unix.ENOTDIR}, {"to/", unix.ENOTDIR},
		{"loop1", unix.ELOOP}, {"loop1/x", unix.ELOOP}, {"dangling", unix.ENOENT},
		{"c" + strings.Repeat("i", 39), 0}, {"c" + strings.Repeat("i", 40), unix.ELOOP},
		{long, unix.ENOENT}, {long + "n", unix.ENAMETOOLONG}, {"d/" + long + "n/x", unix.ENAMETOOLONG},
		{strings.Repeat("./", 2047) + "d", 0}, {strings.Repeat("./", 2047) + "dd", unix.ENAMETOOLONG},
		{"a\x00b", unix.EINVAL}, {"//d//./f", 0}, {"/../../d/sub/../f", 0}, {"d/sub/", 0},
	} {
		_, err := vfs.Walk(root, tr.args(), tc.name)
		wantErr(t, "walk "+tc.name, err, tc.want)
	}
}

// TestMounts crosses mount points in both directions.
func TestMounts(t *testing.T) {
	tr := newTree(t).make("m/", "m/hidden", "m2/", "up->m/..", "in->/m/f")
	under := tr.path("m")
	tr.mount("m", 0)
	tr.make("m/f", "m/sub/")
	if got := tr.path("m/sub/../../m2"); got.Name() != "m2" || got.Mount != tr.ns.Root().Mount {
		t.Errorf("leaving a mount leads to %v", got)
	}
	if tr.path("up") != tr.ns.Root() || tr.path("in") != tr.path("m/f") {
		t.Error("symbolic links across the mount")
	}
	_, err := vfs.Walk(root, tr.args(), "m/hidden")
	wantErr(t, "covered name", err, unix.ENOENT)
	a := tr.args()
	a.Start = under
	if _, err := vfs.Walk(root, a, "hidden"); err != nil {
		t.Errorf("from below the mount: %v", err)
	}
	// A second mount on the same place covers the first.
	tr.mount("m", 0)
	_, err = vfs.Walk(root, tr.args(), "m/f")
	wantErr(t, "twice covered name", err, unix.ENOENT)
	if tr.path("m/..") != tr.ns.Root() {
		t.Error("out of two mounts at once")
	}
	tr.must(tr.ns.Unmount(tr.path("m"), 0))
	tr.path("m/f")
	// A root within a mount is not left.
	a = vfs.WalkArgs{Root: tr.path("m/sub"), Start: tr.path("m/sub")}
	if p, err := vfs.Walk(root, a, "../../.."); err != nil || p != a.Root {
		t.Errorf("out of the root: %v, %v", p, err)
	}
}

// TestMountErrors are the errors of mount(2), umount(2) and of changes to mount points.
func TestMountErrors(t *testing.T) {
	tr := newTree(t).make("m/", "m/x/", "f", "other/")
	m := tr.mount("m", 0)
	tr.make("m/file", "m/dir/")
	wantErr(t, "rmdir", vfs.RmdirAt(root, tr.args(), "m"), unix.EBUSY)
	wantErr(t, "rename", vfs.RenameAt(root, tr.args(), "m", tr.args(), "n", 0), unix.EBUSY)
	wantErr(t, "rename over", vfs.RenameAt(root, tr.args(), "other", tr.args(), "m", 0), unix.EBUSY)
	wantErr(t, "rename across", vfs.RenameAt(root, tr.args(), "m/file", tr.args(), "file", 0), unix.EXDEV)
	wantErr(t, "link across", vfs.LinkAt(root, tr.path("m/file"), tr.args(), "file"), unix.EXDEV)
	_, err := tr.ns.MountAt(tr.path("f"), tmpfs.New(tmpfs.Config{File: tr.mem}), 0, "tmpfs", "none")
	wantErr(t, "directory on file", err, unix.ENOTDIR)
	wantErr(t, "unmount what is none", tr.ns.Unmount(tr.path("m/dir"), 0), unix.EINVAL)
	wantErr(t, "unmount the root", tr.ns.Unmount(tr.ns.Root(), 0), unix.EINVAL)
	f := tr.open(root, "m/file", unix.O_RDONLY)
	wantErr(t, "unmount in use", tr.ns.Unmount(m.Root(), 0), unix.EBUSY)
	tr.must(tr.ns.Unmount(m.Root(), unix.MNT_DETACH))
	if got := tr.read(f); got != "m/file" {
		t.Errorf("a detached file reads %q", got)
	}
	if _, ok := vfs.PathName(tr.ns.Root(), f.Path()); ok {
		t.Error("a detached file is reachable")
	}
	f.DecRef()
	wantErr(t, "unmount again", tr.ns.Unmount(m.Root(), 0), unix.EINVAL)
	tr.must(vfs.RmdirAt(root, tr.args(), "m/x"))
	dead := tr.path("m")
	tr.must(vfs.RmdirAt(root, tr.args(), "m"))
	_, err = tr.ns.MountAt(dead, tmpfs.New(tmpfs.Config{File: tr.mem}), 0, "tmpfs", "none")
	wantErr(t, "mount on a removed directory", err, unix.ENOENT)
}

// TestMountFlags are what a mount forbids.
func TestMountFlags(t *testing.T) {
	tr := newTree(t).make("m/")
	m := tr.mount("m", 0)
	tr.make("m/f", "m/d/", "m/l->f")
	tr.must(vfs.MknodAt(root, tr.args(), "m/null", unix.S_IFCHR|0o666, 0, 1, 3))
	tr.must(vfs.ChangeMode(root, tr.path("m/f"), 0o755))
	tr.must(tr.ns.Remount(m.Root(), vfs.ReadOnly|vfs.NoExec|vfs.NoDev|vfs.NoSymFollow))
	open := func(name string, flags int) error {
		f, err := vfs.Open(root, tr.args(), name, vfs.OpenArgs{Flags: flags})
		if err == nil {
			f.DecRef()
		}
		return err
	}
	f := tr.path("m/f")
	for _, tc := range []struct {
		what string
		err  error
		want unix.Errno
	}{
		{"open to read", open("m/f", 0), 0},
		{"open to write", open("m/f", unix.O_RDWR), unix.EROFS},
		{"truncate by open", open("m/f", unix.O_TRUNC), unix.EROFS},
		{"create", open("m/new", unix.O_CREAT), unix.EROFS},
		{"create what is there", open("m/f", unix.O_CREAT), 0},
		{"device", open("m/null", 0), unix.EACCES},
		{"link", open("m/l", 0), unix.ELOOP},
		{"mkdir", vfs.MkdirAt(root, tr.args(), "m/x", 0o777, 0), unix.EROFS},
		{"mkdir what is there", vfs.MkdirAt(root, tr.args(), "m/d", 0o777, 0), unix.EEXIST},
		{"unlink", vfs.UnlinkAt(root, tr.args(), "m/f"), unix.EROFS},
		{"rmdir", vfs.RmdirAt(root, tr.args(), "m/d"), unix.EROFS},
		{"rename", vfs.RenameAt(root, tr.args(), "m/f", tr.args(), "m/g", 0), unix.EROFS},
		{"chmod", vfs.ChangeMode(root, f, 0o600), unix.EROFS},
		{"chown", vfs.ChangeOwner(root, f, 1, 1), unix.EROFS},
		{"utimes", vfs.SetTimes(root, f, nil), unix.EROFS},
		{"truncate", vfs.Truncate(root, f, 0), unix.EROFS},
		{"setxattr", vfs.SetXattr(root, f, "user.a", nil, 0), unix.EROFS},
		{"access to write", vfs.Access(root, f, vfs.MayWrite), unix.EROFS},
		{"access to execute", vfs.Access(root, f, vfs.MayExec), unix.EACCES},
		{"access to read", vfs.Access(root, f, vfs.MayRead), 0},
	} {
		wantErr(t, tc.what, tc.err, tc.want)
	}
}

// TestResolveAcrossMounts is RESOLVE_NO_XDEV, and scoped walks at mounts.
func TestResolveAcrossMounts(t *testing.T) {
	tr := newTree(t).make("d/", "d/m/", "d/m2->m", "d/f")
	tr.mount("d/m", 0)
	tr.make("d/m/f", "d/m/out->../f", "d/m/abs->/d/f")
	for _, tc := range []struct {
		start, name string
		flags       uint64
		want        unix.Errno
	}{
		{"d", "m", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"d", "m2/f", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"d/m", "..", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"d/m", "out", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"d/m", "abs", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"d/m", "./f", unix.RESOLVE_NO_XDEV, 0},
		{"d", "m/out", unix.RESOLVE_BENEATH, 0},
		{"d/m", "out", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"d/m", "out", unix.RESOLVE_IN_ROOT, 0},
		{"d", "m/abs", unix.RESOLVE_IN_ROOT, unix.ENOENT},
		{"d", "m/abs", unix.RESOLVE_BENEATH, unix.EXDEV},
	} {
		a := tr.at(tc.start)
		a.Resolve = tc.flags
		_, err := vfs.Walk(root, a, tc.name)
		wantErr(t, tc.start+" "+tc.name, err, tc.want)
	}
}

// TestMagicLink follows links that lead to objects.
func TestMagicLink(t *testing.T) {
	tr := newTree(t).make("proc/", "d/", "d/f", "gone")
	gone := tr.open(root, "gone", unix.O_RDWR)
	defer gone.DecRef()
	tr.must(vfs.UnlinkAt(root, tr.args(), "gone"))
	fs := &pseudo.FS{}
	text := func(vfs.Caller) (string, error) { return "object", nil }
	link := func(p vfs.Path) vfs.Inode {
		return fs.NewLink(0o777, text, func(vfs.Caller) (vfs.Path, error) { return p, nil })
	}
	dir := fs.NewDir(0o555).Add("dir", link(tr.path("d"))).Add("gone", link(gone.Path()))
	_, err := tr.ns.MountAt(tr.path("proc"), dir, 0, "proc", "proc")
	tr.must(err)
	if tr.path("proc/dir/f") != tr.path("d/f") {
		t.Error("through a link to a directory")
	}
	f := tr.open(root, "proc/gone", unix.O_RDONLY)
	if got := tr.read(f); got != "gone" {
		t.Errorf("an unlinked file reads %q", got)
	}
	f.DecRef()
	if s, err := vfs.ReadlinkAt(root, tr.args(), "proc/dir"); s != "object" || err != nil {
		t.Error(s, err)
	}
	for flags, want := range map[uint64]unix.Errno{
		unix.RESOLVE_NO_MAGICLINKS: unix.ELOOP, unix.RESOLVE_NO_SYMLINKS: unix.ELOOP,
		unix.RESOLVE_BENEATH: unix.EXDEV, unix.RESOLVE_IN_ROOT: unix.EXDEV,
	} {
		a := tr.args()
		a.Resolve = flags
		_, err := vfs.Walk(root, a, "proc/dir")
		wantErr(t, "resolve", err, want)
	}
}
