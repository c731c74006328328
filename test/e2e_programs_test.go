package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestGoProgram(t *testing.T) {
	path := buildGo(t, "threads")
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, gc := range []string{"100", "5"} {
			t.Run("GOGC="+gc, func(t *testing.T) {
				compareCommand(t, platform, command{argv: []string{path}, env: append(environment(), "GOGC="+gc), timeout: time.Minute})
			})
		}
	})
}

// TestFatalSignals compares the status of programs killed by each signal, as the sandbox's own status.
func TestFatalSignals(t *testing.T) {
	need(t, "sh")
	eachPlatform(t, func(t *testing.T, platform string) {
		for s := syscall.Signal(1); s < 32; s++ {
			switch s {
			case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG, syscall.SIGWINCH:
				continue
			}
			t.Run(fmt.Sprint(int(s)), func(t *testing.T) {
				c := command{argv: []string{"sh", "-c", fmt.Sprintf("kill -%d $$; sleep 5", s)}}
				if r := c.sandbox(t, platform); r.status != 128+int(s) {
					t.Errorf("want status %d: %v\n%s", 128+int(s), r, r.log)
				}
			})
		}
	})
}

// TestStatus holds the exit statuses that sentry do itself gives.
func TestStatus(t *testing.T) {
	dir := workDir(t)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("echo hi\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("\x01not a program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, c := range []struct {
			name, program string
			status        int
		}{
			{"missing", "/no/such/program", 127}, {"missing_in_path", "no-such-program", 127},
			{"not_executable", plain, 126}, {"directory", "/etc", 126}, {"no_format", text, 126},
			{"true", "/bin/true", 0}, {"false_in_path", "false", 1},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := command{argv: []string{c.program}}.sandbox(t, platform)
				if r.status != c.status {
					t.Errorf("want status %d: %v", c.status, r)
				}
				if (c.status > 1) != (strings.Count(r.stderr, "\n") == 1) {
					t.Errorf("want one line that says why, or none: %q", r.stderr)
				}
			})
		}
	})
}

// TestFlags holds what the flags of sentry do make a program see.
func TestFlags(t *testing.T) {
	need(t, "sh")
	dir := workDir(t)
	for name, text := range map[string]string{"f": "host\n", "sub/g": "below\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, c := range []struct {
			name   string
			flags  []string
			script string
			want   string
		}{
			{"cwd", []string{"--cwd=/usr"}, "pwd", "/usr\n"},
			{"env", []string{"--env", "A=b c", "--env", "D="}, `echo "$A$D."`, "b c.\n"},
			{"hostname", []string{"--hostname=inside"}, "uname -n", "inside\n"},
			{"overlay", nil, fmt.Sprintf("echo changed >%s/f && cat %s/f && rm %s/sub/g && ls %s/sub", dir, dir, dir, dir), "changed\n"},
			{"ro_inside", []string{"--ro", dir + ":/mnt"}, "cat /mnt/sub/g; touch /mnt/x 2>/dev/null || echo refused", "below\nrefused\n"},
			{"rw", []string{"--rw", dir}, fmt.Sprintf("cd %s && echo new >made && cat f && mv made kept && mkdir d && rmdir d && echo ok", dir), "host\nok\n"},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := command{argv: []string{"sh", "-c", c.script}, flags: c.flags}.sandbox(t, platform)
				if r.stdout != c.want || r.status != 0 || r.stderr != "" {
					t.Errorf("want %q: %v\n%s", c.want, r, r.log)
				}
			})
		}
		if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "host\n" {
			t.Errorf("the host's file is now %q, %v", b, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "kept")); err != nil || string(b) != "new\n" {
			t.Errorf("the file written by --rw is %q, %v", b, err)
		}
		os.Remove(filepath.Join(dir, "kept"))
	})
}

func TestStrace(t *testing.T) {
	need(t, "sh")
	eachPlatform(t, func(t *testing.T, platform string) {
		log := filepath.Join(workDir(t), "trace")
		r := command{argv: []string{"sh", "-c", "/bin/echo hello; exit"}, flags: []string{"--strace=write,execve", "--log", log}}.sandbox(t, platform)
		b, err := os.ReadFile(log)
		if r.status != 0 || err != nil {
			t.Fatalf("%v, %v", r, err)
		}
		for _, want := range []string{"write(", "hello", "execve("} {
			if !strings.Contains(string(b), want) {
				t.Errorf("no %q in the trace:\n%s", want, tail(string(b), 20))
			}
		}
		if strings.Contains(string(b), "openat(") {
			t.Errorf("calls that were not asked for:\n%s", tail(string(b), 20))
		}
	})
}

// TestOrdinaryUser runs the sandbox as a user without privileges.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		needDevice(t, platform)
		for _, s := range []script{
			{name: "echo", text: `echo hello | tr a-z A-Z; exit 3`},
			{name: "files", text: `echo x >f; chmod 640 f; cat f; mkdir d; mv f d; ls -R; rm -r d; ls`},
			{name: "processes", text: `for i in 1 2 3; do (exit $i) & wait $!; echo $?; done; sleep 5 & kill $!; wait $!; echo $?`},
			{name: "refused", text: `cat /etc/shadow 2>&1; echo x 2>&1 >/proc/sys/kernel/panic; echo $?`},
		} {
			t.Run(s.name, func(t *testing.T) {
				compareCommand(t, platform, command{argv: []string{"sh", "-c", s.text}, asUser: 65432})
			})
		}
	})
}

// TestStandardStreams passes data through the streams in both directions while the program runs.
func TestStandardStreams(t *testing.T) {
	need(t, "sh", "cat")
	big := strings.Repeat("0123456789abcde\n", 1<<16)
	eachPlatform(t, func(t *testing.T, platform string) {
		if r := (command{argv: []string{"cat"}, stdin: big}).sandbox(t, platform); r.stdout != big || r.status != 0 {
			t.Errorf("cat of 1 MiB: status %d, %d bytes", r.status, len(r.stdout))
		}
		r := command{argv: []string{"sh", "-c", "exec <&-; echo out; exec >&-; echo lost; echo err >&2"}}.sandbox(t, platform)
		if r.stdout != "out\n" || !strings.Contains(r.stderr, "err\n") {
			t.Errorf("closed streams: %v", r)
		}
	})
}
