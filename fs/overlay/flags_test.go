package overlay

import (
	"testing"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// TestFlags sets flags of files from below and of new ones.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Mkdir("/d", 0o755))
	must(t, h.Create("/d/low", 0o644))
	g, _ := guest(t, dir, memory)
	set := func(path string, flags uint32) {
		t.Helper()
		f, err := g.Open(path, unix.O_RDONLY, 0)
		must(t, err)
		defer f.DecRef()
		must(t, f.SetInodeFlags(g.C, flags))
		if got, err := f.InodeFlags(); got != flags || err != nil {
			t.Errorf("flags of %s: %#x, %v", path, got, err)
		}
	}
	must(t, g.Create("/d/high", 0o644))
	for _, path := range []string{"/d/low", "/d/high"} {
		set(path, vfs.FlagImmutable)
		if err := g.Unlink(path); err != unix.EPERM {
			t.Errorf("unlink of %s: %v", path, err)
		}
		if err := g.Append(path, []byte("x")); err != unix.EPERM {
			t.Errorf("write to %s: %v", path, err)
		}
		set(path, 0)
		must(t, g.Append(path, []byte("x")))
	}
	set("/d", vfs.FlagNoDump)
	must(t, g.Create("/d/new", 0o644))
	f, err := g.Open("/d/new", unix.O_RDONLY, 0)
	must(t, err)
	defer f.DecRef()
	if got, _ := f.InodeFlags(); got != vfs.FlagNoDump {
		t.Errorf("inherited %#x", got)
	}
}
