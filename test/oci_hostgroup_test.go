package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestContainerHostGroup looks for a container's control group on the host.
func TestContainerHostGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: control groups of the host cannot be made")
	}
	name := fmt.Sprintf("/sentry-test-%d/one", os.Getpid())
	dirs := func() []string {
		var all []string
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			found, _ := filepath.Glob(pattern + name)
			all = append(all, found...)
		}
		return all
	}
	t.Cleanup(func() {
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			found, _ := filepath.Glob(pattern + filepath.Dir(name))
			for _, dir := range found {
				os.Remove(dir)
			}
		}
	})
	shares := uint64(100)
	e := newEngine(t, platforms()[0], func(c *specs.Spec) {
		c.Process.Args = []string{"sleep", "1000"}
		c.Linux.CgroupsPath = name
		c.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	})
	r := e.do("create", "--pid-file", "pid", "one")
	if r.status != 0 {
		t.Fatal(r)
	}
	defer e.do("delete", "--force", "one")
	if len(dirs()) == 0 {
		t.Skip("control groups of the host cannot be made here")
	}
	pid, err := os.ReadFile(filepath.Join(e.bundle, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs() {
		if text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || !strings.Contains("\n"+string(text), "\n"+string(pid)+"\n") {
			t.Errorf("%s has %q, %v; want %s", dir, text, err, pid)
		}
	}
	e.must("delete", "--force", "one")
	if left := dirs(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
