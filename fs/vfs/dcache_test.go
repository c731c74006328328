package vfs_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// alive counts names that are in memory after a collection.
func alive(names []weak.Pointer[vfs.Dentry]) int {
	runtime.GC()
	runtime.GC()
	n := 0
	for _, p := range names {
		if p.Value() != nil {
			n++
		}
	}
	return n
}

// settled is alive once that is want, or has not come to it for long: a stack may still have had one that nobody uses.
func settled(names []weak.Pointer[vfs.Dentry], want int) int {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if n := alive(names); n == want || time.Now().After(end) {
			return n
		}
	}
}

// TestCacheIsBounded looks up more names than are kept.
func TestCacheIsBounded(t *testing.T) {
	tr := newTree(t).make("d/")
	var names []weak.Pointer[vfs.Dentry]
	for i := range 12000 {
		name := fmt.Sprintf("d/f%d", i)
		tr.must(vfs.MknodAt(root, tr.args(), name, unix.S_IFREG|0o644, 0, 0, 0))
		names = append(names, weak.Make(tr.path(name).Dentry))
	}
	held := tr.path("d/f3")
	names = append(names, weak.Make(held.Dentry))
	if n := alive(names); n < 4000 || n > 8200 {
		t.Errorf("%d names of %d are kept", n, len(names))
	}
	tr.sys.DropCache()
	if n := settled(names, 1); n != 1 {
		t.Errorf("%d names are kept that nobody uses", n-1)
	}
	if tr.path("d/f3") != held {
		t.Error("a name in use was forgotten")
	}
	// All are found again, and absences pass through a table full of dead names.
	for i := range 12000 {
		tr.path(fmt.Sprintf("d/f%d", i))
		_, err := vfs.Walk(root, tr.args(), fmt.Sprintf("d/n%d", i))
		wantErr(t, "absence", err, unix.ENOENT)
	}
	runtime.KeepAlive(held)
}

// TestCachePins keeps what is mounted on, and open.
func TestCachePins(t *testing.T) {
	tr := newTree(t).make("a/", "a/m/", "a/f")
	tr.mount("a/m", 0)
	tr.make("a/m/inside")
	f := tr.open(root, "a/f", unix.O_RDONLY)
	defer f.DecRef()
	names := []weak.Pointer[vfs.Dentry]{weak.Make(f.Path().Dentry)}
	tr.sys.DropCache()
	if alive(names) != 1 {
		t.Fatal("an open file's name is gone")
	}
	tr.path("a/m/inside")
	if tr.path("a/f") != f.Path() {
		t.Error("another name for an open file")
	}
}

// TestRevalidate asks a directory that changes by itself.
func TestRevalidate(t *testing.T) {
	tr := newTree(t).make("p/")
	fs := &pseudo.FS{}
	dir := fs.NewDir(0o755)
	first := fs.NewText(0o444, "1")
	dir.Add("x", first)
	_, err := tr.ns.MountAt(tr.path("p"), dir, 0, "proc", "proc")
	tr.must(err)
	x := tr.path("p/x")
	if tr.path("p/x") != x {
		t.Error("a valid name was not kept")
	}
	_, err = vfs.Walk(root, tr.args(), "p/y")
	wantErr(t, "y", err, unix.ENOENT)
	dir.Add("y", fs.NewText(0o444, "y"))
	tr.path("p/y")
	dir.Add("x", fs.NewText(0o444, "2"))
	if tr.path("p/x") == x {
		t.Error("a replaced file is still found")
	}
	dir.Remove("x")
	_, err = vfs.Walk(root, tr.args(), "p/x")
	wantErr(t, "removed x", err, unix.ENOENT)
	// What is mounted on stays.
	sub := fs.NewDir(0o755)
	dir.Add("sub", sub)
	tr.mount("p/sub", 0)
	tr.make("p/sub/f")
	dir.Remove("sub")
	tr.path("p/sub/f")
}

// TestConcurrentTree changes a small tree from all sides. Every result must be one
// that some order explains, and the tree must stay a tree.
func TestConcurrentTree(t *testing.T) {
	tr := newTree(t).make("a/", "a/b/", "a/b/c/", "d/", "a/b/c/f")
	names := []string{"a", "a/b", "a/b/c", "d", "d/b", "a/b/c/d", "d/x", "a/b/c/f"}
	allowed := map[unix.Errno]bool{
		0: true, unix.ENOENT: true, unix.EEXIST: true, unix.ENOTEMPTY: true, unix.EINVAL: true,
		unix.ENOTDIR: true, unix.EISDIR: true, unix.EBUSY: true, unix.ELOOP: true,
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			seed := uint32(g*7919 + 1)
			next := func(n int) int {
				seed = seed*1664525 + 1013904223
				return int(seed>>16) % n
			}
			for range 2000 {
				a, b := names[next(len(names))], names[next(len(names))]
				var err error
				switch next(8) {
				case 0:
					err = vfs.MkdirAt(root, tr.args(), a, 0o755, 0)
				case 1:
					err = vfs.RmdirAt(root, tr.args(), a)
				case 2:
					err = vfs.RenameAt(root, tr.args(), a, tr.args(), b, 0)
				case 3:
					err = vfs.RenameAt(root, tr.args(), a, tr.args(), b, unix.RENAME_EXCHANGE)
				case 4:
					var f *vfs.File
					if f, err = vfs.Open(root, tr.args(), a, vfs.OpenArgs{Flags: unix.O_CREAT | unix.O_RDWR}); err == nil {
						vfs.PathName(tr.ns.Root(), f.Path())
						f.DecRef()
					}
				case 5:
					err = vfs.UnlinkAt(root, tr.args(), a)
				case 6:
					var p vfs.Path
					if p, err = vfs.Walk(root, tr.args(), a); err == nil {
						err = vfs.LinkAt(root, p, tr.args(), b)
						if errors.Is(err, unix.EPERM) {
							err = nil
						}
					}
				case 7:
					var f *vfs.File
					if f, err = vfs.Open(root, tr.args(), a, vfs.OpenArgs{Flags: unix.O_DIRECTORY}); err == nil {
						err = f.ReadDir(root, func(vfs.Dirent) bool { return true })
						f.DecRef()
					}
				}
				if !allowed[errno(err)] {
					t.Errorf("%s %s: %v", a, b, err)
				}
			}
		})
	}
	wg.Wait()
	tr.check(tr.ns.Root(), map[uint64]bool{})
}

// check compares what a directory lists with what is found by name, all the way down.
func (tr *tree) check(dir vfs.Path, seen map[uint64]bool) {
	if a, _ := vfs.Stat(root, dir); seen[a.Ino] {
		tr.t.Fatal("a directory is in two places")
	} else {
		seen[a.Ino] = true
	}
	f, err := vfs.OpenPath(root, dir, unix.O_RDONLY)
	tr.must(err)
	defer f.DecRef()
	subdirs := uint32(0)
	var names []vfs.Dirent
	tr.must(f.ReadDir(root, func(e vfs.Dirent) bool {
		names = append(names, e)
		return true
	}))
	for _, e := range names {
		p, err := vfs.Walk(root, vfs.WalkArgs{Root: tr.ns.Root(), Start: dir}, e.Name)
		tr.must(err)
		if a, _ := vfs.Stat(root, p); a.Ino != e.Ino || a.Nlink == 0 || p.Deleted() {
			tr.t.Errorf("%q lists inode %d, has %d with %d links, deleted %v", e.Name, e.Ino, a.Ino, a.Nlink, p.Deleted())
		}
		if e.Type == unix.DT_DIR && e.Name != "." && e.Name != ".." {
			subdirs++
			tr.check(p, seen)
		}
	}
	if a, _ := vfs.Stat(root, dir); a.Nlink != subdirs+2 {
		tr.t.Errorf("a directory with %d subdirectories has %d links", subdirs, a.Nlink)
	}
}
