package overlay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

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

// TestAnyPosition lists from positions that no listing ever gave.
func TestAnyPosition(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/low", 0o644))
	g, _ := guest(t, dir, memory)
	must(t, g.Create("/high", 0o644))
	for _, from := range []vfs.Inode{g.NS.Root().Inode(), lowerTree(t, dir)} {
		ops, err := from.Open(g.C, unix.O_RDONLY)
		must(t, err)
		for shift := range 64 {
			for _, pos := range []int64{1 << shift, 1<<shift - 1, 1<<shift + 1, -1 << shift} {
				n := 0
				_ = ops.(vfs.DirOps).ReadDir(g.C, pos, func(vfs.Dirent) bool { n++; return n < 100 })
				if n > 4 {
					t.Errorf("from %#x on: %d entries", pos, n)
				}
			}
		}
		ops.Release()
	}
}
