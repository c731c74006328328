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
	one := fmt.Sprintf("/sentry-test-%d/one", os.Getpid())
	testHostGroup(t, one, one)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		slice := fmt.Sprintf("sentrytest%d.slice", os.Getpid())
		testHostGroup(t, slice+":by:one", "/"+slice+"/by-one.scope")
	}
}

// testHostGroup has a configuration's cgroupsPath, and name is where that is in each hierarchy.
func testHostGroup(t *testing.T, cgroupsPath, name string) {
	t.Helper()
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
		c.Linux.CgroupsPath = cgroupsPath
		c.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares, Cpus: "0"}}
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
	e.provide("nproc")
	e.must("start", "one")
	expect(t, "processors", e.must("exec", "one", "nproc"), "1\n")
	setting := func(v1, v2 string) string {
		for _, dir := range dirs() {
			for _, name := range []string{v1, v2} {
				if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
					return strings.TrimSpace(string(text))
				}
			}
		}
		return ""
	}
	e.must("update", "--memory", "64M", "--cpu-share", "2048", "one")
	expect(t, "memory", setting("memory.limit_in_bytes", "memory.max"), fmt.Sprint(64<<20+8<<20+64<<20))
	if got := setting("cpu.shares", "cpu.weight"); got != "2048" && got != "79" {
		t.Errorf("shares: %q", got)
	}
	e.must("update", "--memory", "32M", "--cpu-quota", "50000", "one")
	expect(t, "less memory", setting("memory.limit_in_bytes", "memory.max"), fmt.Sprint(32<<20+4<<20+64<<20))
	if got := setting("cpu.cfs_quota_us", "cpu.max"); got != "50000" && got != "50000 100000" {
		t.Errorf("quota: %q", got)
	}
	if r := e.do("update", "--memory", "16M", "--cpuset-cpus", "5000", "one"); r.status == 0 || !strings.Contains(r.stderr, "linux.resources.cpu.cpus") {
		t.Errorf("a processor that is not there: %v", r)
	}
	if u := e.usage("one"); u.Memory.Usage.Limit != 32<<20 {
		t.Errorf("after an update that failed: %+v", u)
	}
	e.must("update", "--memory", "-1", "--cpu-quota", "-1", "one")
	if got := setting("cpu.cfs_quota_us", "cpu.max"); got != "-1" && got != "max 100000" {
		t.Errorf("no quota: %q", got)
	}
	e.must("delete", "--force", "one")
	if left := dirs(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
