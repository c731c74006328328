package overlay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
		if n, used := fs.files.Load(), file.Usage(); n != 0 || used != 0 {
			t.Fatalf("seed %d, %d: %d files and %d bytes are left", seed, i, n, used)
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

// TestTruncationCopiesOnlyWhatStays cuts a file that would not fit.
func TestTruncationCopiesOnlyWhatStays(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/big", 0o644))
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range int64(8) {
		must(t, h.WriteAt("/big", data, i<<20))
	}
	g, file := guest(t, dir, 2<<20)
	if err := g.WriteAt("/big", []byte("x"), 0); err != unix.ENOSPC {
		t.Errorf("writing to more than there is memory for: %v", err)
	}
	if used := file.Usage(); used != 0 {
		t.Errorf("%d bytes stay allocated after a failed copy", used)
	}
	must(t, g.Chmod("/big", 0o600)) // needs no memory
	must(t, g.Truncate("/big", 1<<20+5))
	got, err := g.ReadFile("/big")
	must(t, err)
	if len(got) != 1<<20+5 || !bytes.Equal(got[:1<<20], data) || string(got[1<<20:]) != "01234" {
		t.Errorf("%d bytes", len(got))
	}
	must(t, g.OpenTrunc("/big"))
	if used := file.Usage(); used != 0 {
		t.Errorf("%d bytes are allocated for an empty file", used)
	}
}

// TestHolesStayHoles copies a file of 1 TiB with little in it.
func TestHolesStayHoles(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/sparse", 0o644))
	must(t, h.WriteAt("/sparse", []byte("middle"), 1<<39))
	must(t, h.Truncate("/sparse", 1<<40))
	g, file := guest(t, dir, memory)
	must(t, g.WriteAt("/sparse", []byte("start"), 0))
	st, err := g.Stat("/sparse")
	must(t, err)
	if st.Size != 1<<40 || file.Usage() > 1<<20 {
		t.Errorf("size %d, %d bytes allocated", st.Size, file.Usage())
	}
	f, err := g.Open("/sparse", unix.O_RDONLY, 0)
	must(t, err)
	defer f.DecRef()
	var buf [6]byte
	if _, err := f.PRead(g.C, mm.BytesBuffer(buf[:]), 1<<39); err != nil || string(buf[:]) != "middle" {
		t.Errorf("%q, %v", buf, err)
	}
}

// TestInterruptedCopyGoesOn interrupts a copy up at each piece.
func TestInterruptedCopyGoesOn(t *testing.T) {
	dir := t.TempDir()
	want := make([]byte, 5*copyChunk+77)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	must(t, os.WriteFile(filepath.Join(dir, "f"), want, 0o644))
	g, _ := guest(t, dir, memory)
	calls := 0
	g.C.Due = func() bool { calls++; return calls%3 == 0 }
	tries := 0
	for g.WriteAt("/f", []byte("new"), 0) == unix.EINTR {
		if tries++; tries > 20 {
			t.Fatal("the copy never ends")
		}
	}
	if tries == 0 {
		t.Error("the copy was not interrupted")
	}
	g.C.Due = nil
	copy(want, "new")
	if got, err := g.ReadFile("/f"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestCopyUpTogether has many writers at once begin with the same lower file.
func TestCopyUpTogether(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o644))
	g, _ := guest(t, dir, memory)
	errs := make(chan error)
	const writers = 16
	for i := range writers {
		go func() { errs <- g.WriteAt("/f", []byte{byte(i + 1)}, int64(i)*70000) }()
	}
	for range writers {
		must(t, <-errs)
	}
	got, err := g.ReadFile("/f")
	must(t, err)
	for i := range writers {
		if got[i*70000] != byte(i+1) {
			t.Errorf("writer %d's byte is lost", i)
		}
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

// TestListingWhileItChanges removes what it lists, as rm -r does.
func TestListingWhileItChanges(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	g, _ := guest(t, dir, memory)
	const each = 700
	for i := range each {
		must(t, h.Create(fmt.Sprint("/low", i), 0o644))
		must(t, g.Create(fmt.Sprint("/high", i), 0o644))
	}
	f, err := g.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer f.DecRef()
	seen := map[string]bool{}
	for round := 0; ; round++ {
		var got []string
		must(t, f.ReadDir(g.C, func(e vfs.Dirent) bool {
			if len(got) == 10 {
				return false
			}
			got = append(got, e.Name)
			return true
		}))
		if len(got) == 0 {
			break
		}
		for _, name := range got {
			if seen[name] {
				t.Fatalf("%s comes twice", name)
			}
			seen[name] = true
			if name != "." && name != ".." {
				must(t, g.Unlink("/"+name))
			}
		}
		must(t, g.Create(fmt.Sprint("/new", round), 0o600)) // must not make it endless
	}
	for i := range each {
		if !seen[fmt.Sprint("low", i)] || !seen[fmt.Sprint("high", i)] {
			t.Fatalf("%d was not listed", i)
		}
	}
	names, err := g.List("/")
	must(t, err)
	for _, n := range names {
		if !strings.HasPrefix(n, "new") {
			t.Errorf("%s is left", n)
		}
	}
}

// TestPositionsStayGood goes back to each position of a listing.
func TestPositionsStayGood(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	for i := range 3 * markEvery {
		must(t, h.Create(fmt.Sprint("/low", i), 0o644))
	}
	g, _ := guest(t, dir, memory)
	for i := range 10 {
		must(t, g.Create(fmt.Sprint("/high", i), 0o644))
		must(t, g.Unlink(fmt.Sprint("/low", i*100)))
	}
	f, err := g.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer f.DecRef()
	all, err := g.Entries(f, 50)
	must(t, err)
	if len(all) != 3*markEvery+2 {
		t.Fatalf("%d entries", len(all))
	}
	for i := len(all) - 2; i >= 0; i -= 97 {
		_, err := f.Seek(g.C, all[i].Next, unix.SEEK_SET)
		must(t, err)
		rest, err := g.Entries(f, 1000)
		must(t, err)
		if !slices.Equal(rest, all[i+1:]) {
			t.Fatalf("from position %d on it differs", all[i].Next)
		}
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
	must(t, g.SetXattr("/f", "security.capability", "x", 0))
	for name, want := range map[string]string{"user.a": "3", "user.b": "2", "security.capability": "x"} {
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
