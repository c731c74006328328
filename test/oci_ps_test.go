package test

import (
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestContainerPS has the table of processes, with ps's own arguments.
func TestContainerPS(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("busybox sleep 1001 & exec busybox sleep 1000")(c)
			c.Process.User.UID = 33
		})
		e.must("run", "-d", "ps")
		defer e.do("delete", "--force", "ps")
		e.awaitProcesses("ps", 2)
		// A program that has just been put in place still has to come to its sleep.
		e.must("exec", "ps", "sh", "-c", "for p in 1 2; do until grep -q ^busybox /proc/$p/cmdline && grep -q ^State:.S /proc/$p/status; do true; done; done")
		lines := func(args ...string) string {
			out := e.must(append([]string{"ps", "ps"}, args...)...)
			var rows []string
			for line := range strings.Lines(out) {
				rows = append(rows, strings.Join(strings.Fields(line), " "))
			}
			return strings.Join(rows, "\n")
		}
		expect(t, "-o", lines("-o", "ppid,user,s,comm,cmd"), "PPID UID S COMMAND CMD\n0 33 S busybox busybox sleep 1000\n1 33 S busybox busybox sleep 1001")
		expect(t, "-eo with a head", lines("-eo", "nlwp=THREADS,tty"), "THREADS TTY\n1 ?\n1 ?")
		for _, args := range [][]string{nil, {"-ef"}, {"aux"}} {
			if got := lines(args...); !strings.HasPrefix(got, "UID PID PPID C STIME TTY TIME CMD\n33 1 0 ") || !strings.Contains(got, " ? 00:00:00 busybox sleep 1001") {
				t.Errorf("%q: %q", args, got)
			}
		}
		for _, args := range [][]string{{"-o", "weight"}, {"-q", "7"}} {
			if r := e.do(append([]string{"ps", "ps"}, args...)...); r.status == 0 || !strings.Contains(r.stderr, "ps: ") {
				t.Errorf("%q: %v", args, r)
			}
		}
		// What a process calls itself reaches no terminal as it is.
		e.must("exec", "-d", "--pid-file", "x", "ps", "sh", "-c", "exec busybox sh -c 'busybox sleep 1002; true' \"$(printf '\\033[2J')\"")
		got := lines("-o", "args")
		for end := time.Now().Add(patience); !strings.Contains(got, `\x1b[2J`) && time.Now().Before(end); got = lines("-o", "args") {
			time.Sleep(20 * time.Millisecond)
		}
		if strings.Contains(got, "\x1b") || !strings.Contains(got, `\x1b[2J`) {
			t.Errorf("escapes: %q", got)
		}
	})
}
