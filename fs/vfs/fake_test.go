package vfs_test

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// caller is a task as the VFS sees it.
type caller struct {
	creds *cred.Credentials
	limit uint64
}

func (c *caller) Creds() *cred.Credentials { return c.creds }
func (c *caller) FileSizeLimit() uint64    { return c.limit }
func (c *caller) Interrupted() bool        { return false }

func as(uid cred.UID, gid cred.GID, groups ...cred.GID) *caller {
	return &caller{cred.New(uid, gid, groups, &cred.UserNamespace{}), math.MaxUint64}
}

var root = as(0, 0)

// myself is the test process, as the host sees it.
func myself(t testing.TB) *caller {
	c := as(cred.UID(os.Geteuid()), cred.GID(os.Getegid()))
	groups, _ := os.Getgroups()
	for _, g := range groups {
		c.creds.Groups = append(c.creds.Groups, cred.GID(g))
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status")
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ := strconv.ParseUint(strings.TrimSpace(rest), 16, 64)
			c.creds.Effective = cred.CapSet(caps)
		}
	}
	return c
}

func memory(t testing.TB) *mm.MemoryFile {
	f, err := mm.NewMemoryFile(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

// tree is a namespace with a tmpfs as root.
type tree struct {
	t   testing.TB
	mem *mm.MemoryFile
	sys *vfs.System
	ns  *vfs.Namespace
}

func newTree(t testing.TB) *tree { return treeOn(t, memory(t)) }

func treeOn(t testing.TB, mem *mm.MemoryFile) *tree {
	tr := &tree{t: t, mem: mem, sys: vfs.NewSystem()}
	ns, err := tr.sys.NewNamespace(tmpfs.New(tmpfs.Config{File: tr.mem, Mode: 0o755}), 0, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	tr.ns = ns
	return tr
}

func (tr *tree) args() vfs.WalkArgs {
	return vfs.WalkArgs{Root: tr.ns.Root(), Start: tr.ns.Root()}
}

// at is a walk that begins in a directory.
func (tr *tree) at(dir string) vfs.WalkArgs {
	a := tr.args()
	a.Start = tr.path(dir)
	return a
}

func (tr *tree) path(name string) vfs.Path {
	tr.t.Helper()
	p, err := vfs.Walk(root, tr.args(), name)
	if err != nil {
		tr.t.Fatalf("walk %q: %v", name, err)
	}
	return p
}

// make makes directories (names with a slash behind), links ("a->b") and files.
func (tr *tree) make(names ...string) *tree {
	tr.t.Helper()
	for _, n := range names {
		var err error
		if link, target, ok := strings.Cut(n, "->"); ok {
			err = vfs.SymlinkAt(root, target, tr.args(), link)
		} else if strings.HasSuffix(n, "/") {
			err = vfs.MkdirAt(root, tr.args(), n, 0o755, 0)
		} else {
			tr.write(n, n)
		}
		tr.must(err)
	}
	return tr
}

func (tr *tree) must(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) open(c vfs.Caller, name string, flags int) *vfs.File {
	tr.t.Helper()
	f, err := vfs.Open(c, tr.args(), name, vfs.OpenArgs{Flags: flags, Mode: 0o644})
	if err != nil {
		tr.t.Fatalf("open %q: %v", name, err)
	}
	return f
}

func (tr *tree) write(name, content string) {
	tr.t.Helper()
	f := tr.open(root, name, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC)
	defer f.DecRef()
	if n, err := f.Write(root, mm.BytesBuffer([]byte(content))); n != len(content) {
		tr.t.Fatalf("write: %d, %v", n, err)
	}
}

func (tr *tree) read(f *vfs.File) string {
	tr.t.Helper()
	b := make([]byte, 4096)
	n, err := f.PRead(root, mm.BytesBuffer(b), 0)
	tr.must(err)
	return string(b[:n])
}

// wantErr checks for an errno, 0 for none.
func wantErr(t testing.TB, what string, err error, want unix.Errno) {
	t.Helper()
	if errno(err) != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func errno(err error) unix.Errno {
	var e unix.Errno
	if err == nil {
		return 0
	}
	if errors.As(err, &e) {
		return e
	}
	return unix.Errno(9999)
}
