package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rootlessUser is whose containers those of TestContainerRootless are.
const rootlessUser = 65432

// rootless makes an engine of an ordinary user.
func rootless(t *testing.T, platform string, change func(*specs.Spec)) *engine {
	t.Helper()
	needRoot(t)
	needDevice(t, platform)
	e := consoleEngine(t, platform, change)
	home := workDir(t)
	for _, dir := range []string{home, e.bundle} {
		if err := os.Chown(dir, rootlessUser, rootlessUser); err != nil {
			t.Fatal(err)
		}
	}
	moved := filepath.Join(home, "bundle")
	// The directories of the test itself are for its own user.
	if err := os.Rename(e.bundle, moved); err != nil {
		t.Fatal(err)
	}
	e.bundle, e.root, e.user = moved, filepath.Join(home, "run"), rootlessUser
	return e
}

// TestContainerRootless goes through the life of a container of an ordinary user: its verbs, files, terminals and limits.
func TestContainerRootless(t *testing.T) {
	adoptOrphans(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		data, memory, tasks := workDir(t), int64(24<<20), int64(8)
		e := rootless(t, platform, func(c *specs.Spec) {
			shell("exec sleep 1000")(c)
			c.Linux.CgroupsPath = "/sentry-test-rootless"
			c.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &tasks}}
			c.Mounts = append(c.Mounts,
				specs.Mount{Destination: "/data", Type: "bind", Source: data, Options: []string{"rbind", "rw"}},
				specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/etc/hostname", Options: []string{"bind", "ro"}})
		})
		if err := os.Chown(data, rootlessUser, rootlessUser); err != nil {
			t.Fatal(err)
		}
		e.must("create", "--pid-file", "pid", "c")
		defer e.do("delete", "--force", "c")
		e.must("start", "c")
		for _, c := range []struct{ script, out string }{
			{"id -u; cat /etc/hosts >/dev/null && echo read; echo x 2>/dev/null >/etc/hosts || echo kept", "0\nread\nkept\n"},
			{"echo text >/data/file && cat /data/file", "text\n"},
			{"grep -c 'MemTotal: *24576 kB' /proc/meminfo; x=$(head -c 50m /dev/zero | tr '\\0' x); echo no", "1\n"},
			{"sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 >/dev/null 2>&1 & done'; echo $?", "2\n"},
		} {
			if r := e.do("exec", "c", "sh", "-c", c.script); r.stdout != c.out {
				t.Errorf("%s: want %q: %v", c.script, c.out, r)
			}
		}
		e.must("kill", "c", "0")
		if info, err := os.Stat(filepath.Join(data, "file")); err != nil || info.Sys().(*syscall.Stat_t).Uid != rootlessUser {
			t.Error(err)
		}
		socket := newConsoleSocket(t)
		e.must("exec", "-d", "-t", "--console-socket", socket.path, "c", "sh", "-c", "tty; read x; echo got $x")
		k := socket.take(t)
		k.sees("/dev/pts/0\r\n")
		k.types("typed\n")
		k.sees("got typed\r\n")
		k.ends()
		e.must("pause", "c")
		e.must("resume", "c")
		e.must("ps", "c")
		e.must("events", "--stats", "c")
		e.must("update", "--pids-limit", "20", "c")
		e.must("kill", "c", "KILL")
		e.await("c", specs.StateStopped)
		e.must("delete", "c")
		e.gone("at the end")
	})
}

// TestContainerRootlessLimits asks as an ordinary user for what only the host's control groups can keep.
func TestContainerRootlessLimits(t *testing.T) {
	quota := int64(50_000)
	e := rootless(t, platforms()[0], func(c *specs.Spec) {
		shell("true")(c)
		c.Linux.CgroupsPath = "/sentry-test-rootless"
		c.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}}
	})
	if r := e.do("run", "c"); r.status == 0 || !strings.Contains(r.stderr, "linux.resources.cpu.quota") {
		t.Errorf("a quota without control groups: %v", r)
	}
	if out := e.must("list", "-q"); out != "" {
		t.Errorf("left: %q", out)
	}
}
