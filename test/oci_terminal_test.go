package test

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestContainerTerminal runs a container on a terminal and types.
func TestContainerTerminal(t *testing.T) {
	need(t, "script")
	e := newEngine(t, platforms()[0], func(c *specs.Spec) {
		c.Process.Terminal = true
		c.Process.Args = []string{"sh", "-c", "test -t 0 && test -t 1 && test -t 2 && test -L /dev/ptmx && test -c /dev/pts/ptmx && read x && echo got $x; exit 5"}
	})
	line := strings.Join([]string{sentry(t), "--root", e.root, "--platform", e.platform, "run", "one"}, " ")
	r := command{dir: e.bundle, stdin: "typed\n"}.run(t, []string{"script", "-qec", line, "/dev/null"})
	if r.status != 5 || !strings.Contains(r.stdout, "got typed\r\n") {
		t.Errorf("want status 5 and what was typed: %v", r)
	}
}
