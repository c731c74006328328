package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// script is a shell script run on the host and in the sandbox, in a fresh directory.
type script struct {
	name  string
	text  string
	needs []string // programs it calls that may be missing
	stdin string
}

// runScripts compares the scripts under a shell, given as the command line before the script.
func runScripts(t *testing.T, shell []string, scripts []script) {
	eachPlatform(t, func(t *testing.T, platform string) {
		need(t, shell[0])
		for _, s := range scripts {
			sub(t, platform, s.name, func(t *testing.T) {
				need(t, s.needs...)
				compareCommand(t, platform, command{argv: append(append([]string{}, shell...), s.text), stdin: s.stdin})
			})
		}
	})
}

// compareCommand runs c on the host and in the sandbox, each in a directory of the same
// name, and compares.
func compareCommand(t *testing.T, platform string, c command) {
	t.Helper()
	if c.dir == "" {
		c.dir = filepath.Join(workDir(t), "work")
	}
	remake := func() {
		os.RemoveAll(c.dir)
		if err := os.Mkdir(c.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		os.Chmod(c.dir, 0o777)
	}
	remake()
	host := c.host(t)
	remake()
	sandbox := c.sandbox(t, platform)
	if names, err := os.ReadDir(c.dir); err != nil || len(names) > 0 {
		t.Errorf("the sandbox left files in the host's directory: %v %v", names, err)
	}
	compare(t, host, sandbox)
}

func TestDash(t *testing.T) { runScripts(t, []string{"dash", "-c"}, shellScripts()) }

func TestBash(t *testing.T) {
	runScripts(t, []string{"bash", "-c"}, append(shellScripts(), bashScripts()...))
}

// TestBusyboxShell runs the scripts with busybox's shell, whose tools then run by its own name.
func TestBusyboxShell(t *testing.T) {
	runScripts(t, []string{"busybox", "sh", "-c"}, shellScripts())
}

func TestTools(t *testing.T) { runScripts(t, []string{"sh", "-c"}, toolScripts()) }

// TestApplets runs busybox's applets: the shell finds no other program.
func TestApplets(t *testing.T) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, s := range appletScripts() {
			sub(t, platform, s.name, func(t *testing.T) {
				text := "b() { " + path + ` "$@"; }` + "\n" + s.text
				compareCommand(t, platform, command{argv: []string{path, "sh", "-c", text}, env: []string{"PATH=/nowhere", "LC_ALL=C"}, stdin: s.stdin})
			})
		}
	})
}

// TestInherited starts the sandbox with what execve(2) keeps of a process, none of it as usual: its program must have it, too. Of the
// signals these are some that Go's runtime leaves alone.
func TestInherited(t *testing.T) {
	need(t, "bash", "nice", "chrt", "ionice", "setarch", "choom", "nohup", "setpriv", "prlimit")
	started := []string{
		"nice", "-n", "3", "chrt", "--batch", "0", "ionice", "-c", "3", "setarch", "-R", "choom", "-n", "300", "--", "prlimit", "--nofile=200:250",
		"setpriv", "--no-new-privs", "nohup", "env", "--block-signal=USR1", "sh", "-c",
		`umask 027; echo 0x7f >/proc/self/coredump_filter; echo 12345 >/proc/self/timerslack_ns; trap "" INT; exec "$@"`, "-",
	}
	// Another shell than that may unblock signals for its children.
	asked := []string{"bash", "-c", `nice; chrt -p $$ | sed 's/.*: //'; ionice; umask; ulimit -n; ulimit -Hn; cd /proc/self
		cat personality oom_score_adj coredump_filter /proc/self/timerslack_ns; grep -E '^(SigIgn|SigBlk|NoNewPrivs)' status`}
	output := func(t *testing.T, inner ...string) string {
		argv := slices.Concat(started, inner, asked)
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatal(argv, err)
		}
		return string(out)
	}
	host := output(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		if inside := output(t, sentry(t), "do", "--platform", platform); inside != host {
			t.Errorf("the host says %q, the sandbox %q", host, inside)
		}
	})
}
