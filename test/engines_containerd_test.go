package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// containerd drives a containerd of its own with ctr.
type containerd struct {
	dir  string
	argv []string
}

// newContainerd starts containerd and imports the image, or skips where that does not work at all.
func newContainerd(t *testing.T) *containerd {
	t.Helper()
	needRoot(t)
	need(t, "busybox", "containerd", "ctr", "containerd-shim-runc-v2")
	dir := engineHome(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, in("root"), in("run"), in("c.sock"), in("t.sock"), in("opt"))
	if err := os.WriteFile(in("config.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(in("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("containerd", "--config", in("config.toml"))
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Skipf("containerd does not start: %v", err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(unix.SIGTERM) //nolint:errcheck // Wait tells
		stop := time.AfterFunc(10*time.Second, func() { daemon.Process.Kill() })
		daemon.Wait() //nolint:errcheck // it was told to end
		stop.Stop()
	})
	c := &containerd{dir, []string{"ctr", "--address", in("c.sock"), "--namespace", cgroupOf(dir), "--connect-timeout", "10s"}}
	writeImage(t, in("image.tar"))
	if r := c.do(t, "", "image", "import", "--snapshotter", "native", in("image.tar")); r.status != 0 {
		text, _ := os.ReadFile(in("log"))
		t.Skipf("containerd does not work here: %s; %s", lastLine(r.stderr), lastLine(string(text)))
	}
	t.Cleanup(func() { c.removeAll(t) })
	return c
}

// removeAll removes what a test that failed left.
func (c *containerd) removeAll(t *testing.T) {
	for _, id := range strings.Fields(c.do(t, "", "container", "ls", "-q").stdout) {
		c.do(t, "", "task", "delete", "--force", id)
		c.do(t, "", "container", "delete", id)
	}
}

// do runs ctr.
func (c *containerd) do(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	if args[0] == "run" {
		args = append([]string{"run", "--snapshotter", "native", "--runc-binary", engineRuntime(t, c.dir)}, args[1:]...)
	}
	return command{dir: c.dir, stdin: stdin}.run(t, append(append([]string{}, c.argv...), args...))
}

// steps runs commands; IMAGE and HOME stand for the image and containerd's home.
func (c *containerd) steps(t *testing.T, list []engineStep) {
	t.Helper()
	for _, s := range list {
		args := words(strings.NewReplacer("IMAGE", imageName, "HOME", c.dir).Replace(s.args))
		s.check(t, func() result { return c.do(t, s.stdin, args...) })
	}
}

func TestContainerd(t *testing.T) {
	c := newContainerd(t)
	t.Run("run", func(t *testing.T) {
		c.steps(t, []engineStep{{args: "run --rm IMAGE one sh -c 'echo pid $$; exit 7'", status: 7, out: "pid 1\n"}})
	})
	if !everything() {
		return
	}
	t.Run("status", func(t *testing.T) { c.steps(t, containerdStatus) })
	t.Run("life", func(t *testing.T) { c.steps(t, containerdLife) })
	t.Run("terminal", func(t *testing.T) { testContainerdTerminal(t, c) })
	t.Run("pod", func(t *testing.T) { testContainerdPod(t, c) })
}

var containerdStatus = []engineStep{
	{args: "run --rm IMAGE s1 nothing", status: 1, err: "executable file not found"},
	{args: "run --rm --read-only IMAGE s2 touch /x", status: 1, err: "Read-only file system"},
	{args: "run --rm IMAGE s3 head -n 1", stdin: "through\n", out: "through\n"},
	{args: "run --rm --mount type=bind,src=HOME/config.toml,dst=/etc/one,options=bind:ro IMAGE s4 head -n 1 /etc/one", out: "version = 2\n"},
	{args: "run --rm --memory-limit 67108864 IMAGE s5 grep MemTotal /proc/meminfo", out: "MemTotal: +65536 kB\n"},
	{args: "run --rm --env A=b --cwd /tmp IMAGE s6 sh -c 'echo $A $PWD'", out: "b /tmp\n"},
	{args: "container ls -q"},
}

var containerdLife = []engineStep{
	{args: "run -d --log-uri file://HOME/out IMAGE life sh -c 'trap \"exit 3\" TERM; echo started; while :; do sleep 0.05; done'"},
	{args: "task exec --exec-id e1 life sh -c 'echo in; exit 6'", status: 6, out: "in\n"},
	{args: "task exec --exec-id e2 life nothing", status: 1, err: "executable file not found"},
	{args: "task ls", out: ".*life +[0-9]+ +RUNNING\n"},
	{args: "task ps life", out: "PID.*\n1 .*"},
	{args: "task pause life"},
	{args: "task ls", out: ".*life +[0-9]+ +PAUSED\n"},
	{args: "task resume life"},
	{args: "task kill --signal TERM life"},
	{args: "task ls", out: ".*life +[0-9]+ +STOPPED\n", wait: true},
	{args: "task delete life", out: "-", err: "non-zero exit code 3|^$", status: 0},
	{args: "container delete life"},
	{args: "container ls -q"},
}

// testContainerdTerminal runs ctr itself on a terminal.
func testContainerdTerminal(t *testing.T, c *containerd) {
	need(t, "script")
	line := strings.Join(c.argv, " ") + " run --rm -t --snapshotter native --runc-binary " + engineRuntime(t, c.dir) + " " + imageName
	argv := []string{"script", "-qec", line + " tty sh -c 'read x; test -t 1 && echo got $x; exit 5'", "/dev/null"}
	r := command{dir: c.dir, stdin: "typed\n"}.run(t, argv)
	s := engineStep{args: "tty", status: 5, out: ".*got typed\r*\n"}
	s.check(t, func() result { return r })
}

// testContainerdPod has containers in one sandbox and one shim, with the annotations and the namespaces that containerd's
// plugin for Kubernetes gives them.
func testContainerdPod(t *testing.T, c *containerd) {
	const sandbox = " --annotation io.kubernetes.cri.sandbox-id=pause --annotation io.kubernetes.cri.container-type="
	c.steps(t, []engineStep{{args: "run -d --log-uri file://HOME/pause" + sandbox + "sandbox IMAGE pause sleep 1000"}})
	pid := ""
	for line := range strings.Lines(c.do(t, "", "task", "ls").stdout) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "pause" {
			pid = f[1]
		}
	}
	member := " " + sandbox + "container"
	for _, kind := range []string{"network:/proc/%s/ns/net", "ipc:/proc/%s/ns/ipc", "uts:/proc/%s/ns/uts"} {
		member += " --with-ns " + fmt.Sprintf(kind, pid)
	}
	c.steps(t, []engineStep{
		{args: "run -d --log-uri file://HOME/one" + member + " IMAGE one sleep 1000"},
		{args: "task exec --exec-id e1 one sh -c 'readlink /proc/self/ns/ipc >/tmp/x; cat /proc/1/cmdline; exit 4'", status: 4, out: "sleep\x001000\x00"},
		{args: "run --rm" + member + " IMAGE two sh -c 'cat /tmp/x; cat /proc/1/comm; exit 6'", status: 6, out: "sh\n", err: "/tmp/x"},
		{args: "run --rm" + member + " IMAGE three nothing", status: 1, err: "executable file not found"},
		{args: "task ls", out: ".*one +[0-9]+ +RUNNING.*"},
		{args: "task kill --signal KILL one"},
		{args: "task ls", out: ".*one +[0-9]+ +STOPPED.*", wait: true},
		{args: "task delete one", out: "-", err: "137"},
		{args: "container delete one"},
		{args: "run -d --log-uri file://HOME/one" + member + " IMAGE one sleep 1000"},
		{args: "task kill --signal KILL pause"},
		{args: "task ls", out: "TASK.*\n.* STOPPED\n.* STOPPED\n", wait: true},
		{args: "task delete one", out: "-", err: "137"},
		{args: "task delete pause", out: "-", err: "137"},
		{args: "container delete one pause"},
	})
}
