package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"gosentry/fs/host"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// A directory that the sentry may search and not list must say so.
func TestUnlistableDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root lists everything; the sentry has no capabilities, this test has")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o300); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, err := host.New(fd, host.Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var c vfs.Caller
	child, err := root.Lookup(c, "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := child.Open(c, unix.O_RDONLY); err != unix.EACCES {
		t.Errorf("opening it: %v, want EACCES", err)
	}
}
