package vfs_test

import (
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// TestPermissionCheck is the table of path_resolution(7) and capabilities(7).
func TestPermissionCheck(t *testing.T) {
	with := func(c *caller, caps ...int) *caller {
		for _, n := range caps {
			c.creds.Effective |= 1 << n
		}
		return c
	}
	const r, w, x = vfs.MayRead, vfs.MayWrite, vfs.MayExec
	for _, tc := range []struct {
		what string
		c    *caller
		mode uint32
		want uint32
		ok   bool
	}{
		{"owner", as(10, 1), 0o700, r | w | x, true},
		{"owner has no more than his bits", as(10, 1), 0o077, r, false},
		{"group", as(1, 20), 0o750, r | x, true},
		{"group has no more than its bits", as(1, 20), 0o707, r, false},
		{"supplementary group", as(1, 1, 5, 20), 0o740, r, true},
		{"others", as(1, 1), 0o704, r, true},
		{"others may not", as(1, 1), 0o770, r, false},
		{"root reads", as(0, 0), 0, r | w, true},
		{"root runs nothing that nobody may run", as(0, 0), 0o666, x, false},
		{"root runs what somebody may run", as(0, 0), 0o001, x, true},
		{"root searches", as(0, 0), unix.S_IFDIR, r | w | x, true},
		{"dac_read_search reads", with(as(1, 1), unix.CAP_DAC_READ_SEARCH), 0, r, true},
		{"dac_read_search does not write", with(as(1, 1), unix.CAP_DAC_READ_SEARCH), 0, r | w, false},
		{"dac_read_search searches", with(as(1, 1), unix.CAP_DAC_READ_SEARCH), unix.S_IFDIR, r | x, true},
		{"dac_read_search does not run", with(as(1, 1), unix.CAP_DAC_READ_SEARCH), 0o700, x, false},
		{"dac_override", with(as(1, 1), unix.CAP_DAC_OVERRIDE), unix.S_IFDIR, r | w | x, true},
	} {
		if tc.mode&unix.S_IFMT == 0 {
			tc.mode |= unix.S_IFREG
		}
		attr := vfs.Attr{Mode: tc.mode, UID: 10, GID: 20}
		want := unix.EACCES
		if tc.ok {
			want = 0
		}
		wantErr(t, tc.what, vfs.PermissionCheck(tc.c, &attr, tc.want), want)
	}
}

func (tr *tree) mode(name string) uint32 {
	tr.t.Helper()
	a, err := vfs.Stat(root, tr.path(name))
	tr.must(err)
	return a.Mode & 0o7777
}

// own gives name an owner and then a mode.
func (tr *tree) own(name string, uid, gid, mode uint32) {
	tr.t.Helper()
	tr.must(vfs.ChangeOwner(root, tr.path(name), uid, gid))
	tr.must(vfs.ChangeMode(root, tr.path(name), mode))
}

// TestSetID are the rules by which set-id bits and file capabilities go.
func TestSetID(t *testing.T) {
	user := as(10, 20)
	write := func(tr *tree, c vfs.Caller) error {
		f, err := vfs.Open(c, tr.args(), "f", vfs.OpenArgs{Flags: unix.O_WRONLY})
		if err == nil {
			_, err = f.Write(c, mm.BytesBuffer([]byte("x")))
			f.DecRef()
		}
		return err
	}
	for _, tc := range []struct {
		what         string
		before, want uint32
		do           func(tr *tree) error
	}{
		{"write", 0o6777, 0o777, func(tr *tree) error { return write(tr, user) }},
		{"write by root", 0o6777, 0o6777, func(tr *tree) error { return write(tr, root) }},
		{"mandatory locking bit", 0o2767, 0o2767, func(tr *tree) error { return write(tr, user) }},
		{"truncate", 0o4755, 0o755, func(tr *tree) error { return vfs.Truncate(user, tr.path("f"), 0) }},
		{"open to truncate", 0o4755, 0o755, func(tr *tree) error {
			f, err := vfs.Open(user, tr.args(), "f", vfs.OpenArgs{Flags: unix.O_TRUNC})
			if err == nil {
				f.DecRef()
			}
			return err
		}},
		{"chown", 0o6755, 0o755, func(tr *tree) error { return vfs.ChangeOwner(user, tr.path("f"), cred.NoID, 20) }},
		{"chown by root", 0o6755, 0o755, func(tr *tree) error { return vfs.ChangeOwner(root, tr.path("f"), 1, 1) }},
		{"chmod to a foreign group", 0o644, 0o4755, func(tr *tree) error {
			tr.own("f", 10, 99, 0o644)
			return vfs.ChangeMode(user, tr.path("f"), 0o6755)
		}},
	} {
		tr := newTree(t).make("f")
		tr.own("f", 10, 20, tc.before)
		if err := tc.do(tr); err != nil {
			t.Errorf("%s: %v", tc.what, err)
		}
		if got := tr.mode("f"); got != tc.want {
			t.Errorf("%s: mode %o, want %o", tc.what, got, tc.want)
		}
	}
	// A write after an earlier one that had nothing to clear.
	tr := newTree(t).make("f")
	tr.own("f", 10, 20, 0o755)
	tr.must(write(tr, user))
	tr.own("f", 10, 20, 0o4755)
	tr.must(vfs.SetXattr(root, tr.path("f"), "security.capability", []byte("caps"), 0))
	tr.must(write(tr, user))
	_, err := vfs.GetXattr(root, tr.path("f"), "security.capability")
	wantErr(t, "file capabilities", err, unix.ENODATA)
	if got := tr.mode("f"); got != 0o755 {
		t.Errorf("a later chmod: mode %o", got)
	}
}

func TestOwnership(t *testing.T) {
	tr := newTree(t).make("f", "d/")
	tr.own("f", 10, 20, 0o644)
	user := as(10, 20, 21)
	f := tr.path("f")
	wantErr(t, "give away", vfs.ChangeOwner(user, f, 11, cred.NoID), unix.EPERM)
	wantErr(t, "to a foreign group", vfs.ChangeOwner(user, f, cred.NoID, 30), unix.EPERM)
	wantErr(t, "to an own group", vfs.ChangeOwner(user, f, 10, 21), 0)
	wantErr(t, "another's", vfs.ChangeOwner(as(11, 21), f, cred.NoID, 21), unix.EPERM)
	wantErr(t, "chmod another's", vfs.ChangeMode(as(11, 21), f, 0o777), unix.EPERM)
	past := &[2]unix.Timespec{{Sec: 1}, {Nsec: vfs.TimeOmit}}
	wantErr(t, "another's times", vfs.SetTimes(as(11, 21), f, past), unix.EPERM)
	wantErr(t, "another's times to now", vfs.SetTimes(as(11, 21), f, nil), unix.EACCES)
	wantErr(t, "bad times", vfs.SetTimes(user, f, &[2]unix.Timespec{{Nsec: 1_000_000_000}}), unix.EINVAL)
	before, _ := vfs.Stat(root, f)
	wantErr(t, "own times", vfs.SetTimes(user, f, past), 0)
	after, _ := vfs.Stat(root, f)
	if after.Atime != past[0] || after.Mtime != before.Mtime {
		t.Errorf("times are %v %v", after.Atime, after.Mtime)
	}
	// New files take the group of a set-gid directory, directories its bit too.
	tr.own("d", 10, 77, 0o2777)
	tr.must(vfs.MkdirAt(user, tr.args(), "d/sub", 0o755, 0o22))
	tr.must(vfs.MknodAt(user, tr.args(), "d/file", unix.S_IFREG|0o2755, 0, 0, 0))
	for name, mode := range map[string]uint32{"d/sub": 0o2755, "d/file": 0o755} {
		a, _ := vfs.Stat(root, tr.path(name))
		if a.GID != 77 || a.UID != 10 || a.Mode&0o7777 != mode {
			t.Errorf("%s: %d:%d %o", name, a.UID, a.GID, a.Mode)
		}
	}
	wantErr(t, "device", vfs.MknodAt(user, tr.args(), "d/null", unix.S_IFCHR, 0, 1, 3), unix.EPERM)
}

func TestFileSizeLimit(t *testing.T) {
	tr := newTree(t)
	f := tr.open(root, "f", unix.O_CREAT|unix.O_RDWR)
	defer f.DecRef()
	c := as(0, 0)
	c.limit = 100
	buf := func(n int) *mm.Buffer { return mm.BytesBuffer(make([]byte, n)) }
	if n, err := f.PWrite(c, buf(80), 50); n != 50 || err != nil {
		t.Errorf("a write across the limit: %d, %v", n, err)
	}
	if n, err := f.PWrite(c, buf(1), 100); n != 0 || err != vfs.ErrFileTooBig {
		t.Errorf("a write behind the limit: %d, %v", n, err)
	}
	wantErr(t, "its errno", vfs.ErrFileTooBig, unix.EFBIG)
	if err := f.Truncate(c, 101); err != vfs.ErrFileTooBig {
		t.Errorf("growth: %v", err)
	}
	if err := f.Allocate(c, 0, 0, 101); err != vfs.ErrFileTooBig {
		t.Errorf("allocation: %v", err)
	}
	tr.must(f.Truncate(root, 200))
	tr.must(f.Truncate(c, 150)) // it shrinks
	wantErr(t, "the greatest offset", func() error {
		_, err := f.PWrite(root, buf(1), 1<<63-1)
		return err
	}(), unix.EINVAL)
}

func TestTextBusy(t *testing.T) {
	tr := newTree(t).make("prog")
	exec := tr.open(root, "prog", unix.O_RDONLY)
	defer exec.DecRef()
	w := tr.open(root, "prog", unix.O_RDWR)
	wantErr(t, "run while written", exec.DenyWrite(), unix.ETXTBSY)
	w.DecRef()
	tr.must(exec.DenyWrite())
	for _, flags := range []int{unix.O_WRONLY, unix.O_TRUNC} {
		_, err := vfs.Open(root, tr.args(), "prog", vfs.OpenArgs{Flags: flags})
		wantErr(t, "open while run", err, unix.ETXTBSY)
	}
	wantErr(t, "truncate while run", vfs.Truncate(root, tr.path("prog"), 0), unix.ETXTBSY)
	if got := tr.read(exec); got != "prog" {
		t.Errorf("reads %q", got)
	}
	exec.AllowWrite()
	tr.open(root, "prog", unix.O_WRONLY).DecRef()
}

func TestXattr(t *testing.T) {
	tr := newTree(t).make("f", "d/", "l->f")
	tr.own("f", 10, 20, 0o644)
	f := tr.path("f")
	user, other := as(10, 20), as(11, 21)
	set := func(c vfs.Caller, p vfs.Path, name string, flags int) error {
		return vfs.SetXattr(c, p, name, []byte("v"), flags)
	}
	get := func(c vfs.Caller, p vfs.Path, name string) error {
		_, err := vfs.GetXattr(c, p, name)
		return err
	}
	a := tr.args()
	a.NoFollow = true
	link, err := vfs.Walk(root, a, "l")
	tr.must(err)
	for _, tc := range []struct {
		what string
		err  error
		want unix.Errno
	}{
		{"replace none", set(user, f, "user.a", unix.XATTR_REPLACE), unix.ENODATA},
		{"create", set(user, f, "user.a", unix.XATTR_CREATE), 0},
		{"create again", set(user, f, "user.a", unix.XATTR_CREATE), unix.EEXIST},
		{"by others", set(other, f, "user.a", 0), unix.EACCES},
		{"on a link", set(root, link, "user.a", 0), unix.EPERM},
		{"read", get(other, f, "user.a"), 0},
		{"read none", get(other, f, "user.b"), unix.ENODATA},
		{"trusted", set(user, f, "trusted.a", 0), unix.EPERM},
		{"trusted by root", set(root, f, "trusted.a", 0), 0},
		{"trusted is not seen", get(user, f, "trusted.a"), unix.ENODATA},
		{"security", set(user, f, "security.a", 0), unix.EPERM},
		{"unknown space", set(root, f, "none.a", 0), unix.EOPNOTSUPP},
		{"no name", set(root, f, "user.", 0), unix.EOPNOTSUPP},
		{"remove none", vfs.RemoveXattr(root, f, "user.b"), unix.ENODATA},
		{"too much", vfs.SetXattr(root, f, "user.a", make([]byte, 65537), 0), unix.E2BIG},
	} {
		wantErr(t, tc.what, tc.err, tc.want)
	}
	if names, _ := vfs.ListXattr(user, f); len(names) != 1 || names[0] != "user.a" {
		t.Errorf("a user sees %v", names)
	}
	if names, _ := vfs.ListXattr(root, f); len(names) != 2 {
		t.Errorf("root sees %v", names)
	}
}
