package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestContainerCycles makes and removes many, one after the other and at once: nothing of them is left.
func TestContainerCycles(t *testing.T) {
	adoptOrphans(t)
	t.Cleanup(removeGroups)
	cycles, atOnce := 30, 5
	if everything() {
		cycles, atOnce = 1000, 50
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, nil)
		e.bundle = e.bundleIn("cycle")
		var before traces
		for i := range cycles {
			if i == 1 {
				before = e.traces() // Go's own descriptors are open by now
			}
			e.must("create", "--pid-file", "pid", "c")
			e.must("start", "c")
			if i%10 == 0 {
				e.must("exec", "c", "true")
			}
			e.must("kill", "c", "KILL")
			e.must("delete", "--force", "c")
			e.gone("after a cycle")
			reap()
		}
		e.together(atOnce)
		if out := e.must("list", "-q"); out != "" {
			t.Errorf("left: %q", out)
		}
		e.gone("at the end")
		e.unchanged(before, "after all")
	})
}

// group is the control group of the host that the containers of bundleIn are below.
func group() string { return fmt.Sprintf("sentry-cycles-%d", os.Getpid()) }

func removeGroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		dirs, _ := filepath.Glob(pattern + group())
		for _, dir := range dirs {
			os.Remove(dir)
		}
	}
}

// bundleIn makes a further bundle with the same root file system, whose container has a control group of that name.
func (e *engine) bundleIn(name string) string {
	e.t.Helper()
	dir := e.t.TempDir()
	text, err := os.ReadFile(filepath.Join(e.bundle, "config.json"))
	if err != nil {
		e.t.Fatal(err)
	}
	var c specs.Spec
	if err := json.Unmarshal(text, &c); err != nil {
		e.t.Fatal(err)
	}
	shell("exec sleep 1000")(&c)
	if !filepath.IsAbs(c.Root.Path) {
		c.Root.Path = filepath.Join(e.bundle, c.Root.Path)
	}
	c.Linux.CgroupsPath = "/" + group() + "/" + name
	if err := os.WriteFile(filepath.Join(dir, "config.json"), marshal(e.t, &c), 0o644); err != nil {
		e.t.Fatal(err)
	}
	return dir
}

// together runs so many containers at the same time.
func (e *engine) together(n int) {
	var running, gone sync.WaitGroup
	running.Add(n)
	for i := range n {
		id := fmt.Sprint("together-", i)
		bundle := e.bundleIn(id)
		verb := func(args ...string) {
			if r := e.do(args...); r.status != 0 {
				e.t.Errorf("%q: %v", args, r)
			}
		}
		gone.Go(func() {
			verb("run", "-d", "--bundle", bundle, id)
			running.Done()
			running.Wait()
			verb("exec", id, "true")
			verb("state", id)
			verb("delete", "--force", id)
		})
	}
	gone.Wait()
}

// traces are what containers could leave behind.
type traces struct {
	children    int // of this process, zombies too
	descriptors int // of this process
	mounts      int // that name the containers' directory or a bundle
	groups      int // control groups of the host
	files       int // in the directory of containers, sockets too
}

// within tells that there are no more of any kind than before. There may be fewer: something older may still have been ending.
func (t traces) within(before traces) bool {
	return t.children <= before.children && t.descriptors <= before.descriptors && t.mounts <= before.mounts &&
		t.groups <= before.groups && t.files <= before.files
}

func (e *engine) traces() traces {
	count := func(patterns ...string) (n int) {
		for _, p := range patterns {
			list, _ := filepath.Glob(p)
			n += len(list)
		}
		return n
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	return traces{
		children:    len(children()),
		descriptors: count("/proc/self/fd/*"),
		mounts:      strings.Count(string(mounts), filepath.Dir(e.root)) + strings.Count(string(mounts), e.bundle),
		groups:      count("/sys/fs/cgroup/"+group()+"/*/", "/sys/fs/cgroup/*/"+group()+"/*/"),
		files:       count(e.root+"/*", e.root+"/.*", e.root+"/*/*"),
	}
}

// unchanged looks that nothing more is left than before; what ends may take a moment.
func (e *engine) unchanged(before traces, what string) {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		reap()
		after := e.traces()
		if after.within(before) {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("%s: before and after:\n%+v\n%+v", what, before, after)
		}
	}
}

// reap takes the statuses of sandboxes that ended, which this process adopted. No command may be under way.
func reap() {
	for _, pid := range children() {
		unix.Wait4(pid, nil, unix.WNOHANG, nil) //nolint:errcheck // it may live
	}
}
