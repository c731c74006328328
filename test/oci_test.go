package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gosentry/sentry/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// engine drives the sandbox's program as container engines do.
type engine struct {
	t        *testing.T
	platform string
	root     string // of the containers
	bundle   string
	user     uint32 // whose containers they are; 0: ours
}

// newEngine makes a bundle around busybox, and a directory for containers.
func newEngine(t *testing.T, platform string, change func(*specs.Spec)) *engine {
	t.Helper()
	need(t, "busybox")
	e := &engine{t: t, platform: platform, root: filepath.Join(t.TempDir(), "run"), bundle: t.TempDir()}
	rootfs := filepath.Join(e.bundle, "rootfs")
	for _, dir := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin/busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "echo", "id", "ls", "ps", "sleep", "hostname", "touch", "true", "mount", "grep"} {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	c := oci.DefaultConfig()
	c.Process.Terminal = false
	if change != nil {
		change(c)
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(e.bundle, "config.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// provide gives the container more of busybox's names.
func (e *engine) provide(applets string) {
	e.t.Helper()
	for name := range strings.FieldsSeq(applets) {
		if err := os.Symlink("busybox", filepath.Join(e.bundle, "rootfs/bin", name)); err != nil {
			e.t.Fatal(err)
		}
	}
}

// do runs a verb.
func (e *engine) do(args ...string) result {
	e.t.Helper()
	argv := append([]string{sentry(e.t), "--root", e.root, "--platform", e.platform}, args...)
	return command{dir: e.bundle, leaves: true, asUser: e.user}.run(e.t, argv)
}

// must runs a verb that has to succeed, and returns its output.
func (e *engine) must(args ...string) string {
	e.t.Helper()
	r := e.do(args...)
	if r.status != 0 {
		e.t.Fatalf("%q: %v", args, r)
	}
	return r.stdout
}

func (e *engine) status(id string) specs.ContainerState {
	e.t.Helper()
	var s specs.State
	if err := json.Unmarshal([]byte(e.must("state", id)), &s); err != nil {
		e.t.Fatal(err)
	}
	return s.Status
}

// await waits until the container has a status.
func (e *engine) await(id string, want specs.ContainerState) {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := e.status(id)
		if got == want {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("%s is %s, want %s", id, got, want)
		}
	}
}

// awaitProcesses waits until the container has n processes.
func (e *engine) awaitProcesses(id string, n int) {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var ids []int
		if err := json.Unmarshal([]byte(e.must("ps", "--format", "json", id)), &ids); err != nil {
			e.t.Fatal(err)
		}
		if len(ids) == n {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("%s has the processes %d, want %d", id, ids, n)
		}
	}
}

func shell(script string) func(*specs.Spec) {
	return func(c *specs.Spec) { c.Process.Args = []string{"sh", "-c", script} }
}

func TestContainerRun(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("echo pid $$ on $(hostname); id -u; touch /x 2>/dev/null || echo ro; exit 7"))
		r := e.do("run", "one")
		if want := "pid 1 on sentry\n0\nro\n"; r.status != 7 || r.stdout != want {
			t.Errorf("want status 7 and %q: %v", want, r)
		}
		if out := e.must("list", "-q"); out != "" {
			t.Errorf("left: %q", out)
		}
	})
}

// TestContainerStrace: flags that do has too are a container's, and may stand behind the verb.
func TestContainerStrace(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("echo hello"))
		log := filepath.Join(e.bundle, "log")
		e.must("--strace=read", "run", "--no-patch", "--strace=write", "--log", log, "traced")
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `] write(1`) || !strings.Contains(string(text), "hello") || strings.Contains(string(text), "execve(") {
			t.Errorf("the trace of write:\n%s", tail(string(text), 20))
		}
	})
}

// TestContainerLife goes through the life of a container as engines do.
func TestContainerLife(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("exec sleep 1000"))
		e.must("create", "--pid-file", "pid", "--no-pivot", "two")
		text, err := os.ReadFile(filepath.Join(e.bundle, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil || unix.Kill(pid, 0) != nil {
			t.Fatalf("pid file %q, %v", text, err)
		}
		if got := e.status("two"); got != specs.StateCreated {
			t.Errorf("created: %s", got)
		}
		if r := e.do("create", "two"); r.status == 0 || !strings.Contains(r.stderr, "exists") {
			t.Errorf("a second container of the name: %v", r)
		}
		e.must("start", "two")
		if got := e.status("two"); got != specs.StateRunning {
			t.Errorf("started: %s", got)
		}
		if r := e.do("exec", "two", "sh", "-c", "until grep -q 1000 /proc/1/cmdline; do true; done; echo $$; exit 5"); r.status != 5 || r.stdout == "1\n" {
			t.Errorf("exec: %v", r)
		}
		if r := e.do("exec", "two", "nothing"); r.status == 0 || !strings.Contains(r.stderr, "not found") {
			t.Errorf("exec of nothing: %v", r)
		}
		e.must("pause", "two")
		if got := e.status("two"); got != "paused" {
			t.Errorf("paused: %s", got)
		}
		e.must("resume", "two")
		if r := e.do("delete", "two"); r.status == 0 {
			t.Errorf("deleted while it ran: %v", r)
		}
		e.must("kill", "two", "KILL")
		e.await("two", specs.StateStopped)
		if r := e.do("kill", "two", "TERM"); r.status == 0 || !strings.Contains(r.stderr, "not running") {
			t.Errorf("kill of the dead: %v", r)
		}
		e.must("delete", "two")
		if r := e.do("state", "two"); r.status == 0 || !strings.Contains(r.stderr, "does not exist") {
			t.Errorf("state of the deleted: %v", r)
		}
	})
}
