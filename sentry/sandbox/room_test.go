package sandbox

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// limited runs a spec as a user whose shell becomes the outer process, at SANDBOX, when it has done something to itself.
func limited(t *testing.T, uid int, before string, spec Spec) (status int, stdout, stderr string) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	o := newOuter(t, uid, spec)
	o.Args, o.Path = []string{"bash", "-c", strings.ReplaceAll(before, "SANDBOX", "exec -a "+outerName+" \"$0\""), o.Path}, bash
	status = o.run(t)
	return status, o.out.String(), o.err.String()
}

// TestLowLimits starts sandboxes where the caller may have little: they have little, or say which limit it is.
func TestLowLimits(t *testing.T) {
	const raise = " (raise it where it is set, "
	for _, c := range []struct{ before, stdout, stderr string }{
		{"ulimit -f 0; SANDBOX", "", "sentry: the hard limit of the size of files (RLIMIT_FSIZE) is 0, and a sandbox needs 67108864" + raise + "ulimit -f shows"},
		{"ulimit -f 65000; SANDBOX", "", "sentry: the hard limit of the size of files (RLIMIT_FSIZE) is 66560000, and"},
		{"ulimit -f 200000; SANDBOX", "400000\n100000 kB\n", ""},
		{"ulimit -v 2000000; SANDBOX", "", "sentry: the hard limit of address space (RLIMIT_AS) is 2048000000, and a sandbox needs 2214592512" + raise + "ulimit -v shows"},
		{"ulimit -v 3000000; SANDBOX", "unlimited\n451424 kB\n", ""},
		{"ulimit -n 20; SANDBOX", "", "sentry: the hard limit of open files (RLIMIT_NOFILE) is 20, and a sandbox needs 64" + raise + "ulimit -n shows"},
		{"ulimit -i 1; SANDBOX", "", "sentry: the hard limit of pending signals (RLIMIT_SIGPENDING) is 1, and a sandbox needs 32" + raise + "ulimit -i shows"},
		{"ulimit -Si 1; SANDBOX", "unlimited\n", ""},
		{"ulimit -u 9; SANDBOX", "", "ulimit -u"},
	} {
		status, stdout, stderr := limited(t, nobodyOr(), c.before, shell("ulimit -f; awk '/MemTotal/ {print $2, $3}' /proc/meminfo"))
		if ran := status == 0; ran != (c.stderr == "") || ran && !strings.HasPrefix(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || ran && stderr != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want %q and %q", c.before, status, stdout, stderr, c.stdout, c.stderr)
		}
	}
}

// TestRootWithoutCapabilities says what root misses.
func TestRootWithoutCapabilities(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root is told")
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("no setpriv")
	}
	status, _, stderr := limited(t, 0, "export S=\"$0\"; exec setpriv --bounding-set=-all --inh-caps=-all bash -c 'exec -a "+outerName+" \"$S\"'", shell("true"))
	if status != Failed || !strings.Contains(stderr, "(root must have the capability CAP_SETFCAP") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}
