package pseudo_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

type caller struct{ creds *cred.Credentials }

func (c caller) Creds() *cred.Credentials { return c.creds }
func (caller) FileSizeLimit() uint64      { return math.MaxUint64 }
func (caller) Interrupted() bool          { return false }

var me = caller{cred.New(0, 0, nil, &cred.UserNamespace{})}

func want(t *testing.T, what string, err error, e unix.Errno) {
	t.Helper()
	if e == 0 && err != nil || e != 0 && !errors.Is(err, e) {
		t.Errorf("%s: %v, want %v", what, err, e)
	}
}

// mount makes dir the root of a namespace.
func mount(t *testing.T, dir vfs.Inode) vfs.WalkArgs {
	ns, err := vfs.NewSystem().NewNamespace(dir, 0, "proc", "proc")
	if err != nil {
		t.Fatal(err)
	}
	return vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}
}

func open(t *testing.T, a vfs.WalkArgs, name string, flags int) *vfs.File {
	t.Helper()
	f, err := vfs.Open(me, a, name, vfs.OpenArgs{Flags: flags})
	if err != nil {
		t.Fatal(name, err)
	}
	t.Cleanup(f.DecRef)
	return f
}

func read(t *testing.T, f *vfs.File, n int) string {
	t.Helper()
	b := make([]byte, n)
	n, err := f.Read(me, mm.BytesBuffer(b))
	if err != nil {
		t.Error(err)
	}
	return string(b[:n])
}

// TestFile reads in pieces what was generated at the start, and anew after a rewind.
func TestFile(t *testing.T) {
	fs := &pseudo.FS{}
	n := 0
	dir := fs.NewDir(0o555).Add("count", fs.NewFile(0o444, func(_ vfs.Caller, b *bytes.Buffer) error {
		n++
		fmt.Fprintf(b, "%d%d%d", n, n, n)
		return nil
	}))
	a := mount(t, dir)
	f := open(t, a, "count", unix.O_RDONLY)
	if s := read(t, f, 2) + read(t, f, 2) + read(t, f, 2); s != "111" {
		t.Errorf("in pieces: %q", s)
	}
	if _, err := f.Seek(me, 0, unix.SEEK_SET); err != nil {
		t.Error(err)
	}
	if s := read(t, f, 10); s != "222" {
		t.Errorf("after a rewind: %q", s)
	}
	_, err := f.Seek(me, 0, unix.SEEK_END)
	want(t, "from the end", err, unix.EINVAL)
	w := open(t, a, "count", unix.O_WRONLY)
	_, err = w.Write(me, mm.BytesBuffer([]byte("x")))
	want(t, "write", err, unix.EINVAL)
	p, err := vfs.Walk(me, a, "count")
	want(t, "walk", err, 0)
	want(t, "chmod", vfs.ChangeMode(me, p, 0o777), unix.EPERM)
	want(t, "create", vfs.MkdirAt(me, a, "new", 0o777, 0), unix.EPERM)
}

func TestKnob(t *testing.T) {
	fs := &pseudo.FS{Mutable: true}
	value := "old"
	knob := fs.NewKnob(0o600, func(_ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(value)
		return nil
	}, func(_ vfs.Caller, data []byte) error {
		if value = strings.TrimSpace(string(data)); value == "" {
			return unix.EINVAL
		}
		return nil
	})
	uid := cred.UID(7)
	knob.SetOwnerFunc(func() (cred.UID, cred.GID) { return uid, 8 })
	a := mount(t, fs.NewDir(0o755).Add("knob", knob))
	f := open(t, a, "knob", unix.O_RDWR|unix.O_TRUNC)
	if n, err := f.Write(me, mm.BytesBuffer([]byte("new\n"))); n != 4 || err != nil || value != "new" {
		t.Errorf("wrote %d, %v: %q", n, err, value)
	}
	_, err := f.Write(me, mm.BytesBuffer([]byte("\n")))
	want(t, "refused", err, unix.EINVAL)
	if n, _ := f.PWrite(me, mm.BytesBuffer(make([]byte, 10000)), 0); n != mm.PageSize {
		t.Errorf("%d bytes in one write", n)
	}
	uid = 9
	attr, err := f.Attr()
	if err != nil || attr.UID != 9 || attr.GID != 8 || attr.Mode != unix.S_IFREG|0o600 {
		t.Errorf("%+v, %v", attr, err)
	}
	want(t, "chmod", vfs.ChangeMode(me, f.Path(), 0o640), 0)
	if attr, _ = f.Attr(); attr.Mode&0o777 != 0o640 {
		t.Errorf("mode %o", attr.Mode)
	}
}

// numbers has the files 10, 20 and 30.
type numbers struct {
	fs  *pseudo.FS
	max int
}

func (n *numbers) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if k, err := strconv.Atoi(name); err == nil && k > 0 && k%10 == 0 && k <= n.max {
		return n.fs.NewText(0o444, name), nil
	}
	return nil, unix.ENOENT
}

func (n *numbers) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	for k := 10; k <= n.max; k += 10 {
		if int64(k) > pos && !emit(vfs.Dirent{Name: strconv.Itoa(k), Ino: uint64(k), Type: unix.DT_REG, Next: int64(k)}) {
			break
		}
	}
	return nil
}

func list(t *testing.T, f *vfs.File, atOnce int) (names string) {
	t.Helper()
	for {
		n := 0
		err := f.ReadDir(me, func(e vfs.Dirent) bool {
			if n == atOnce {
				return false
			}
			n++
			names += e.Name + " "
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return names
		}
	}
}

func TestSourceDir(t *testing.T) {
	fs := &pseudo.FS{}
	src := &numbers{fs, 30}
	a := mount(t, fs.NewSourceDir(0o555, src))
	if s := read(t, open(t, a, "20", 0), 10); s != "20" {
		t.Errorf("reads %q", s)
	}
	_, err := vfs.Walk(me, a, "40")
	want(t, "none", err, unix.ENOENT)
	for atOnce := 1; atOnce < 4; atOnce++ {
		if s := list(t, open(t, a, "/", 0), atOnce); s != ". .. 10 20 30 " {
			t.Errorf("lists %q", s)
		}
	}
	src.max = 40
	if s := read(t, open(t, a, "40", 0), 10); s != "40" {
		t.Errorf("reads %q", s)
	}
	src.max = 10
	_, err = vfs.Walk(me, a, "20")
	want(t, "gone", err, unix.ENOENT)
}

func TestDir(t *testing.T) {
	fs := &pseudo.FS{Magic: 0x9fa0}
	dir := fs.NewDir(0o555).Add("a", fs.NewText(0o444, "")).Add("b", fs.NewFixedSymlink("a")).Add("c", fs.NewDir(0o555))
	dir.Add("null", fs.NewDevice(unix.S_IFCHR|0o666, 1, 3, func(vfs.Caller, int) (vfs.FileOps, error) { return nil, unix.EIO }))
	a := mount(t, dir)
	f := open(t, a, ".", unix.O_DIRECTORY)
	dir.Remove("b")
	if s := list(t, f, 2); s != ". .. a c null " {
		t.Errorf("lists %q", s)
	}
	_, err := vfs.Open(me, a, "null", vfs.OpenArgs{})
	want(t, "device", err, unix.EIO)
	p, err := vfs.Walk(me, a, "null")
	want(t, "walk", err, 0)
	if attr, _ := vfs.Stat(me, p); attr.RdevMajor != 1 || attr.RdevMinor != 3 || attr.Minor == 0 {
		t.Errorf("%+v", attr)
	}
	if st, _ := vfs.Statfs(me, p); st.Type != 0x9fa0 {
		t.Errorf("file system %#x", st.Type)
	}
}

// TestLongContent: what is long is not kept, and still read whole in pieces.
func TestLongContent(t *testing.T) {
	fs := new(pseudo.FS)
	made := 0
	fill := func(n int) pseudo.Generate {
		return func(_ vfs.Caller, b *bytes.Buffer) error {
			made++
			b.WriteString(strings.Repeat("x", n))
			return nil
		}
	}
	a := mount(t, fs.NewDir(0o555).Add("short", fs.NewFile(0o444, fill(1000))).Add("long", fs.NewFile(0o444, fill(100_000))))
	for _, c := range []struct {
		name       string
		size, made int
	}{{"short", 1000, 2}, {"long", 100_000, 11}} {
		made = 0
		f := open(t, a, c.name, unix.O_RDONLY)
		got := 0
		for n := -1; n != 0; got += n {
			n = len(read(t, f, 10_000))
		}
		if got != c.size || made > c.made {
			t.Errorf("%s: %d bytes, made %d times", c.name, got, made)
		}
		if c.name == "long" && made < 2 {
			t.Errorf("long: made once, so it was kept")
		}
	}
}
