package host

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"gosentry/fs/host/fstest"

	"golang.org/x/sys/unix"
)

// privateMounts gives the test's thread mounts of its own, which end with it, and a directory for them.
func privateMounts(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip("no mount namespace: ", err)
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	// Before the directory is removed, with all in it.
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// mountAll mounts what a host has, and places where it should not be looked for, below dir.
func mountAll(t *testing.T, dir string) (devices uint64) {
	t.Helper()
	for _, name := range []string{"proc", "sys", "dev", "self", "files", "pts", "mqueue"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"version", "mem", "bound", "plain"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("file"), 0o644))
	}
	for _, m := range []struct{ source, at, fstype string }{
		{"proc", "proc", "proc"}, {"sysfs", "sys", "sysfs"}, {"tmpfs", "dev", "tmpfs"}, {"tmpfs", "files", "tmpfs"},
		{"mqueue", "mqueue", "mqueue"}, {"devpts", "pts", "devpts"},
		{"/proc/self", "self", ""}, {"/proc/version", "version", ""}, {"/proc/self/mem", "mem", ""}, {filepath.Join(dir, "plain"), "bound", ""},
	} {
		flags := uintptr(0)
		if m.fstype == "" {
			flags = unix.MS_BIND
		}
		if err := unix.Mount(m.source, filepath.Join(dir, m.at), m.fstype, flags, ""); err != nil {
			t.Fatalf("mount %s: %v", m.at, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "files/file"), []byte("file"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "dev/file"), []byte("file"), 0o644))
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dir, "dev"), &st))
	return Device(&st)
}

// TestKernelIsHidden looks for the host's kernel wherever it is mounted.
func TestKernelIsHidden(t *testing.T) {
	dir := privateMounts(t)
	devices := mountAll(t, dir)
	for name, cfg := range map[string]Config{"cached": cached, "live": uncached, "writable": writable, "sealed": {NoDev: true}} {
		cfg.Devices = devices
		g := guest(t, dir, cfg)
		for range 2 {
			for _, at := range []string{"/proc", "/sys", "/dev", "/self", "/pts", "/mqueue"} {
				if names, err := g.List(at); err != nil || len(names) != 0 {
					t.Errorf("%s: %s has %q, %v", name, at, names, err)
				}
				if s, err := g.Lstat(at); err != nil || s.Mode != unix.S_IFDIR|0o555 || s.Nlink != 2 {
					t.Errorf("%s: %s is %+v, %v", name, at, s, err)
				}
			}
			for _, at := range []string{"/proc/1/status", "/proc/self/mem", "/self/status", "/self/root", "/sys/kernel", "/dev/file", "/pts/ptmx"} {
				if _, err := g.Lstat(at); err != unix.ENOENT {
					t.Errorf("%s: %s: %v", name, at, err)
				}
			}
			for _, at := range []string{"/version", "/mem"} {
				if _, err := g.ReadFile(at); err != unix.ENXIO {
					t.Errorf("%s: %s: %v", name, at, err)
				}
			}
			for _, at := range []string{"/files/file", "/bound", "/plain"} {
				if text, err := g.ReadFile(at); err != nil || string(text) != "file" {
					t.Errorf("%s: %s is %q, %v", name, at, text, err)
				}
			}
		}
		for at, err := range map[string]error{
			"mkdir": g.Mkdir("/proc/x", 0o700), "create": g.Create("/dev/x", 0o600), "mkdir in mqueue": g.Mkdir("/mqueue/x", 0o700), "chmod": g.Chmod("/sys", 0o777),
			"write": g.WriteAt("/mem", []byte("x"), 0), "link": g.Link("/version", "/plain2"), "set": g.SetXattr("/proc", "user.x", "y", 0),
		} {
			if err == nil {
				t.Errorf("%s: %s is possible", name, at)
			}
		}
	}
}

// TestLaterMountsAreHidden mounts a kernel's file systems where a tree, by a descriptor that the host's mounts reach, has seen others.
func TestLaterMountsAreHidden(t *testing.T) {
	top := privateMounts(t)
	for name, cfg := range map[string]Config{"cached": cached, "live": uncached, "writable": writable} {
		dir := filepath.Join(top, name)
		must(t, os.Mkdir(dir, 0o755))
		h := fstest.Host{Dir: dir}
		must(t, h.Mkdir("/seen", 0o755))
		must(t, h.Mkdir("/other", 0o755))
		must(t, unix.Mount("tmpfs", filepath.Join(dir, "other"), "tmpfs", 0, ""))
		must(t, h.Create("/file", 0o644))
		g := guest(t, dir, cfg)
		for _, at := range []string{"/seen", "/other", "/file"} {
			if _, err := g.Lstat(at); err != nil {
				t.Fatal(err)
			}
		}
		must(t, unix.Unmount(filepath.Join(dir, "other"), 0)) // its device's number is free for the next
		must(t, unix.Mount("proc", filepath.Join(dir, "other"), "proc", 0, ""))
		must(t, unix.Mount("sysfs", filepath.Join(dir, "seen"), "sysfs", 0, ""))
		must(t, unix.Mount("/proc/self/mem", filepath.Join(dir, "file"), "", unix.MS_BIND, ""))
		for _, at := range []string{"/other/version", "/seen/kernel", "/other/self/mem", "/file"} {
			if _, err := g.ReadFile(at); err == nil {
				t.Errorf("%s: %s can be read", name, at)
			}
			if err := g.WriteAt(at, []byte("x"), 0); err == nil {
				t.Errorf("%s: %s can be written", name, at)
			}
		}
		for _, at := range []string{"/other", "/seen"} {
			if names, _ := g.List(at); len(names) != 0 {
				t.Errorf("%s: %s has %q", name, at, names)
			}
		}
	}
}

// TestMountPointsStay: a tree is a clone of the host's mounts, and what the host has mounted would be unmounted with the directory's name.
func TestMountPointsStay(t *testing.T) {
	dir := privateMounts(t)
	devices := mountAll(t, dir)
	h := fstest.Host{Dir: dir}
	must(t, h.Mkdir("/empty", 0o755))
	must(t, h.Create("/named", 0o644))
	before, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	home, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(home)
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	must(t, err)
	root, err := New(fd, Config{Devices: devices})
	must(t, err)
	g, err := fstest.NewGuest(root)
	must(t, err)
	// As in a sandbox, whose process has other mounts.
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Unmount(dir, unix.MNT_DETACH))
	for what, err := range map[string]error{
		"rmdir": g.Rmdir("/files"), "rmdir of what is hidden": g.Rmdir("/proc"), "unlink": g.Unlink("/bound"), "unlink of what is hidden": g.Unlink("/mem"),
		"rename": g.Rename("/files", "/gone", 0), "rename of what is hidden": g.Rename("/sys", "/gone", 0),
		"rename onto": g.Rename("/empty", "/files", 0), "rename onto a file": g.Rename("/named", "/bound", 0),
		"exchange": g.Rename("/empty", "/files", unix.RENAME_EXCHANGE),
	} {
		if err != unix.EBUSY {
			t.Errorf("%s: %v, want EBUSY", what, err)
		}
	}
	must(t, g.Rename("/empty", "/full", 0))
	must(t, g.Rmdir("/full"))
	must(t, g.Unlink("/named"))
	must(t, unix.Setns(home, unix.CLONE_NEWNS))
	if after, err := os.ReadFile("/proc/thread-self/mountinfo"); err != nil || !slices.Equal(after, before) {
		t.Errorf("%v, mounts were\n%s\nand are\n%s", err, before, after)
	}
}

// TestKernelIsNoTree makes no tree of what would be hidden in one.
func TestKernelIsNoTree(t *testing.T) {
	for _, path := range []string{"/proc", "/proc/self", "/proc/version", "/sys", "/proc/self/ns/net"} {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		if _, err := New(fd, writable); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", path, err)
		}
		must(t, unix.Close(fd))
	}
}

// TestKernelTypes goes by the room that a file system has where its kind is not known.
func TestKernelTypes(t *testing.T) {
	for _, c := range []struct {
		kind   int64
		blocks uint64
		hidden bool
	}{
		{unix.EXT4_SUPER_MAGIC, 1, false}, {unix.EXT4_SUPER_MAGIC, 0, true}, {unix.TMPFS_MAGIC, 0, false}, {unix.FUSE_SUPER_MAGIC, 0, false},
		{unix.PROC_SUPER_MAGIC, 7, true}, {0x12345678, 0, true}, {0x12345678, 1, false},
	} {
		if got := KernelType(&unix.Statfs_t{Type: c.kind, Blocks: c.blocks}) != ""; got != c.hidden {
			t.Errorf("%#x with %d blocks: %v", c.kind, c.blocks, got)
		}
	}
}

// TestDevicesKeepTheirNames where the host would open them; what has the name of a file may be opened as one.
func TestDevicesKeepTheirNames(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/file", 0o644))
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skip("no device can be made: ", err)
	}
	for _, sealed := range []bool{false, true} {
		g, want := guest(t, dir, Config{NoDev: sealed}), error(unix.EPERM)
		if sealed {
			want = nil
		}
		for _, c := range []struct {
			what string
			err  error
		}{
			{"link", g.Link("/null", "/null2")}, {"exchange", g.Rename("/file", "/null", unix.RENAME_EXCHANGE)}, {"rename", g.Rename("/null", "/new", 0)},
		} {
			if c.err != want {
				t.Errorf("sealed %v: %s: %v, want %v", sealed, c.what, c.err, want)
			}
		}
	}
}
