package vfs_test

import (
	"testing"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

func TestPathName(t *testing.T) {
	tr := newTree(t).make("a/", "a/b/", "a/b/f", "m/", "bind/")
	tr.mount("m", 0)
	tr.make("m/d/")
	f, b, d := tr.path("a/b/f"), tr.path("a/b"), tr.path("m/d")
	check := func(what string, from, p vfs.Path, want string, reachable bool) {
		t.Helper()
		if got, ok := vfs.PathName(from, p); got != want || ok != reachable {
			t.Errorf("%s: %q, %v, want %q", what, got, ok, want)
		}
	}
	top := tr.ns.Root()
	check("the root", top, top, "/", true)
	check("a file", top, f, "/a/b/f", true)
	check("in a mount", top, d, "/m/d", true)
	check("of another root", b, f, "/f", true)
	check("outside the root", b, d, "/m/d", false)
	tr.must(vfs.RenameAt(root, tr.args(), "a/b", tr.args(), "moved", 0))
	check("after a rename", top, f, "/moved/f", true)
	tr.must(vfs.RenameAt(root, tr.args(), "moved", tr.args(), "a", unix.RENAME_EXCHANGE))
	check("after an exchange", top, f, "/a/f", true)
	tr.must(vfs.UnlinkAt(root, tr.args(), "a/f"))
	check("removed", top, f, "/a/f (deleted)", true)
	if !f.Deleted() || b.Deleted() {
		t.Error("deleted names")
	}
	// A directory renamed out of what a bind mount shows is not reachable by it.
	tr.make("s/", "s/in/", "s/in/cwd/")
	_, err := tr.ns.Bind(tr.path("s/in"), tr.path("bind"), 0, false)
	tr.must(err)
	cwd := tr.path("bind/cwd")
	check("in a bind mount", top, cwd, "/bind/cwd", true)
	tr.must(vfs.RenameAt(root, tr.args(), "s/in/cwd", tr.args(), "s/out", 0))
	check("out of the bind mount", top, cwd, "/s/out", false)
	_, err = vfs.Walk(root, vfs.WalkArgs{Root: top, Start: cwd}, "..")
	wantErr(t, "..", err, unix.ENOENT)
	r, w := pipe.New(tr.sys, root, 0)
	defer r.DecRef()
	defer w.DecRef()
	if name, ok := vfs.PathName(top, r.Path()); name[:6] != "pipe:[" || !ok {
		t.Errorf("a pipe is called %q", name)
	}
	e := tr.sys.NewEventFD(0, false, 0)
	defer e.DecRef()
	check("an eventfd", top, e.Path(), "anon_inode:[eventfd]", true)
}

func TestNamespaceClone(t *testing.T) {
	tr := newTree(t).make("m/", "m2/")
	tr.mount("m", 0)
	tr.make("m/d/", "m/d/f")
	tr.mount("m/d", 0)
	clone, translate, _ := tr.ns.Clone(false)
	in := func(name string) (vfs.Path, error) {
		return vfs.Walk(root, vfs.WalkArgs{Root: clone.Root(), Start: clone.Root()}, name)
	}
	if p, err := in("m/d"); err != nil || p != translate(tr.path("m/d")) || p.Mount == tr.path("m/d").Mount {
		t.Errorf("the clone's mount: %v, %v", p, err)
	}
	// Mounts of one are not seen in the other.
	tr.must(tr.ns.Unmount(tr.path("m/d"), 0))
	tr.path("m/d/f")
	_, err := in("m/d/f")
	wantErr(t, "covered in the clone", err, unix.ENOENT)
	if len(clone.Mounts()) != 3 || len(tr.ns.Mounts()) != 2 {
		t.Errorf("%d and %d mounts", len(clone.Mounts()), len(tr.ns.Mounts()))
	}
	clone.Release()
	tr.must(vfs.UnlinkAt(root, tr.args(), "m/d/f"))
	tr.must(vfs.RmdirAt(root, tr.args(), "m/d"))
}

func TestMoveAndBind(t *testing.T) {
	tr := newTree(t).make("a/", "b/", "c/", "file", "on")
	m := tr.mount("a", 0)
	tr.make("a/x/", "a/x/y/")
	tr.mount("a/x", 0)
	tr.make("a/x/deep")
	wantErr(t, "into itself", tr.ns.Move(m.Root(), tr.path("a/x")), unix.ELOOP)
	tr.must(tr.ns.Move(m.Root(), tr.path("b")))
	tr.path("b/x/deep")
	if tr.path("b/x/../..") != tr.ns.Root() {
		t.Error("up from a moved mount")
	}
	_, err := tr.ns.Bind(tr.path("b"), tr.path("c"), vfs.ReadOnly, true)
	tr.must(err)
	tr.path("c/x/deep")
	wantErr(t, "write to a read-only bind", vfs.MkdirAt(root, tr.args(), "c/n", 0o755, 0), unix.EROFS)
	tr.make("b/n/")
	tr.path("c/n")
	_, err = tr.ns.Bind(tr.path("file"), tr.path("on"), 0, false)
	tr.must(err)
	f := tr.open(root, "on", unix.O_RDONLY)
	defer f.DecRef()
	if got := tr.read(f); got != "file" {
		t.Errorf("a bound file reads %q", got)
	}
	clone, _, _ := tr.ns.Clone(false)
	if len(clone.Mounts()) != len(tr.ns.Mounts()) {
		t.Error("a clone after a move")
	}
}
