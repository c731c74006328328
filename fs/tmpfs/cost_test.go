package tmpfs_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

type caller struct{}

var creds = cred.New(0, 0, nil, &cred.UserNamespace{})

func (caller) Creds() *cred.Credentials { return creds }
func (caller) FileSizeLimit() uint64    { return math.MaxUint64 }
func (caller) Interrupted() bool        { return false }

// heap returns what is in use once collections find no more to free: what other tests left with a finalizer goes late.
func heap() uint64 {
	var s runtime.MemStats
	for last := uint64(math.MaxUint64); ; last = s.HeapAlloc {
		runtime.GC()
		runtime.GC()
		if runtime.ReadMemStats(&s); s.HeapAlloc >= last {
			return s.HeapAlloc
		}
	}
}

// TestCost holds what a file costs the sentry, without and with its name in the cache.
func TestCost(t *testing.T) {
	const files = 5000
	sys := vfs.NewSystem()
	ns, err := sys.NewNamespace(tmpfs.New(tmpfs.Config{File: memory(t, 256<<20)}), 0, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	a := vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}
	before := heap()
	for i := range files {
		if err := vfs.MknodAt(caller{}, a, fmt.Sprintf("file%d", i), unix.S_IFREG|0o644, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	cached := heap() - before
	sys.DropCache()
	bare := heap() - before
	t.Logf("a file costs %d bytes, its name %d more while it is cached", bare/files, (cached-bare)/files)
	if bare/files > 1500 || cached/files > 2000 {
		t.Error("that is more than a sandbox should pay")
	}
	runtime.KeepAlive(ns)
}

func TestStatfs(t *testing.T) {
	sys := vfs.NewSystem()
	ns, err := sys.NewNamespace(tmpfs.New(tmpfs.Config{File: memory(t, 64<<20), Size: 1 << 20, Inodes: 3}), vfs.NoSuid, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	a := vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}
	mknod := func(name string) error { return vfs.MknodAt(caller{}, a, name, unix.S_IFREG|0o644, 0, 0, 0) }
	want(t, "first", mknod("a"), 0)
	p, err := vfs.Walk(caller{}, a, "a")
	want(t, "walk", err, 0)
	want(t, "second name", vfs.LinkAt(caller{}, p, a, "b"), 0)
	want(t, "one too many", mknod("c"), unix.ENOSPC)
	want(t, "one name too many", vfs.LinkAt(caller{}, p, a, "c"), unix.ENOSPC)
	st, err := vfs.Statfs(caller{}, p)
	if err != nil || st.Blocks != 256 || st.Files != 3 || st.Ffree != 0 || st.Flags&unix.ST_NOSUID == 0 || st.Type != 0x01021994 {
		t.Errorf("%+v, %v", st, err)
	}
	want(t, "unlink", vfs.UnlinkAt(caller{}, a, "b"), 0)
	// An unnamed file counts until it is closed, and its name as every name.
	f, err := vfs.Open(caller{}, a, ".", vfs.OpenArgs{Flags: unix.O_TMPFILE | unix.O_RDWR, Mode: 0o600})
	want(t, "tmpfile", err, 0)
	want(t, "beside it", mknod("c"), unix.ENOSPC)
	f.DecRef()
	want(t, "after it", mknod("c"), 0)
	if attr, _ := vfs.Stat(caller{}, p); attr.Nlink != 1 {
		t.Errorf("%d links", attr.Nlink)
	}
}

// TestTmpfileLink names an unnamed file, once.
func TestTmpfileLink(t *testing.T) {
	sys := vfs.NewSystem()
	mem := memory(t, 64<<20)
	ns, err := sys.NewNamespace(tmpfs.New(tmpfs.Config{File: mem}), 0, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	a := vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}
	open := func(flags int) *vfs.File {
		f, err := vfs.Open(caller{}, a, "/", vfs.OpenArgs{Flags: unix.O_TMPFILE | unix.O_RDWR | flags, Mode: 0o600})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(caller{}, 0, 0, page); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open(0)
	want(t, "name", vfs.LinkAt(caller{}, f.Path(), a, "f"), 0)
	f.DecRef()
	p, err := vfs.Walk(caller{}, a, "f")
	want(t, "walk", err, 0)
	held, err := vfs.OpenPath(caller{}, p, unix.O_PATH)
	want(t, "O_PATH", err, 0)
	want(t, "unlink", vfs.UnlinkAt(caller{}, a, "f"), 0)
	want(t, "name again", vfs.LinkAt(caller{}, p, a, "g"), unix.ENOENT)
	again, err := vfs.OpenPath(caller{}, held.Path(), unix.O_RDONLY)
	want(t, "open through O_PATH", err, 0)
	again.DecRef()
	if mem.Usage() == 0 {
		t.Error("a file that may be opened was freed")
	}
	held.DecRef()
	_, err = vfs.OpenPath(caller{}, p, unix.O_RDONLY)
	want(t, "open what is gone", err, unix.ESTALE)
	f = open(unix.O_EXCL)
	want(t, "name with O_EXCL", vfs.LinkAt(caller{}, f.Path(), a, "f"), unix.ENOENT)
	f.DecRef()
	if n := mem.Usage(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
