package sandbox

import (
	"slices"
	"testing"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

const mountinfo = `22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:21 / /sys rw - sysfs sysfs rw
24 22 0:5 / /dev rw - devtmpfs devtmpfs rw
25 22 0:22 / /proc rw,nosuid shared:3 - proc proc rw
26 23 0:23 / /sys/fs/cgroup rw - cgroup2 none rw
27 22 0:24 / /run rw - tmpfs tmpfs rw
28 22 0:25 / /srv/a\040b/proc rw - proc proc rw
`

func TestKernelMounts(t *testing.T) {
	points := parseMounts(mountinfo)
	if want := []string{"/sys", "/dev", "/proc", "/sys/fs/cgroup", "/srv/a b/proc"}; !slices.Equal(points, want) {
		t.Errorf("got %q, want %q", points, want)
	}
	for dir, want := range map[string][]string{
		"/":         {"sys", "dev", "proc", "sys/fs/cgroup", "srv/a b/proc"},
		"/srv/a b/": {"proc"},
		"/srv/a":    nil,
		"/sys":      {"fs/cgroup"},
	} {
		if got := hideFor(dir, points); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", dir, got, want)
		}
	}
}

// tree is a directory in which every name leads to a directory.
type tree struct {
	vfs.NoInode
	path string
}

func (d *tree) Attr() (vfs.Attr, error) { return vfs.Attr{Mode: unix.S_IFDIR | 0o755, Ino: 7}, nil }

func (d *tree) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	return &tree{path: d.path + "/" + name}, nil
}

func TestMask(t *testing.T) {
	root := newMask([]string{"proc", "sys", "sys/fs/cgroup", "srv/x/proc"}).apply(&tree{})
	look := func(names ...string) (vfs.Inode, error) {
		i, err := root, error(nil)
		for _, n := range names {
			if i, err = i.Lookup(nil, n); err != nil {
				return nil, err
			}
		}
		return i, nil
	}
	for _, hidden := range [][]string{{"proc", "1"}, {"sys", "fs"}, {"srv", "x", "proc", "self"}} {
		if _, err := look(hidden...); err != unix.ENOENT {
			t.Errorf("%q: %v, want ENOENT", hidden, err)
		}
	}
	for _, shown := range [][]string{{"etc", "passwd"}, {"srv", "x", "etc"}, {"srv", "proc", "1"}} {
		if _, err := look(shown...); err != nil {
			t.Errorf("%q: %v", shown, err)
		}
	}
	proc, err := look("proc")
	if err != nil {
		t.Fatal(err)
	}
	ops, err := proc.Open(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = ops.(vfs.DirOps).ReadDir(nil, 0, func(e vfs.Dirent) bool { names = append(names, e.Name); return true })
	if err != nil || !slices.Equal(names, []string{".", ".."}) {
		t.Errorf("an empty directory lists %q, %v", names, err)
	}
}
