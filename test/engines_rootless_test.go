package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodmanRootless has an ordinary user run podman. What podman lets go without root, as limits on hosts with control groups of
// version 1, is not looked at: TestContainerRootless does that.
func TestPodmanRootless(t *testing.T) {
	if !everything() {
		t.Skip("TestPodman stands for it: SENTRY_TEST_ALL=1")
	}
	need(t, "script")
	needDevice(t, platforms()[0])
	p := newPodmanOf(t, rootlessUser)
	volume := filepath.Join(p.dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(volume, rootlessUser, rootlessUser); err != nil {
		t.Fatal(err)
	}
	p.steps(t, []engineStep{
		{args: "run --rm IMAGE sh -c 'id -u; echo pid $$; exit 7'", status: 7, out: "0\npid 1\n"},
		{args: "run -d --name life -v HOME/volume:/v IMAGE sh -c 'echo started; exec sleep 1000'", out: "-"},
		{args: "exec life sh -c 'echo kept >/v/f; exit 9'", status: 9},
		{args: "logs life", out: "started\n"},
	})
	if text, err := os.ReadFile(filepath.Join(volume, "f")); string(text) != "kept\n" {
		t.Errorf("the volume has %q, %v", text, err)
	}
	line := strings.Join(p.argv, " ") + " exec -it life sh -c 'tty; read x; echo got $x; exit 5'"
	r := command{env: p.env, dir: p.dir, stdin: "typed\n", asUser: p.user}.run(t, []string{"script", "-qec", line, "/dev/null"})
	if r.status != 5 || !strings.Contains(r.stdout, "/dev/pts/0\r\n") || !strings.Contains(r.stdout, "got typed\r\n") {
		t.Errorf("a terminal: %v", r)
	}
	p.steps(t, []engineStep{
		{args: "stop -t 1 life", out: "-"},
		{args: "rm life", out: "-"},
		{args: "ps -a -q"},
	})
}

// TestPodmanRootlessPersist is what an ordinary user's containers keep.
func TestPodmanRootlessPersist(t *testing.T) {
	if !everything() {
		t.Skip("SENTRY_TEST_ALL is not set")
	}
	p := newPodmanOf(t, rootlessUser)
	p.persists(t)
	p.steps(t, []engineStep{
		{args: "run --name kept IMAGE sh -c 'echo first >/new; chmod 600 /new'"},
		{args: "diff kept", out: "(?s).*A /new\n.*"},
		{args: "commit -q kept committed", out: "-"},
		{args: "run -d --name runs -v data:/to/data committed sleep 1000", out: "-"},
		{args: "cp HOME/containers.conf runs:/to/data/copied"},
		{args: "exec runs sh -c 'cat /new; grep -c nofile /to/data/copied'", out: "first\n1\n"},
		{args: "rm -f -t 0 runs", out: "runs\n"},
		{args: "build -q -t built HOME", out: "-"},
		{args: "run --rm built sh -c 'pwd; cat here'", out: "/w\nbuilt\n"},
	})
}
