package overlay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gosentry/fs/host"
	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

const memory = 64 << 20

// lowerTree shows dir read-only.
func lowerTree(t testing.TB, dir string) vfs.Inode {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	lower, err := host.New(fd, host.Config{ReadOnly: true, Cache: true})
	must(t, err)
	return lower
}

// guest lays an overlay over dir and returns it with its memory file.
func guest(t testing.TB, dir string, limit uint64) (*fstest.Guest, *mm.MemoryFile) {
	t.Helper()
	file, err := mm.NewMemoryFile(limit)
	must(t, err)
	root, err := New(lowerTree(t, dir), Config{File: file})
	must(t, err)
	g, err := fstest.NewGuest(root)
	must(t, err)
	return g, file
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRandomChanges does the same to an overlay and to a copy of its lower directory.
func TestRandomChanges(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	seed := uint64(time.Now().UnixNano())
	for i := range 40 {
		lower, twin := t.TempDir(), t.TempDir()
		for _, dir := range []string{lower, twin} {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 40 {
				// Names of one lower file part when one is changed, so there are none.
				if s := fstest.RandomStep(r); !strings.HasPrefix(s.Name, "link") {
					s.Do(fstest.Host{Dir: dir})
				}
			}
		}
		before := fstest.Snapshot(fstest.Host{Dir: lower}, "/", fstest.Options{})
		g, _ := guest(t, lower, memory)
		r := rand.New(rand.NewPCG(seed+1, uint64(i)))
		if diff := fstest.Run(r, 100, fstest.Host{Dir: twin}, g, fstest.Options{}); diff != "" {
			t.Fatalf("seed %d, %d: below:\n%s%s", seed, i, before, diff)
		}
		if after := fstest.Snapshot(fstest.Host{Dir: lower}, "/", fstest.Options{}); after != before {
			t.Fatalf("seed %d, %d: the lower directory was changed", seed, i)
		}
		g.NS.System().DropCache()
		want := fstest.Snapshot(fstest.Host{Dir: twin}, "/", fstest.Options{})
		if got := fstest.Snapshot(g, "/", fstest.Options{}); got != want {
			t.Fatalf("seed %d, %d: after the cache was dropped: want:\n%sgot:\n%s", seed, i, want, got)
		}
	}
}

// TestNothingIsLeft removes everything after random changes, and counts.
func TestNothingIsLeft(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range 10 {
		dir := t.TempDir()
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		for range 40 {
			fstest.RandomStep(r).Do(fstest.Host{Dir: dir})
		}
		g, file := guest(t, dir, memory)
		for range 300 {
			fstest.RandomStep(r).Do(g)
		}
		var remove func(path string)
		remove = func(path string) {
			if names, err := g.List(path); err == nil {
				for _, name := range names {
					remove(path + "/" + name)
				}
			}
			if g.Unlink(path) != nil {
				must(t, g.Rmdir(path))
			}
		}
		names, err := g.List("/")
		must(t, err)
		for _, name := range names {
			remove("/" + name)
		}
		fs := g.NS.Root().Inode().(*node).fs
		if n, used, meta := fs.files.Load(), file.Usage(), fs.metas.Load(); n != 0 || used != 0 || meta != 0 {
			t.Fatalf("seed %d, %d: %d files and %d + %d bytes are left", seed, i, n, used, meta)
		}
	}
}

// TestManyAtOnce has goroutines change the same few names; the tree must hold together.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		fstest.RandomStep(r).Do(fstest.Host{Dir: dir})
	}
	g, _ := guest(t, dir, memory)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i+1)))
			for n := range 1500 {
				fstest.RandomStep(r).Do(g)
				if n%100 == 0 {
					_ = fstest.Snapshot(g, "/", fstest.Options{})
					g.NS.System().DropCache()
				}
			}
		})
	}
	wg.Wait()
	first := fstest.Snapshot(g, "/", fstest.Options{})
	g.NS.System().DropCache()
	runtime.GC()
	if again := fstest.Snapshot(g, "/", fstest.Options{}); again != first {
		t.Errorf("seed %d: with the cache:\n%swithout:\n%s", seed, first, again)
	}
	if strings.Contains(first, "ENO") || strings.Contains(first, "no such") {
		t.Errorf("seed %d: listed but not there:\n%s", seed, first)
	}
}

// TestLinkLosesTheRace links a file whose last name goes while the link is being made.
func TestLinkLosesTheRace(t *testing.T) {
	g, _ := guest(t, t.TempDir(), memory)
	must(t, g.Create("/f", 0o600))
	p, err := g.Walk("/f", false)
	must(t, err)
	must(t, g.Unlink("/f"))
	dir := g.NS.Root().Inode()
	if err := dir.Link(g.C, "g", p.Inode()); err != unix.ENOENT {
		t.Errorf("%v", err)
	}
	if names, _ := g.List("/"); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
}

// TestInodeNumbersStay changes files in every way.
func TestInodeNumbersStay(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Mkdir("/d", 0o755))
	must(t, h.Create("/d/f", 0o644))
	must(t, h.WriteAt("/d/f", []byte("text"), 0))
	g, _ := guest(t, dir, memory)
	before, err := g.Stat("/d/f")
	must(t, err)
	for _, change := range []func() error{
		func() error { return g.Chmod("/d/f", 0o600) },
		func() error { return g.Append("/d/f", []byte("more")) },
		func() error { return g.Link("/d/f", "/link") },
		func() error { return g.Rename("/d", "/e", 0) },
		func() error { return g.Rename("/e", "/d", 0) },
		func() error { return g.OpenTrunc("/d/f") },
	} {
		must(t, change())
		g.NS.System().DropCache()
	}
	after, err := g.Stat("/d/f")
	must(t, err)
	if after.Ino != before.Ino {
		t.Errorf("inode number %d, was %d", after.Ino, before.Ino)
	}
	f, err := g.Open("/d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer f.DecRef()
	entries, err := g.Entries(f, 10)
	must(t, err)
	for _, e := range entries {
		if e.Name == "f" && e.Ino != before.Ino {
			t.Errorf("listed as %d", e.Ino)
		}
	}
}

// TestOpenFileFollowsCopyUp reads through a descriptor that was there before.
func TestOpenFileFollowsCopyUp(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("below"), 0o644))
	g, _ := guest(t, dir, memory)
	f, err := g.Open("/f", unix.O_RDONLY, 0)
	must(t, err)
	defer f.DecRef()
	must(t, g.WriteAt("/f", []byte("above"), 0))
	data, err := g.ReadAll(f)
	must(t, err)
	if string(data) != "above" {
		t.Errorf("%q", data)
	}
}

// TestContentIsGivenBack unlinks, with and without somebody who has the file open.
func TestContentIsGivenBack(t *testing.T) {
	g, file := guest(t, t.TempDir(), memory)
	data := bytes.Repeat([]byte("x"), 1<<20)
	for range 200 { // more than the memory file takes
		must(t, g.Create("/f", 0o600))
		must(t, g.WriteAt("/f", data, 0))
		must(t, g.Unlink("/f"))
	}
	must(t, g.Create("/f", 0o600))
	must(t, g.WriteAt("/f", data, 0))
	f, err := g.Open("/f", unix.O_RDONLY, 0)
	must(t, err)
	p, err := g.Open("/f", unix.O_PATH, 0)
	must(t, err)
	must(t, g.Unlink("/f"))
	if got, err := g.ReadAll(f); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after unlink: %d bytes, %v", len(got), err)
	}
	f.DecRef()
	again, err := vfs.OpenPath(g.C, p.Path(), unix.O_RDONLY)
	must(t, err)
	if got, err := g.ReadAll(again); err != nil || !bytes.Equal(got, data) {
		t.Errorf("through O_PATH: %d bytes, %v", len(got), err)
	}
	again.DecRef()
	p.DecRef()
	if used := file.Usage(); used != 0 {
		t.Errorf("%d bytes are still allocated", used)
	}
}

// TestLowerFileShrinks cuts a lower file while it is open and before it goes up.
func TestLowerFileShrinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, make([]byte, 1<<20), 0o644))
	g, _ := guest(t, dir, memory)
	f, err := g.Open("/f", unix.O_RDWR, 0)
	must(t, err)
	defer f.DecRef()
	must(t, os.Truncate(path, 100))
	var buf [200]byte
	if n, err := f.PRead(g.C, mm.BytesBuffer(buf[:]), 0); n != 100 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := f.PWrite(g.C, mm.BytesBuffer([]byte("x")), 0); err != nil {
		t.Error(err)
	}
	must(t, os.Remove(path))
	if _, err := f.PRead(g.C, mm.BytesBuffer(buf[:]), 0); err != nil || buf[0] != 'x' {
		t.Errorf("%q, %v", buf[0], err)
	}
}

// TestLowerFileVanishes removes and replaces lower files that are known.
func TestLowerFileVanishes(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	for _, name := range []string{"/gone", "/other"} {
		must(t, h.Create(name, 0o644))
	}
	g, _ := guest(t, dir, memory)
	for _, name := range []string{"/gone", "/other"} {
		if _, err := g.Lstat(name); err != nil {
			t.Fatal(err)
		}
	}
	must(t, h.Unlink("/gone"))
	must(t, h.Unlink("/other"))
	must(t, h.Mkfifo("/other", 0o600))
	for name, want := range map[string]error{"/gone": unix.ENOENT, "/other": unix.ESTALE} {
		if err := g.WriteAt(name, []byte("x"), 0); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		must(t, g.Unlink(name))
		must(t, g.Create(name, 0o600))
	}
}

// TestFilesAreBounded makes files until there are too many.
func TestFilesAreBounded(t *testing.T) {
	file, err := mm.NewMemoryFile(memory)
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "low"), nil, 0o600))
	root, err := New(lowerTree(t, dir), Config{File: file, MaxFiles: 100})
	must(t, err)
	g, err := fstest.NewGuest(root)
	must(t, err)
	for round := range 3 {
		made := 0
		for ; made < 1000; made++ {
			if err := g.Create(fmt.Sprint("/f", made), 0o600); err != nil {
				if err != unix.ENOSPC {
					t.Fatal(err)
				}
				break
			}
		}
		if made != 100 {
			t.Fatalf("round %d: %d files", round, made)
		}
		if err := g.Chmod("/low", 0o644); err != unix.ENOSPC {
			t.Errorf("one more changed lower file: %v", err)
		}
		for i := range made {
			must(t, g.Unlink(fmt.Sprint("/f", i)))
		}
	}
}

// TestNamesAndTextsAreBounded makes what takes no memory file.
func TestNamesAndTextsAreBounded(t *testing.T) {
	file, err := mm.NewMemoryFile(memory)
	must(t, err)
	root, err := New(lowerTree(t, t.TempDir()), Config{File: file, MaxFiles: 50, MaxMeta: 100000})
	must(t, err)
	g, err := fstest.NewGuest(root)
	must(t, err)
	must(t, g.Create("/f", 0o600))
	until := func(what string, want int, make func(i int) error) {
		t.Helper()
		for i := range 1000 {
			if err := make(i); err != nil {
				if i != want || err != unix.ENOSPC {
					t.Errorf("%d %s, then %v", i, what, err)
				}
				return
			}
		}
		t.Errorf("%s without end", what)
	}
	until("links", 49, func(i int) error { return g.Link("/f", fmt.Sprint("/l", i)) })
	for i := range 49 {
		must(t, g.Unlink(fmt.Sprint("/l", i)))
	}
	until("texts", 24, func(i int) error { return g.Symlink(strings.Repeat("x", 4095), fmt.Sprint("/s", i)) })
	for i := range 24 {
		must(t, g.Unlink(fmt.Sprint("/s", i)))
	}
	until("attributes", 1, func(i int) error {
		return g.SetXattr("/f", fmt.Sprint("user.", i), strings.Repeat("x", 60000), 0)
	})
}

// TestFIFOsAreTheSandboxsOwn passes bytes through a FIFO that the lower directory has.
func TestFIFOsAreTheSandboxsOwn(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Mkfifo("/low", 0o600))
	g, _ := guest(t, dir, memory)
	must(t, g.Mkfifo("/high", 0o600))
	for _, name := range []string{"/low", "/high"} {
		r, err := g.Open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		must(t, err)
		w, err := g.Open(name, unix.O_WRONLY, 0)
		must(t, err)
		_, err = w.Write(g.C, mm.BytesBuffer([]byte("hello")))
		must(t, err)
		w.DecRef()
		if got, err := g.ReadAll(r); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		r.DecRef()
	}
}

// TestExtendedAttributesGoUp changes one of two that a lower file has.
func TestExtendedAttributesGoUp(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/f", 0o644))
	if err := h.SetXattr("/f", "user.a", "1", 0); err != nil {
		t.Skip("the host's file system has no extended attributes: ", err)
	}
	must(t, h.SetXattr("/f", "user.b", "2", 0))
	g, _ := guest(t, dir, memory)
	must(t, g.SetXattr("/f", "user.a", "3", unix.XATTR_REPLACE))
	all := map[string]string{"user.a": "3", "user.b": "2"}
	if err := g.SetXattr("/f", "security.capability", "x", 0); err == nil {
		all["security.capability"] = "x"
	} else if os.Geteuid() == 0 {
		t.Error(err)
	}
	for name, want := range all {
		if got, err := g.GetXattr("/f", name); got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, _ := h.GetXattr("/f", "user.a"); got != "1" {
		t.Errorf("below: %q", got)
	}
	big := strings.Repeat("x", 60000)
	must(t, g.SetXattr("/f", "user.c", big, 0))
	must(t, g.SetXattr("/f", "user.d", big, 0))
	if err := g.SetXattr("/f", "user.e", big, 0); err != unix.ENOSPC {
		t.Errorf("too much: %v", err)
	}
}

// TestMappingsStayBelow maps before and after copying up.
func TestMappingsStayBelow(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 3*mm.PageSize+1), 0o755))
	g, _ := guest(t, dir, memory)
	f, err := g.Open("/f", unix.O_RDONLY, 0)
	must(t, err)
	before, err := f.Mappable()
	must(t, err)
	ar := mm.Range{Start: 0, End: 8 * mm.PageSize}
	must(t, before.AddMapping(nil, ar, 0, false))
	back, err := before.Translate(mm.PageSize, 8*mm.PageSize, false)
	must(t, err)
	if back.Mem || back.Offset != mm.PageSize || back.Length != 3*mm.PageSize {
		t.Errorf("%+v", back)
	}
	if err := before.AddMapping(nil, ar, 0, true); err == nil {
		t.Error("a writable mapping of a lower file")
	}
	w, err := g.Open("/f", unix.O_RDWR, 0)
	must(t, err)
	above, err := w.Mappable()
	must(t, err)
	if above == before {
		t.Error("a writable file maps the lower one")
	}
	f.DecRef()
	w.DecRef()
	if _, err := before.Translate(0, mm.PageSize, false); err != nil {
		t.Errorf("the descriptor went with the file: %v", err)
	}
	if _, err := before.Translate(4*mm.PageSize, mm.PageSize, false); err != unix.EFAULT {
		t.Errorf("behind the end: %v", err)
	}
	before.RemoveMapping(nil, mm.Range{Start: 0, End: 3 * mm.PageSize}, 0, false)
	before.RemoveMapping(nil, mm.Range{Start: 3 * mm.PageSize, End: 8 * mm.PageSize}, 3*mm.PageSize, false)
	if _, err := before.Translate(0, mm.PageSize, false); err == nil {
		t.Error("the descriptor is still open")
	}
}
