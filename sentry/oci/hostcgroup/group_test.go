package hostcgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	const hybrid = `30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
36 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
37 30 broken
`
	for _, c := range []struct {
		name, mounts, path string
		want               []string
	}{
		{"version 1 and 2", hybrid, "/a/b", []string{"unified/a/b", "cpu,cpuacct/a/b", "memory/a/b"}},
		{"relative", hybrid, "a", []string{"unified/a", "cpu,cpuacct/a", "memory/a"}},
		{"upwards", hybrid, "/../../a", []string{"unified/a", "cpu,cpuacct/a", "memory/a"}},
		{"none", "", "/a", nil},
	} {
		var got []string
		for _, d := range find(c.mounts, c.path).dirs {
			got = append(got, strings.TrimPrefix(d.path, "/sys/fs/cgroup/"))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestLimits sets limits in directories that stand for a host's.
func TestLimits(t *testing.T) {
	limits := Limits{Memory: 1 << 20, Shares: 512, Quota: 50_000, CPUs: "0"}
	for _, c := range []struct {
		name    string
		v1      []string
		files   []string
		want    map[string]string
		refused string
	}{
		{"version 1", []string{"cpu", "cpuset", "memory"},
			[]string{"memory.limit_in_bytes", "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpuset.cpus"},
			map[string]string{"memory.limit_in_bytes": "1048576", "cpu.shares": "512", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpuset.cpus": "0"}, ""},
		{"version 2", nil, []string{"memory.max", "cpu.weight", "cpu.max", "cpuset.cpus"},
			map[string]string{"memory.max": "1048576", "cpu.weight": "20", "cpu.max": "50000 100000", "cpuset.cpus": "0"}, ""},
		{"no controller of the name", []string{"memory"}, []string{"memory.limit_in_bytes"}, nil, "linux.resources.cpu.shares"},
		{"no such file", nil, []string{"memory.max"}, nil, "linux.resources.cpu.shares"},
	} {
		dir := t.TempDir()
		for _, f := range c.files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := (&Group{[]directory{{dir, dir, c.v1}}}).Set(limits)
		if c.refused != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.refused) {
				t.Errorf("%s: %v, want an error about %s", c.name, err, c.refused)
			}
			continue
		}
		got := map[string]string{}
		for _, f := range c.files {
			text, _ := os.ReadFile(filepath.Join(dir, f))
			got[f] = string(text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
}

// TestMake makes what is missing and removes only that.
func TestMake(t *testing.T) {
	old, fresh := t.TempDir(), filepath.Join(t.TempDir(), "a", "b")
	g := &Group{[]directory{{filepath.Dir(old), old, []string{"cpu"}}, {filepath.Dir(filepath.Dir(fresh)), fresh, []string{"memory"}}}}
	missing := g.Missing()
	if !slices.Equal(missing, []string{fresh}) {
		t.Errorf("missing: %q", missing)
	}
	if err := g.Make(missing); err != nil {
		t.Error(err)
	}
	if len(g.Missing()) != 0 {
		t.Errorf("still missing: %q", g.Missing())
	}
	for range 2 {
		if err := Remove(missing); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(g.Missing(), missing) {
		t.Errorf("missing after removal: %q", g.Missing())
	}
}
