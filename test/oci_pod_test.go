package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// pod drives a sandbox with several containers, as Kubernetes' runtimes do.
type pod struct {
	*engine
	pid int // of the sandbox, on the host
}

// annotate says what a container is to its pod.
func annotate(c *specs.Spec, part, sandbox string) {
	c.Annotations = map[string]string{"io.kubernetes.cri.container-type": part, "io.kubernetes.cri.sandbox-id": sandbox}
}

// newPod starts a pod's sandbox, the container "pause".
func newPod(t *testing.T, platform string) *pod {
	t.Helper()
	needRoot(t) // containers without files that root may write are those of TestContainerRootless
	e := newEngine(t, platform, func(c *specs.Spec) {
		shell("exec sleep 1000")(c)
		c.Hostname = "podhost"
		annotate(c, "sandbox", "pause")
	})
	e.must("create", "--pid-file", "pause.pid", "pause")
	t.Cleanup(func() {
		for _, id := range strings.Fields(e.must("list", "-q")) {
			e.must("delete", "--force", id)
		}
	})
	e.must("start", "pause")
	return &pod{e, e.pidFile("pause")}
}

// pidFile reads the pid file of a container.
func (e *engine) pidFile(id string) int {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.bundle, id+".pid"))
	if err != nil {
		e.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		e.t.Fatal(err)
	}
	return pid
}

// joins are the namespaces that containers of a pod have in common with its sandbox.
func joins(pid int, kinds ...specs.LinuxNamespaceType) []specs.LinuxNamespace {
	files := map[specs.LinuxNamespaceType]string{"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "user": "user"}
	var list []specs.LinuxNamespace
	for _, k := range kinds {
		list = append(list, specs.LinuxNamespace{Type: k, Path: fmt.Sprintf("/proc/%d/ns/%s", pid, files[k])})
	}
	return list
}

// bundleOf writes the bundle of a container of the pod, with its root file system, and returns its directory.
func (p *pod) bundleOf(script string, change func(*specs.Spec)) string {
	p.t.Helper()
	c := p.config()
	shell(script)(c)
	c.Hostname = ""
	c.Root.Path, c.Root.Readonly = filepath.Join(p.bundle, "rootfs"), false
	annotate(c, "container", "pause")
	c.Linux.Namespaces = append(joins(p.pid, "network", "ipc", "uts"), specs.LinuxNamespace{Type: "pid"},
		specs.LinuxNamespace{Type: "mount"}, specs.LinuxNamespace{Type: "cgroup"})
	if change != nil {
		change(c)
	}
	dir := p.t.TempDir()
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// config reads the sandbox's own configuration.
func (p *pod) config() *specs.Spec {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.bundle, "config.json"))
	var c specs.Spec
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return &c
}

// add creates and starts a container of the pod.
func (p *pod) add(id, script string, change func(*specs.Spec)) {
	p.t.Helper()
	p.must("create", "--bundle", p.bundleOf(script, change), "--pid-file", id+".pid", id)
	p.must("start", id)
}

// inside runs a script in a container and returns what it prints.
func (p *pod) inside(id, script string) string {
	p.t.Helper()
	return strings.TrimSpace(p.must("exec", id, "sh", "-c", script))
}

// exit waits for a container's end and returns its status.
func (p *pod) exit(id string) int {
	p.t.Helper()
	var end struct{ ExitStatus int }
	if err := json.Unmarshal([]byte(p.must("wait", id)), &end); err != nil {
		p.t.Fatal(err)
	}
	return end.ExitStatus
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestPod has two containers that share what they should, and nothing else.
func TestPod(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		p := newPod(t, platform)
		p.add("one", "echo one >/tmp/who; exec sleep 1000", func(c *specs.Spec) { c.Process.Env = append(c.Process.Env, "WHO=one") })
		p.add("two", "echo two >/tmp/who; exec sleep 1000", nil)
		for _, id := range []string{"one", "two"} {
			expect(t, id+": its file", p.inside(id, "until test -s /tmp/who; do true; done; cat /tmp/who"), id)
			expect(t, id+": the pod's name", p.inside(id, "hostname"), "podhost")
			expect(t, id+": control group", p.inside(id, "cat /proc/self/cgroup"), "0::/")
			expect(t, id+": its init", p.inside(id, "until grep -q ^sleep /proc/1/cmdline; do true; done; busybox tr '\\0' ' ' </proc/1/cmdline; echo; cat /sys/fs/cgroup/cgroup.procs | grep -c ."), "sleep 1000 \n4")
			expect(t, id+": status", string(p.status(id)), "running")
		}
		same := "for n in ipc uts net mnt pid cgroup; do ls -l /proc/self/ns/$n; done | busybox sed 's/.*-> //'"
		pause, one, two := strings.Fields(p.inside("pause", same)), strings.Fields(p.inside("one", same)), strings.Fields(p.inside("two", same))
		for i, n := range pause {
			if common := i < 3; common != (n == one[i]) || common != (n == two[i]) || common != (one[i] == two[i]) {
				t.Errorf("namespaces %s, %s and %s", n, one[i], two[i])
			}
		}
		p.must("pause", "one")
		expect(t, "one paused", string(p.status("one")), "paused")
		expect(t, "two beside it", p.inside("two", "echo alive"), "alive")
		p.must("resume", "one")
		p.must("kill", "one", "KILL")
		p.await("one", specs.StateStopped)
		expect(t, "two after one", p.inside("two", "echo alive"), "alive")
		p.must("delete", "one")
		// The name is free again.
		p.add("one", "exit 9", nil)
		p.await("one", specs.StateStopped)
		p.must("delete", "one")
		p.must("delete", "--force", "two")
		expect(t, "what is left", p.must("list", "-q"), "pause\n")
		expect(t, "groups that are left", p.inside("pause", "ls -d /sys/fs/cgroup/*/ 2>/dev/null; true"), "")
	})
}

// TestPodExit has the statuses of containers, and of their processes on the host.
func TestPodExit(t *testing.T) {
	p := newPod(t, platforms()[0])
	for script, want := range map[string]int{"exit 7": 7, "kill -TERM $$; sleep 9": 0, "sleep 0.3 & exit 3": 3} {
		if want == 0 {
			script, want = "trap 'exit 5' TERM; "+script, 5
		}
		dir := p.bundleOf(script, nil)
		if r := p.do("run", "--bundle", dir, "fore"); r.status != want {
			t.Errorf("%q: %v, want status %d", script, r, want)
		}
	}
	p.add("sleeper", "exec sleep 1000", nil)
	done := make(chan int, 1)
	go func() { done <- p.exit("sleeper") }()
	time.Sleep(100 * time.Millisecond)
	p.must("kill", "sleeper", "KILL")
	if got := <-done; got != 137 {
		t.Errorf("killed: status %d", got)
	}
	p.await("sleeper", specs.StateStopped)
	// The keeper is the container for the host: without it, it ends.
	p.add("kept", "exec sleep 1000", nil)
	if err := unix.Kill(p.pidFile("kept"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await("kept", specs.StateStopped)
	p.must("delete", "kept")
	if r := p.do("create", "--bundle", p.bundleOf("exit 0", nil), "kept"); r.status != 0 {
		t.Errorf("the name after that: %v", r)
	}
	// One that never ran.
	p.must("kill", "kept", "KILL")
	p.await("kept", specs.StateStopped)
	p.must("delete", "kept")
}

// TestPodSharesProcesses has a pod whose containers see each other's processes.
func TestPodSharesProcesses(t *testing.T) {
	p := newPod(t, platforms()[0])
	share := func(c *specs.Spec) {
		c.Linux.Namespaces = append(joins(p.pid, "network", "ipc", "uts", "pid"), specs.LinuxNamespace{Type: "mount"})
	}
	p.add("one", "sleep 1001 & sleep 1002 & wait", share)
	p.add("two", "exec sleep 1003", share)
	p.awaitProcesses("one", 3)
	p.awaitProcesses("two", 1)
	expect(t, "all", p.inside("two", "until test $(ps | grep -c '[s]leep 100') = 5; do true; done; until grep -q ^sleep /proc/1/cmdline; do true; done; cat /proc/1/cmdline | busybox tr '\\0' ' '"), "sleep 1000")
	// A container's end is that of all its processes, and of no others.
	p.must("kill", "--all", "one", "TERM")
	p.await("one", specs.StateStopped)
	expect(t, "left", p.inside("two", "ps | grep -c '[s]leep 100'"), "2")
	p.must("delete", "one")
	p.add("target", "exec sleep 1004", nil)
	p.add("debug", "exec sleep 1005", func(c *specs.Spec) {
		c.Linux.Namespaces = append(joins(p.pidFile("target"), "pid"), specs.LinuxNamespace{Type: "mount"})
	})
	expect(t, "the target's processes", p.inside("debug", "until grep -q ^sleep /proc/1/cmdline; do true; done; cat /proc/1/cmdline | busybox tr '\\0' ' '"), "sleep 1004")
	p.must("kill", "target", "KILL")
	p.await("debug", specs.StateStopped)
}

// TestPodLimits has a limit of memory and one of processes for each container.
func TestPodLimits(t *testing.T) {
	p := newPod(t, platforms()[0])
	limit := func(memory, tasks int64) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &tasks}}
		}
	}
	p.add("small", "exec sleep 1000", limit(32<<20, 6))
	p.add("large", "exec sleep 1000", limit(256<<20, 100))
	eat := "busybox awk 'BEGIN { s = \"x\"; for (i = 0; i < 26; i++) s = s s }'; echo $?"
	expect(t, "64 MiB in the small one", p.inside("small", eat), "137")
	expect(t, "64 MiB in the large one", p.inside("large", eat), "0")
	expect(t, "what the small one has", p.inside("small", "grep MemTotal /proc/meminfo | busybox tr -d ' '"), "MemTotal:32768kB")
	expect(t, "a file in memory", p.inside("small", "busybox dd if=/dev/zero of=/tmp/x bs=1M count=40 2>/dev/null; echo $?; busybox rm /tmp/x"), "1")
	expect(t, "its group", p.inside("small", "cd /sys/fs/cgroup; cat memory.max; grep oom_kill memory.events"), "33554432\noom_kill 1")
	forks := "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done 2>/dev/null; jobs | grep -c ."
	if got := p.inside("small", "("+forks+") 2>&1; true"); strings.HasSuffix(got, "8") {
		t.Errorf("8 processes within 6: %q", got)
	}
	expect(t, "8 processes in the large one", p.inside("large", forks), "8")
	for id, kills := range map[string]uint64{"small": 1, "large": 0, "pause": 1} {
		var e struct {
			Data struct {
				Memory struct {
					Usage struct{ Limit, Usage, Failcnt uint64 }
				}
			}
		}
		if err := json.Unmarshal([]byte(p.must("events", "--stats", id)), &e); err != nil {
			t.Fatal(err)
		}
		if m := e.Data.Memory.Usage; m.Failcnt != kills || m.Usage == 0 || m.Usage > m.Limit {
			t.Errorf("%s: %+v, want %d kills", id, m, kills)
		}
	}
	p.must("update", "--memory", "256M", "small")
	expect(t, "64 MiB in the small one grown", p.inside("small", eat), "0")
	p.must("delete", "--force", "small")
	expect(t, "the large one", p.inside("large", eat), "0")
}

// TestPodFaults has creations that fail, which leave the pod as it was, and a sandbox that is killed.
func TestPodFaults(t *testing.T) {
	p := newPod(t, platforms()[0])
	p.add("good", "exec sleep 1000", nil)
	for _, c := range []struct {
		want   string
		change func(*specs.Spec)
	}{
		{"not found", func(c *specs.Spec) { c.Process.Args = []string{"nothing"} }},
		{"linux.namespaces[0].path", func(c *specs.Spec) { c.Linux.Namespaces = joins(os.Getpid(), "ipc") }},
		{"linux.namespaces[0].path", func(c *specs.Spec) {
			c.Linux.Namespaces = []specs.LinuxNamespace{{Type: "network", Path: fmt.Sprintf("/proc/%d/ns/ipc", p.pid)}}
		}},
		{"mounts", func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/bin/busybox/x", Type: "tmpfs"})
		}},
		{"directory to bind", func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/x", Source: "/nothing/here", Options: []string{"bind"}})
		}},
		{"uidMappings", func(c *specs.Spec) {
			c.Linux.Namespaces = []specs.LinuxNamespace{{Type: "user"}}
			c.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}, {Size: 1}}
			c.Linux.GIDMappings = []specs.LinuxIDMapping{{Size: 1}}
		}},
	} {
		r := p.do("create", "--bundle", p.bundleOf("exit 0", c.change), "bad")
		if want := strings.TrimPrefix(c.want, "mounts"); r.status == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("%v, want an error about %s", r, c.want)
		}
	}
	expect(t, "what there is", p.must("list", "-q"), "good\npause\n")
	expect(t, "the good one", p.inside("good", "echo alive"), "alive")
	expect(t, "groups", p.inside("pause", "ls -d /sys/fs/cgroup/*/"), "/sys/fs/cgroup/good/")

	keeper := p.pidFile("good")
	if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await("pause", specs.StateStopped)
	p.await("good", specs.StateStopped)
	if r := p.do("create", "--bundle", p.bundleOf("exit 0", func(c *specs.Spec) { c.Linux.Namespaces = nil }), "late"); r.status == 0 || !strings.Contains(r.stderr, "stopped") {
		t.Errorf("a container for a sandbox that is gone: %v", r)
	}
	p.must("delete", "pause")
	p.must("delete", "good")
	expect(t, "what is left", p.must("list", "-q"), "")
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", keeper)); err == nil && strings.HasPrefix(string(text), "sentry") {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", keeper)); !strings.Contains(string(stat), ") Z ") {
			t.Errorf("the keeper lives on")
		}
	}
}

// TestPodLeaks has containers come and go, which leave no descriptor, process or memory in the sandbox.
func TestPodLeaks(t *testing.T) {
	p := newPod(t, platforms()[0])
	volume := t.TempDir()
	round := func() {
		p.add("brief", "ls -R / >/dev/null 2>&1; touch /v/x; exec sleep 1000", func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/v", Source: volume, Options: []string{"bind"}})
		})
		p.inside("brief", "until test -e /v/x; do true; done; busybox rm /v/x")
		p.must("delete", "--force", "brief")
	}
	descriptors := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	round()
	files, memory := descriptors(), p.usage("pause").Memory.Usage.Usage
	for range 5 {
		round()
	}
	// What the last one had may wait for the next collection.
	const few = 6
	nowFiles, nowMemory := descriptors(), p.usage("pause").Memory.Usage.Usage
	for end := time.Now().Add(patience); (nowFiles > files+few || nowMemory > memory+1<<20) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		nowFiles, nowMemory = descriptors(), p.usage("pause").Memory.Usage.Usage
	}
	if nowFiles > files+few {
		t.Errorf("%d descriptors after the first container, %d after five more", files, nowFiles)
	}
	if nowMemory > memory+1<<20 {
		t.Errorf("%d bytes of memory after the first container, %d after five more", memory, nowMemory)
	}
}

// TestPodSharedMemory has a word in /dev/shm on which a thread of one container waits until one of another wakes it.
func TestPodSharedMemory(t *testing.T) {
	p := newPod(t, platforms()[0])
	program, memory := compile(t, "testdata/sharedword.c", "-static"), t.TempDir()
	share := func(c *specs.Spec) {
		for to, from := range map[string]string{"/dev/shm": memory, "/word": program} {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: to, Source: from, Options: []string{"bind"}})
		}
	}
	p.add("one", "exec sleep 1000", share)
	p.add("two", "exec sleep 1000", share)
	waited := make(chan string, 1)
	go func() { waited <- p.do("exec", "one", "/word", "wait", "/dev/shm/word").stdout }()
	expect(t, "who wakes", p.must("exec", "two", "/word", "wake", "/dev/shm/word"), "woken: 1\n")
	if got := <-waited; !strings.HasPrefix(got, "waited: 0") {
		t.Errorf("who waits: %q", got)
	}
	if _, err := os.Stat(filepath.Join(memory, "word")); err != nil {
		t.Error(err)
	}
}
