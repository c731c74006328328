package host

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// guest shows dir as a guest's root.
func guest(t testing.TB, dir string, cfg Config) *fstest.Guest {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, err := New(fd, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g, err := fstest.NewGuest(root)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var (
	cached   = Config{ReadOnly: true, Cache: true}
	uncached = Config{ReadOnly: true}
	writable = Config{}
)

// plant makes a small tree with every type of file that this user may make.
func plant(t testing.TB, dir string) {
	t.Helper()
	h := fstest.Host{Dir: dir}
	must(t, h.Mkdir("/d", 0o755))
	must(t, h.Mkdir("/d/e", 0o700))
	must(t, h.Create("/f", 0o644))
	must(t, h.WriteAt("/f", []byte("some text"), 0))
	must(t, h.Create("/d/big", 0o600))
	must(t, h.WriteAt("/d/big", []byte("far"), 1<<20))
	must(t, h.Link("/f", "/d/hard"))
	must(t, h.Symlink("f", "/link"))
	must(t, h.Symlink("nowhere", "/dangling"))
	must(t, h.Symlink("/etc/passwd", "/d/outside"))
	must(t, h.Symlink("../..", "/d/up"))
	must(t, h.Mkfifo("/fifo", 0o600))
	must(t, unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0))
	if os.Getuid() == 0 {
		must(t, unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	if err := h.SetXattr("/f", "user.note", "v", 0); err != nil && err != unix.EOPNOTSUPP {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestShowsWhatTheHostShows(t *testing.T) {
	for name, cfg := range map[string]Config{"cached": cached, "live": uncached, "writable": writable} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir)
			g := guest(t, dir, cfg)
			want := fstest.Snapshot(fstest.Host{Dir: dir}, "/", fstest.Options{})
			for range 2 { // the second time from what is cached
				if got := fstest.Snapshot(g, "/", fstest.Options{}); got != want {
					t.Fatalf("want:\n%sgot:\n%s", want, got)
				}
			}
		})
	}
}

func TestNothingButFilesAndDirectoriesIsOpened(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir)
	g := guest(t, dir, cached)
	for path, want := range map[string]error{"/fifo": unix.ENXIO, "/socket": unix.ENXIO, "/null": unix.EACCES} {
		if _, err := g.Lstat(path); err != nil && path == "/null" {
			continue
		}
		if _, err := g.Open(path, unix.O_RDONLY, 0); err != want {
			t.Errorf("open %s: %v, want %v", path, err, want)
		}
	}
}

// TestFIFOIsNotTheHosts reads inside what was written inside, while the host's readers get nothing.
func TestFIFOIsNotTheHosts(t *testing.T) {
	dir := t.TempDir()
	g := guest(t, dir, writable)
	must(t, g.Mkfifo("/p", 0o600))
	outside, err := unix.Open(filepath.Join(dir, "p"), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(outside)
	r, err := g.Open("/p", unix.O_RDONLY, 0)
	must(t, err)
	defer r.DecRef()
	w, err := g.Open("/p", unix.O_WRONLY, 0)
	must(t, err)
	_, err = w.Write(g.C, mm.BytesBuffer([]byte("hello")))
	must(t, err)
	w.DecRef()
	if got, err := g.ReadAll(r); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := unix.Read(outside, make([]byte, 9)); err != unix.EAGAIN {
		t.Errorf("the host reads %d bytes, %v", n, err)
	}
}

func TestLinksLeadNowhereOutside(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir)
	g := guest(t, dir, cached)
	if _, err := g.ReadFile("/d/outside"); err != unix.ENOENT {
		t.Errorf("absolute link: %v", err)
	}
	if data, err := g.ReadFile("/d/up/../../f"); err != nil || string(data) != "some text" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestSwappedNames changes what a name stands for between lookup and open.
func TestSwappedNames(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	fd, _ := unix.Open(dir, unix.O_PATH, 0)
	root, err := New(fd, cached)
	must(t, err)
	swaps := map[string]func(path string) error{
		"link":   func(p string) error { return os.Symlink(secret, p) },
		"fifo":   func(p string) error { return unix.Mkfifo(p, 0o600) },
		"file":   func(p string) error { return os.WriteFile(p, []byte("other"), 0o600) },
		"socket": func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
	}
	for kind, swap := range swaps {
		name := "swapped-" + kind
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, nil, 0o600))
		i, err := root.Lookup(nil, name)
		must(t, err)
		must(t, os.Rename(path, path+".old"))
		must(t, swap(path))
		if _, err := i.Open(nil, unix.O_RDONLY); err != unix.ESTALE && err != unix.ENXIO {
			t.Errorf("%s: %v", name, err)
		}
	}
	sub, err := root.Lookup(nil, "d")
	must(t, err)
	must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "d.old")))
	must(t, os.Symlink("/etc", filepath.Join(dir, "d")))
	if _, err := sub.Lookup(nil, "passwd"); err == nil {
		t.Error("a link in place of a directory was followed")
	}
}

func TestBadNames(t *testing.T) {
	dir := t.TempDir()
	fd, _ := unix.Open(dir, unix.O_PATH, 0)
	root, err := New(fd, writable)
	must(t, err)
	for _, name := range []string{"", ".", "..", "a/b", "/etc", "a\x00b", string(make([]byte, 300))} {
		if _, err := root.Lookup(nil, name); err == nil {
			t.Errorf("lookup %q", name)
		}
		if _, err := root.Create(nil, name, vfs.NewAttr{Mode: unix.S_IFREG | 0o600}); err == nil {
			t.Errorf("create %q", name)
		}
		if err := root.Unlink(nil, name, root); err == nil {
			t.Errorf("unlink %q", name)
		}
	}
}

func TestReadOnlyTree(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir)
	g := guest(t, dir, cached)
	before := fstest.Snapshot(fstest.Host{Dir: dir}, "/", fstest.Options{})
	r := rand.New(rand.NewPCG(1, 1))
	for _, err := range []error{
		g.Create("/new", 0o600), g.WriteAt("/f", []byte("x"), 0), g.OpenTrunc("/f"), g.Truncate("/f", 1),
		g.Mkdir("/new", 0o700), g.Rmdir("/d/e"), g.Unlink("/f"), g.Rename("/f", "/g", 0), g.Link("/f", "/g"),
		g.Symlink("x", "/g"), g.Chmod("/f", 0o777), g.Utimes("/f", 1), g.SetXattr("/f", "user.x", "y", 0),
		g.RemoveXattr("/f", "user.note"), g.Mkfifo("/g", 0o600),
	} {
		if err != unix.EROFS {
			t.Errorf("%v", err)
		}
	}
	for range 200 {
		fstest.RandomStep(r).Do(g)
	}
	if after := fstest.Snapshot(fstest.Host{Dir: dir}, "/", fstest.Options{}); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// TestRandomChanges does the same to two directories, one of them through the tree.
func TestRandomChanges(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	seed := uint64(time.Now().UnixNano())
	for i := range 25 {
		dirs := [2]string{t.TempDir(), t.TempDir()}
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		g := guest(t, dirs[1], writable)
		if diff := fstest.Run(r, 120, fstest.Host{Dir: dirs[0]}, g, fstest.Options{}); diff != "" {
			t.Fatalf("seed %d, %d:\n%s", seed, i, diff)
		}
		// The host agrees with what the guest sees.
		want := fstest.Snapshot(fstest.Host{Dir: dirs[1]}, "/", fstest.Options{})
		if got := fstest.Snapshot(g, "/", fstest.Options{}); got != want {
			t.Fatalf("seed %d, %d: want:\n%sgot:\n%s", seed, i, want, got)
		}
	}
}

// TestFollowsTheHost changes a writable tree from outside.
func TestFollowsTheHost(t *testing.T) {
	dir := t.TempDir()
	g := guest(t, dir, writable)
	h := fstest.Host{Dir: dir}
	steps := []func() error{
		func() error { return h.Mkdir("/a", 0o700) },
		func() error { return h.Create("/a/f", 0o600) },
		func() error { return h.WriteAt("/a/f", []byte("text"), 0) },
		func() error { return h.Rename("/a", "/b", 0) },
		func() error { return h.Mkdir("/a", 0o755) },
		func() error { return h.Rename("/b/f", "/a/g", 0) },
		func() error { return h.Chmod("/a/g", 0o640) },
		func() error { return h.Unlink("/a/g") },
		func() error { return h.Symlink("b", "/a/g") },
		func() error { return h.Rename("/a", "/b", unix.RENAME_EXCHANGE) },
		func() error { return h.Rmdir("/a") },
	}
	for i, step := range steps {
		must(t, step())
		want := fstest.Snapshot(h, "/", fstest.Options{})
		if got := fstest.Snapshot(g, "/", fstest.Options{}); got != want {
			t.Fatalf("step %d: want:\n%sgot:\n%s", i, want, got)
		}
	}
}

// TestNewFileItsCreatorCouldNotOpen creates files whose modes allow nothing.
func TestNewFileItsCreatorCouldNotOpen(t *testing.T) {
	dir := t.TempDir()
	g := guest(t, dir, writable)
	before := openFDs(t)
	for i := range 2 * parkSlots {
		f, err := g.Open(fmt.Sprint("/f", i), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0)
		must(t, err)
		f.DecRef()
	}
	if n := openFDs(t); n > before {
		t.Errorf("%d descriptors are open, %d before", n, before)
	}
}

func openFDs(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// TestNameless changes what has no name: the root, and a file that was removed while open.
func TestNameless(t *testing.T) {
	dir := t.TempDir()
	g := guest(t, dir, writable)
	h := fstest.Host{Dir: dir}
	must(t, g.Chmod("/", 0o711))
	must(t, g.Utimes("/", 12345))
	if st, err := h.Stat("/"); err != nil || st.Mode&0o777 != 0o711 || st.Mtime != 12345 {
		t.Errorf("%v, %v", st, err)
	}
	f, err := g.Open("/f", unix.O_CREAT|unix.O_RDWR, 0o600)
	must(t, err)
	defer f.DecRef()
	must(t, g.Unlink("/f"))
	must(t, vfs.ChangeMode(g.C, f.Path(), 0o640))
	must(t, vfs.SetTimes(g.C, f.Path(), &[2]unix.Timespec{{Sec: 1}, {Sec: 2}}))
	must(t, f.Truncate(g.C, 77))
	a, err := f.Attr()
	if err != nil || a.Mode != unix.S_IFREG|0o640 || a.Mtime.Sec < 2 || a.Size != 77 || a.Nlink != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	must(t, g.Mkdir("/d", 0o700))
	d, err := g.Open("/d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer d.DecRef()
	must(t, g.Rmdir("/d"))
	if a, err := d.Attr(); err != nil || a.Nlink != 0 {
		t.Errorf("removed directory: %+v, %v", a, err)
	}
	if _, err := g.Entries(d, 10); err != unix.ENOENT {
		t.Errorf("listing a removed directory: %v", err)
	}
}

// TestDirectoriesGiveWay walks more directories than may be open at once.
func TestDirectoriesGiveWay(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	const wide, deep = 60, 4
	for i := range wide {
		p := ""
		for j := range deep {
			p += fmt.Sprintf("/%d.%d", i, j)
			must(t, h.Mkdir(p, 0o755))
		}
		must(t, h.Create(p+"/f", 0o644))
	}
	g := guest(t, dir, Config{ReadOnly: true, Cache: true, MaxDirs: 8})
	before := openFDs(t)
	var lists []*vfs.File
	for i := range wide {
		f, err := g.Open(fmt.Sprintf("/%d.0/%d.1", i, i), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		lists = append(lists, f)
	}
	for range 2 {
		for i, f := range lists {
			_, err := f.Seek(g.C, 0, unix.SEEK_SET)
			must(t, err)
			got, err := g.Entries(f, 2)
			must(t, err)
			if len(got) != 3 || !slices.ContainsFunc(got, func(e vfs.Dirent) bool { return e.Name == fmt.Sprintf("%d.2", i) }) {
				t.Fatalf("%d: %v", i, got)
			}
			if _, err := g.ReadFile(fmt.Sprintf("/%d.0/%d.1/%d.2/%d.3/f", i, i, i, i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := openFDs(t); n > before+8 {
			t.Fatalf("%d descriptors are open, %d before", n, before)
		}
	}
	for _, f := range lists {
		f.DecRef()
	}
}

// TestDescriptorsRunOut makes the host refuse more descriptors: directories give theirs up.
func TestDescriptorsRunOut(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	for i := range 30 {
		must(t, h.Mkdir(fmt.Sprint("/", i), 0o755))
		must(t, h.Create(fmt.Sprint("/", i, "/f"), 0o644))
	}
	g := guest(t, dir, Config{ReadOnly: true, Cache: true, MaxDirs: 1000})
	for i := range 30 {
		if _, err := g.Lstat(fmt.Sprint("/", i, "/f")); err != nil {
			t.Fatal(err)
		}
	}
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(openFDs(t)) - 1, Max: old.Max}))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	var files []*vfs.File
	var failure error
	for i := range 30 {
		f, err := g.Open(fmt.Sprint("/", i, "/f"), unix.O_RDONLY, 0)
		if err != nil {
			failure = err
			break
		}
		files = append(files, f)
	}
	if len(files) < 20 || failure != nil && failure != unix.ENFILE {
		t.Errorf("%d files, then %v", len(files), failure)
	}
	for _, f := range files {
		f.DecRef()
	}
}

// settleFDs has what other tests left closed, and no garbage collected until the end of this one: descriptors would become free by that.
func settleFDs(t *testing.T) {
	t.Helper()
	for n, was := openFDs(t), -1; n != was; n, was = openFDs(t), n {
		runtime.GC()
		time.Sleep(20 * time.Millisecond) // for cleanups
	}
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
}

// TestReserved opens files until no more may be: some descriptors are left for others.
func TestReserved(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	for i := range 40 {
		must(t, h.Create(fmt.Sprint("/", i), 0o644))
	}
	g := guest(t, dir, Config{})
	settleFDs(t)
	next, err := unix.Dup(0)
	must(t, err)
	unix.Close(next)
	before := openFDs(t)
	g.NS.Root().Inode().(*liveInode).tree.mostFD = next + 20
	var failure error
	for i := 0; failure == nil && i < 40; i++ {
		var f *vfs.File
		if f, failure = g.Open(fmt.Sprint("/", i), unix.O_RDONLY, 0); failure == nil {
			defer f.DecRef()
		}
	}
	if n := openFDs(t); failure != unix.ENFILE || n > before+20 {
		t.Errorf("%d descriptors are open, %d before, then %v", n, before, failure)
	}
	for i := range 40 {
		if _, err := g.Open(fmt.Sprint("/new", i), unix.O_WRONLY|unix.O_CREAT, 0o644); err != unix.ENFILE {
			t.Fatalf("a new file: %v", err)
		}
	}
	if n := openFDs(t); n > before+20 {
		t.Errorf("%d descriptors are open, %d before", n, before)
	}
	if limit := openFiles(); guestFiles() > limit-min(reserved, limit/4) || guestFiles() < limit/2 {
		t.Errorf("files may have %d of %d descriptors", guestFiles(), limit)
	}
}

// TestHugeDirectory lists more than one buffer takes, in pieces of all sizes.
func TestHugeDirectory(t *testing.T) {
	dir := t.TempDir()
	want := map[string]bool{".": true, "..": true}
	for i := range 3000 {
		name := fmt.Sprintf("%d-%0100d", i, i)
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		want[name] = true
	}
	g := guest(t, dir, cached)
	for _, per := range []int{1, 7, 100, 5000} {
		f, err := g.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		all, err := g.Entries(f, per)
		must(t, err)
		seen := map[string]bool{}
		for _, e := range all {
			if seen[e.Name] || !want[e.Name] {
				t.Fatalf("%d a call: %q", per, e.Name)
			}
			seen[e.Name] = true
		}
		if len(seen) != len(want) {
			t.Fatalf("%d a call: %d of %d", per, len(seen), len(want))
		}
		// From a position in the middle on, again.
		_, err = f.Seek(g.C, all[1000].Next, unix.SEEK_SET)
		must(t, err)
		rest, err := g.Entries(f, per)
		must(t, err)
		if !slices.Equal(rest, all[1001:]) {
			t.Fatalf("%d a call: from the middle on it differs", per)
		}
		f.DecRef()
	}
}

// TestSetIDThroughAnotherName: a write takes set-id bits from a file whose names are different inodes to the tree.
func TestSetIDThroughAnotherName(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the host itself takes them where the sentry has no CAP_FSETID")
	}
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/f", 0o666))
	must(t, h.Chmod("/f", 0o666))
	must(t, h.Link("/f", "/hard"))
	g := guest(t, dir, writable)
	f, err := g.Open("/f", unix.O_WRONLY, 0)
	must(t, err)
	defer f.DecRef()
	other := &fstest.Caller{Cred: cred.New(7, 7, nil, nil)}
	for range 2 {
		_, err = f.Write(other, mm.BytesBuffer([]byte("x")))
		must(t, err)
		if s, err := h.Stat("/f"); err != nil || s.Mode != unix.S_IFREG|0o666 {
			t.Errorf("after a write: %+v, %v", s, err)
		}
		must(t, g.Chmod("/hard", 0o4666))
	}
}
