package test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gosentry/sentry/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// usage asks what a container uses.
func (e *engine) usage(id string) *oci.Usage {
	e.t.Helper()
	var v oci.Event
	if err := json.Unmarshal([]byte(e.must("events", "--stats", id)), &v); err != nil {
		e.t.Fatal(err)
	}
	if v.Type != "stats" || v.ID != id || v.Data == nil {
		e.t.Fatalf("events --stats: %+v", v)
	}
	return v.Data
}

// TestContainerLimits has limits of a configuration, by flags and by files.
func TestContainerLimits(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		memory, pids := int64(64<<20), int64(10)
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("exec sleep 1000")(c)
			c.Linux.Resources = &specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids},
			}
		})
		e.must("run", "-d", "lim")
		defer e.do("delete", "--force", "lim")
		u := e.usage("lim")
		if u.Memory.Usage.Limit != 64<<20 || u.PIDs.Limit != 10 || u.PIDs.Current == 0 || u.Memory.Usage.Usage == 0 || u.CPU.Usage.Total == 0 {
			t.Errorf("as configured: %+v", u)
		}
		const forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 >/dev/null 2>&1 & done; echo all"
		if r := e.do("exec", "lim", "sh", "-c", forks); r.status == 0 {
			t.Errorf("12 processes where 10 may be: %v", r)
		}
		e.must("exec", "lim", "sh", "-c", "kill -9 -1; true")
		e.must("update", "--memory", "128M", "--pids-limit", "30", "lim")
		if u = e.usage("lim"); u.Memory.Usage.Limit != 128<<20 || u.PIDs.Limit != 30 {
			t.Errorf("updated: %+v", u)
		}
		if r := e.do("exec", "lim", "sh", "-c", forks+"; kill -9 -1"); r.stdout != "all\n" {
			t.Errorf("12 processes where 30 may be: %v", r)
		}
		file := filepath.Join(t.TempDir(), "resources")
		if err := os.WriteFile(file, []byte(`{"memory":{"limit":-1},"pids":{"limit":-1},"cpu":{"shares":5}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		e.must("update", "--resources", file, "lim")
		if u = e.usage("lim"); u.Memory.Usage.Limit < 1<<30 || u.PIDs.Limit < 1000 {
			t.Errorf("without limits: %+v", u)
		}
		if r := e.do("update", "--memory", "1024", "lim"); r.status == 0 || !strings.Contains(r.stderr, "linux.resources.memory.limit") {
			t.Errorf("1024 bytes of memory: %v", r)
		}
	})
}

// TestContainerWait has two who wait for an end, one for the container's and one for a further program's.
func TestContainerWait(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("exec sleep 1000"))
		e.must("create", "w")
		defer e.do("delete", "--force", "w")
		e.must("start", "w")
		waited, executed := make(chan result), make(chan result)
		go func() { waited <- e.do("wait", "w") }()
		go func() { executed <- e.do("exec", "w", "sleep", "1000") }()
		e.awaitProcesses("w", 2)
		e.must("kill", "w", "KILL")
		var end struct {
			ID         string
			ExitStatus int
		}
		r := <-waited
		if err := json.Unmarshal([]byte(r.stdout), &end); err != nil || end.ExitStatus != 137 || end.ID != "w" {
			t.Errorf("wait: %v", r)
		}
		if r := <-executed; r.status != 137 {
			t.Errorf("exec in a container that is killed: %v", r)
		}
	})
}

// TestContainerOOM is told of a process that needs more than there is: it is killed, and events says so.
func TestContainerOOM(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		memory := int64(24 << 20)
		e := consoleEngine(t, platform, func(c *specs.Spec) {
			shell("exec sleep 1000")(c)
			c.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}}
		})
		e.must("run", "-d", "oom")
		defer e.do("delete", "--force", "oom")
		told := e.events("oom")
		if !told.Scan() {
			t.Fatal("events says nothing")
		}
		if r := e.do("exec", "oom", "sh", "-c", `x=$(head -c 50m /dev/zero | tr '\0' x)`); r.status != 137 {
			t.Errorf("want the end by SIGKILL: %v", r)
		}
		if u := e.usage("oom"); u.Memory.Usage.Failcnt != 1 || u.Memory.Usage.Usage > 24<<20 {
			t.Errorf("used after the limit: %+v", u.Memory)
		}
		inside := e.must("exec", "oom", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max; grep oom_kill memory.events; echo max 2>/dev/null >memory.max || echo refused")
		if inside != "25165824\noom_kill 1\nrefused\n" {
			t.Errorf("the container's group has %q", inside)
		}
		if got := e.status("oom"); got != specs.StateRunning {
			t.Errorf("the container is %s", got)
		}
		kills := 0
		for since := 0; since < 5 && told.Scan(); { // the one kill, and what comes after it
			if told.Text() == `{"type":"oom","id":"oom"}` {
				kills++
			}
			since += min(kills, 1)
		}
		e.must("kill", "oom", "KILL")
		if kills != 1 {
			t.Errorf("events tells of %d kills", kills)
		}
	})
}

// TestContainerOOMInCall: it is a call, and not the program itself, that needs more memory than there is.
func TestContainerOOMInCall(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		memory := int64(24 << 20)
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("exec sleep 1000")(c)
			c.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}}
		})
		e.provide("dd")
		e.must("run", "-d", "oom")
		defer e.do("delete", "--force", "oom")
		if r := e.do("exec", "oom", "dd", "if=/dev/zero", "of=/dev/null", "bs=50M", "count=1"); r.status != 137 {
			t.Errorf("want the end by SIGKILL: %v", r)
		}
		if u := e.usage("oom"); u.Memory.Usage.Failcnt != 1 {
			t.Errorf("%d kills", u.Memory.Usage.Failcnt)
		}
		if got := e.status("oom"); got != specs.StateRunning {
			t.Errorf("the container is %s", got)
		}
	})
}

// events follows what happens in a container, in lines, for no longer than usual.
func (e *engine) events(id string) *bufio.Scanner {
	e.t.Helper()
	cmd := exec.Command(sentry(e.t), "--root", e.root, "--platform", e.platform, "events", "--interval", "100ms", id)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	timer := time.AfterFunc(usualTime, func() { cmd.Process.Kill() })
	e.t.Cleanup(func() {
		timer.Stop()
		cmd.Process.Kill()
		cmd.Wait() //nolint:errcheck // its output was looked at
	})
	return bufio.NewScanner(out)
}
