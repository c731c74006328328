package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// podman drives podman with a home of its own.
type podman struct {
	dir  string
	argv []string
	env  []string
	user uint32 // who runs it; 0: root
}

// podmanConfig keeps podman from what the host may not have (raising limits, networks) and from
// what is shared by all its homes (locks in shared memory).
const podmanConfig = `
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
lock_type = "file"
`

// newPodman makes podman ready, or skips where it does not run at all.
func newPodman(t *testing.T) *podman { return newPodmanOf(t, 0) }

// newPodmanOf makes podman ready for an ordinary user.
func newPodmanOf(t *testing.T, user uint32) *podman {
	t.Helper()
	needRoot(t)
	need(t, "busybox", "podman", "conmon")
	dir := engineHome(t)
	p := &podman{dir: dir, user: user}
	in := func(name string) string { return filepath.Join(dir, name) }
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\nrunroot = %q\ngraphroot = %q\n", in("run"), in("root"))
	for name, text := range map[string]string{"containers.conf": podmanConfig, "storage.conf": storage} {
		if err := os.WriteFile(in(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.env = append(environment(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "CONTAINERS_CONF="+in("containers.conf"), "CONTAINERS_STORAGE_CONF="+in("storage.conf"))
	p.argv = []string{
		"podman", "--root", in("root"), "--runroot", in("run"), "--tmpdir", in("tmp"), "--storage-driver=vfs", "--events-backend=file",
		"--cgroup-manager=cgroupfs", "--runtime", engineRuntime(t, dir),
	}
	writeImage(t, in("image.tar"))
	if err := os.Chown(dir, int(user), int(user)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.do(t, "", "rm", "-f", "-a", "-t", "0")
		if user != 0 {
			p.do(t, "", "system", "migrate") // ends the process that holds an ordinary user's namespaces
		}
	})
	if r := p.do(t, "", "load", "-q", "-i", in("image.tar")); r.status != 0 {
		t.Skipf("podman does not work here: %s", lastLine(r.stderr))
	}
	return p
}

// persists has containers write to their root file systems on the host.
func (p *podman) persists(t *testing.T) {
	t.Helper()
	name := filepath.Join(p.dir, "runtime")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(strings.Replace(string(text), " --root ", " --persist --root ", 1)), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, "Containerfile"), []byte("FROM "+imageName+"\nRUN echo built >/built && mkdir /w\nWORKDIR /w\nRUN cat /built >here\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func lastLine(text string) string {
	list := strings.Split(strings.TrimSpace(text), "\n")
	return list[len(list)-1]
}

// do runs podman.
func (p *podman) do(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	if (args[0] == "run" || args[0] == "create") && p.user == 0 {
		args = append([]string{args[0], "--cgroup-parent", "/" + cgroupOf(p.dir)}, args[1:]...)
	}
	return command{env: p.env, stdin: stdin, dir: p.dir, asUser: p.user}.run(t, append(append([]string{}, p.argv...), args...))
}

// steps runs commands; IMAGE, HOME and GROUP stand for the image, podman's home and its control group.
func (p *podman) steps(t *testing.T, list []engineStep) {
	t.Helper()
	for _, s := range list {
		args := words(strings.NewReplacer("IMAGE", imageName, "HOME", p.dir, "GROUP", cgroupOf(p.dir)).Replace(s.args))
		s.check(t, func() result { return p.do(t, s.stdin, args...) })
	}
}

func TestPodman(t *testing.T) {
	p := newPodman(t)
	t.Run("run", func(t *testing.T) {
		p.steps(t, []engineStep{
			{args: "run --rm IMAGE sh -c 'echo pid $$ on $(hostname | grep -c .); exit 7'", status: 7, out: "pid 1 on 1\n"},
		})
	})
	if !everything() {
		return
	}
	for _, c := range []struct {
		name string
		list []engineStep
	}{
		{"status", podmanStatus}, {"files", podmanFiles}, {"process", podmanProcess}, {"life", podmanLife}, {"limits", podmanLimits},
		{"pod", podmanPod},
	} {
		t.Run(c.name, func(t *testing.T) { p.steps(t, c.list) })
	}
	t.Run("restart", func(t *testing.T) { testPodmanRestart(t, p) })
	t.Run("terminal", func(t *testing.T) { testPodmanTerminal(t, p) })
}

// TestPodmanPersist does what needs a root file system that is written to.
func TestPodmanPersist(t *testing.T) {
	if !everything() {
		t.Skip("SENTRY_TEST_ALL is not set")
	}
	p := newPodman(t)
	p.persists(t)
	p.steps(t, []engineStep{
		{args: "run --name kept IMAGE sh -c 'cat /new || echo first >/new'", err: "No such file"},
		{args: "start -a kept", out: "first\n"},
		{args: "diff kept", out: "(?s).*A /new\n.*"},
		{args: "cp kept:/new HOME/copied"},
		{args: "run --rm -v HOME:/v IMAGE cat /v/copied", out: "first\n"},
		{args: "cp HOME/copied kept:/new2"},
		{args: "run -d --name runs -v data:/to/data IMAGE sleep 1000", out: "-"},
		{args: "cp HOME/copied runs:/to/data/copied"},
		{args: "exec runs cat /to/data/copied", out: "first\n"},
		{args: "rm -f -t 0 runs", out: "runs\n"},
		{args: "commit -q kept committed", out: "-"},
		{args: "run --rm committed cat /new /new2", out: "first\nfirst\n"},
		{args: "run --rm --user 7:8 -v data:/v:U IMAGE sh -c 'umask 77; echo mine >/v/f; cat /v/f; ls -ln /v/f | grep -c \" 7 \"'", out: "mine\n1\n"},
		{args: "build -q --cgroup-parent /GROUP -t built HOME", out: "-"},
		{args: "run --rm built sh -c 'pwd; cat here'", out: "/w\nbuilt\n"},
	})
}

var podmanStatus = []engineStep{
	{args: "run --rm IMAGE sh -c 'sh -c \"kill -9 \\$\\$\"; exit $?'", status: 137, out: "-"},
	{args: "run --rm IMAGE nothing", status: 127, err: "executable file not found"},
	{args: "run --rm IMAGE /no/thing", status: 127, err: "no such file or directory"},
	{args: "run --rm IMAGE /etc/passwd", status: 126, err: "permission denied"},
	{args: "run --rm -i IMAGE cat", stdin: "through\n", out: "through\n"},
	{args: "run --rm IMAGE sh -c 'echo out; echo err >&2'", out: "out\n", err: "^err\n$"},
	{args: "run --rm --device /dev/fuse IMAGE true", status: 126, err: "linux.devices"},
	{args: "run --rm --device /dev/zero:/dev/nought IMAGE sh -c 'head -c 7 /dev/nought | tr \"\\0\" x'", out: "xxxxxxx"},
	{args: "run --rm --privileged IMAGE sh -c 'echo x >/dev/null; grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted'", out: "CapEff:\t0*1ff[0-9a-f]+\nmounted\n"},
}

var podmanFiles = []engineStep{
	{args: "run --rm --read-only IMAGE sh -c 'touch /x; touch /tmp/y && echo written'", out: "written\n", err: "Read-only file system"},
	{args: "run --rm IMAGE sh -c 'echo x >/x; cat /x'", out: "x\n"},
	{args: "volume create data", out: "data\n"},
	{args: "run --rm -v data:/v IMAGE sh -c 'echo kept >/v/f'"},
	{args: "run --rm -v data:/v:ro IMAGE sh -c 'cat /v/f; touch /v/g'", status: 1, out: "kept\n", err: "Read-only file system"},
	{args: "run --rm -v HOME/containers.conf:/etc/one:ro IMAGE grep -c nofile /etc/one", out: "1\n"},
	{args: "run --rm --tmpfs /t:size=1m IMAGE sh -c 'head -c 2m /dev/zero >/t/x; ls /t'", out: "x\n", err: "standard output"},
	{args: "run --rm --shm-size 1m IMAGE sh -c 'df -k /dev/shm | tail -n 1 | grep -c 1024'", out: "1\n"},
	{args: "run --rm --add-host host9.test:127.0.0.9 IMAGE grep host9.test /etc/hosts", out: "127.0.0.9\thost9.test\n"},
	{args: "volume rm data", out: "data\n"},
}

var podmanProcess = []engineStep{
	{args: "run --rm --user 1000:1001 --group-add 5 IMAGE id", out: "uid=1000(.*) gid=1001 groups=(5,1001|1001,5)\n"},
	{args: "run --rm --env A=b --workdir /tmp --hostname inside IMAGE sh -c 'echo $A $PWD; hostname'", out: "b /tmp\ninside\n"},
	{args: "run --rm --cap-drop all --cap-add chown IMAGE grep CapEff /proc/self/status", out: "CapEff:\t0000000000000001\n"},
	{args: "run --rm --ulimit nofile=50:60 IMAGE sh -c 'ulimit -n; ulimit -Hn'", out: "50\n60\n"},
	{args: "run --rm --sysctl kernel.shmmax=1234567 IMAGE cat /proc/sys/kernel/shmmax", out: "1234567\n"},
}

var podmanLife = []engineStep{
	{args: "run -d --name life IMAGE sh -c 'trap \"echo ending; exit 3\" TERM; echo started; while :; do sleep 0.05; done'", out: "-"},
	{args: "ps --format '{{.Names}} {{.Status}}'", out: "life Up .*\n"},
	{args: "exec life sh -c 'test $$ != 1; echo in; exit 9'", status: 9, out: "in\n"},
	{args: "exec -i -e A=b -u 33 -w /tmp life sh -c 'cat; echo $A $PWD; id -u'", stdin: "typed\n", out: "typed\nb /tmp\n33\n"},
	{args: "exec life nothing", status: 127, err: "executable file not found"},
	{args: "exec -d life sh -c 'exec sleep 1234'", out: "-"},
	{args: "exec life sh -c 'until ps | grep -q \"[1]234\"; do sleep 0.05; done'"},
	{args: "logs life", out: "started\n"},
	{args: "stats --no-stream --format '{{.Name}}' life", out: "life\n"},
	{args: "pause life", out: "-"},
	{args: "inspect --format '{{.State.Status}}' life", out: "paused\n"},
	{args: "exec life true", status: 255, err: "state improper|not running|paused"},
	{args: "unpause life", out: "-"},
	{args: "stop -t 10 life", out: "-"},
	{args: "inspect --format '{{.State.Status}} {{.State.ExitCode}}' life", out: "exited 3\n"},
	{args: "logs life", out: "started\nending\n"},
	{args: "start life", out: "-"},
	{args: "kill life", out: "-"},
	{args: "wait life", out: "137\n"},
	{args: "rm life", out: "-"},
	{args: "ps -a -q"},
}

var podmanLimits = []engineStep{
	{args: "run --rm --memory 64m IMAGE sh -c 'x=$(head -c 200m /dev/zero | tr \"\\0\" x)'", status: 137, out: "-"},
	{args: "run --rm --memory 64m IMAGE sh -c 'grep MemTotal /proc/meminfo'", out: "MemTotal: +65536 kB\n"},
	{args: "run --rm --pids-limit 5 IMAGE sh -c 'for i in 1 2 3 4 5 6; do sleep 1 & done; wait'", status: 2, out: "-", err: "can't fork"},
	{args: "run --rm --cpus 0.5 IMAGE true"},
}

// testPodmanRestart lets podman's processes restart a container that fails.
func testPodmanRestart(t *testing.T, p *podman) {
	if r := p.do(t, "", "run", "-d", "--name", "again", "--restart", "on-failure:2", imageName, "sh", "-c", "echo try; exit 4"); r.status != 0 {
		t.Fatal(r)
	}
	defer p.do(t, "", "rm", "-f", "again")
	const want = "exited 4 2\n"
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		r := p.do(t, "", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "again")
		if r.stdout == want {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("want %q: %v", want, r)
		}
	}
	p.steps(t, []engineStep{{args: "logs again", out: "try\ntry\ntry\n"}})
}

// testPodmanTerminal runs podman itself on a terminal, as people do.
func testPodmanTerminal(t *testing.T, p *podman) {
	need(t, "script")
	if r := p.do(t, "", "run", "-d", "--name", "seat", imageName, "sleep", "1000"); r.status != 0 {
		t.Fatal(r)
	}
	defer p.do(t, "", "rm", "-f", "-t", "0", "seat")
	podman := strings.Join(p.argv, " ")
	run := podman + " run --rm -it --cgroup-parent /" + cgroupOf(p.dir) + " " + imageName
	for _, c := range []struct{ line, script, want string }{
		{run, "test -t 0 && test -t 1 && stty rows 7 cols 70; stty size; exit 5", "(typed\r\n)*7 70\r\n"},
		{run, "tty; read x; echo got $x; exit 5", "(typed\r\n)*/dev/pts/0\r\n(typed\r\n)*got typed\r\n"},
		{"stty rows 8 cols 80; " + podman + " exec -it seat", "tty; until stty size 2>/dev/null | grep \"8 80\"; do sleep 0.1; done; read x; echo got $x; exit 5", "(typed\r\n)*/dev/pts/0\r\n(typed\r\n)*8 80\r\n(typed\r\n)*got typed\r\n"},
	} {
		argv := []string{"script", "-qec", fmt.Sprintf("%s sh -c '%s'", c.line, c.script), "/dev/null"}
		r := command{env: p.env, dir: p.dir, stdin: "typed\n"}.run(t, argv)
		s := engineStep{args: c.script, status: 5, out: c.want}
		s.check(t, func() result { return r })
	}
}

// podmanPod has containers in one sandbox.
var podmanPod = []engineStep{
	{args: "pod create --name pod --infra-image IMAGE --infra-command 'sleep 1000' --hostname podhost", out: "-"},
	{args: "run -d --pod pod --name one IMAGE sh -c 'echo shared >/dev/shm/f; exec sleep 1000'", out: "-"},
	{args: "run --rm --pod pod IMAGE sh -c 'until cat /dev/shm/f; do true; done 2>/dev/null; hostname; readlink /proc/self/ns/ipc | grep -c ipc; exit 7'", status: 7, out: "shared\npodhost\n1\n"},
	{args: "exec one sh -c 'echo inside; exit 3'", status: 3, out: "inside\n"},
	{args: "run --rm --pod pod nothing-of-the-kind true", status: 125, err: "."},
	{args: "run --rm --pod pod IMAGE nothing", status: 127, err: "executable file not found"},
	{args: "run --rm --pod pod --pid container:one IMAGE sh -c 'cat /proc/1/cmdline'", out: "sleep\x001000\x00"},
	{args: "ps --filter pod=pod --format {{.Names}}:{{.Status}} --sort names", out: "-"},
	{args: "kill one", out: "one\n"},
	{args: "wait one", out: "137\n"},
	{args: "start one", out: "one\n"},
	{args: "pod stop -t 1 pod", out: "-"},
	{args: "pod start pod", out: "-"},
	{args: "exec one echo again", out: "again\n"},
	{args: "pod rm -f -t 0 pod", out: "-"},
}
