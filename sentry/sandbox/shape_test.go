package sandbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func nobodyOr() int {
	if os.Getuid() == 0 {
		return nobody
	}
	return os.Getuid()
}

func TestOutcome(t *testing.T) {
	cases := []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"exit", "0"}, 0, ""},
		{[]string{"exit", "7"}, 7, ""},
		{[]string{"signal", "11"}, 139, ""},
		{[]string{"start-error", strconv.Itoa(int(unix.ENOENT))}, NotFound, "sentry: start-error: executable file not found in the sandbox's $PATH\n"},
		{[]string{"start-error", strconv.Itoa(int(unix.EACCES))}, NotExecutable, "sentry: start-error: permission denied\n"},
		{[]string{"start-error", strconv.Itoa(int(unix.ENOEXEC))}, NotExecutable, "sentry: start-error: exec format error\n"},
		{[]string{"start-error", strconv.Itoa(int(unix.ENOMEM))}, Failed, "sentry: start-error: cannot allocate memory\n"},
		{[]string{"boot-error"}, Failed, "sentry: cannot boot: no such device (use another)\n"},
		{[]string{"panic"}, Failed, "sentry: the sandbox broke: panic: a fault of the stub"},
		{[]string{"broken"}, Failed, "sentry: the sandbox broke: panic in task 3: oh (this is a fault of sentry; --debug or --log FILE shows the stack trace)\n"},
	}
	eachUser(t, func(t *testing.T, uid int) {
		for _, c := range cases {
			o := newOuter(t, uid, Spec{Args: c.args})
			if status := o.run(t); status != c.status {
				t.Errorf("%v: status %d, want %d", c.args, status, c.status)
			}
			if got := o.err.String(); !strings.HasPrefix(got, c.stderr) || strings.Count(got, "\n") > 1 {
				t.Errorf("%v: stderr %q, want %q", c.args, got, c.stderr)
			}
		}
	})
}

func TestWhatArrives(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		odd := "\xff\xfe"
		o := newOuter(t, uid, Spec{Args: []string{"print", "a b"}, Env: []string{"K=V"}, Cwd: "/x", Hostname: "h"})
		if status := o.run(t); status != 0 {
			t.Fatalf("status %d, stderr %q", status, o.err.String())
		}
		if want := fmt.Sprintf("a b|K=V|/x|h|%d|%d", uid, uid); o.out.String() != want {
			t.Errorf("got %q, want %q", o.out.String(), want)
		}
		list := opaques([]string{odd})
		text, _ := json.Marshal(list)
		if err := json.Unmarshal(text, &list); err != nil || string(list[0]) != odd {
			t.Errorf("a string that is not UTF-8 became %q, %v", list[0], err)
		}
	})
}

func TestBadDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("h", 64)
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Root: "/does/not/exist"}, "cannot open the root file system /does/not/exist: no such file or directory (make it first, or name another)"},
		{Spec{Root: file}, "cannot open the root file system " + file + ": not a directory (name a directory)"},
		{Spec{Binds: []Bind{{Host: "/does/not/exist", Inside: "/x"}}}, "cannot open the directory to bind /does/not/exist: no such file or directory (make it first, or name another)"},
		{Spec{Log: Log{File: "/does/not/exist"}}, "cannot open the log /does/not/exist: no such file or directory (make its directory first, or name another file)"},
		{Spec{Platform: "vax"}, "no platform vax (there are systrap, ptrace, kvm)"},
		{Spec{Hostname: long + "h"}, `--hostname "` + long + `h" has 65 bytes (give at most 64, as many as sethostname(2) takes)`},
		{Spec{Cwd: "relative"}, `--cwd "relative" does not begin with / (give the whole path inside)`},
	} {
		c.spec.Args = []string{"exit", "0"}
		o := newOuter(t, os.Getuid(), c.spec)
		if status := o.run(t); status != Failed {
			t.Errorf("status %d", status)
		}
		if o.err.String() != "sentry: "+c.want+"\n" {
			t.Errorf("stderr %q, want %q", o.err.String(), c.want)
		}
	}
}

func TestPrivateRoot(t *testing.T) {
	const other = 12345 // neither root nor who else runs tests
	dir := publicDir(t)
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, other, other); err != nil {
			t.Fatal(err)
		}
	}
	eachUser(t, func(t *testing.T, uid int) {
		want := "sentry: cannot open the root file system " + dir + ": permission denied (name one that this user may search)\n"
		if uid == 0 {
			want = "sentry: cannot mount on /dev inside: permission denied (the user who starts the sandbox must be allowed to search the directories there, without capabilities)\n"
		}
		expect(t, uid, Spec{Root: dir, Args: []string{"/true"}}, Failed, "", want)
	})
}

func TestNoUserNamespaces(t *testing.T) {
	o := newOuter(t, os.Getuid(), Spec{Args: []string{"exit", "0"}})
	o.Env = append(o.Env, noNamespaces+"=1")
	o.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER
	o.SysProcAttr.UidMappings = ownIDs().uid
	o.SysProcAttr.GidMappings = ownIDs().gid
	o.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_RESOURCE}
	if status := o.run(t); status != Failed {
		t.Errorf("status %d", status)
	}
	want := "sentry: cannot make the sandbox's namespaces: no space left on device (allow user namespaces: sysctl user.max_user_namespaces=10000)\n"
	if o.err.String() != want {
		t.Errorf("stderr %q, want %q", o.err.String(), want)
	}
}

func TestTraceGoesToTheLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	o := newOuter(t, os.Getuid(), Spec{Args: []string{"panic"}, Log: Log{File: log, JSON: true}})
	o.run(t)
	if !strings.HasSuffix(o.err.String(), "the stack trace is in "+log+")\n") {
		t.Errorf("stderr %q", o.err.String())
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "(*stub).Wait") || !strings.HasPrefix(string(text), "{") {
		t.Errorf("log %q", text)
	}
}

// waiting starts a sandbox whose guest waits for a signal, and returns it with the
// pid of its inner process.
func waiting(t *testing.T, uid int, args ...string) (*outer, int) {
	t.Helper()
	if len(args) == 0 {
		args = []string{"wait"}
	}
	o := newOuter(t, uid, Spec{Args: args})
	o.Stdout = nil
	out, err := o.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		o.finish(t)
		t.Fatalf("the guest did not start: %q %v, stderr %q", line, err, o.err.String())
	}
	kids := children(o.Process.Pid)
	if len(kids) != 1 {
		t.Fatalf("the outer process has children %v", kids)
	}
	return o, kids[0]
}

func children(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(s)
			list = append(list, n)
		}
	}
	return list
}

// gone waits until pid is no process any more.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 6000 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(text), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

func TestKillOuter(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		o, inner := waiting(t, uid)
		o.Process.Kill()
		o.finish(t)
		gone(t, inner)
	})
}

func TestKillInner(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		o, inner := waiting(t, uid)
		unix.Kill(inner, unix.SIGKILL)
		if status := o.finish(t); status != 137 {
			t.Errorf("status %d, want 137", status)
		}
		if want := "sentry: the sandbox was killed: signal 9, killed\n"; o.err.String() != want {
			t.Errorf("stderr %q", o.err.String())
		}
		gone(t, inner)
	})
}

func TestSignalsArrive(t *testing.T) {
	for _, sig := range forwarded() {
		o, inner := waiting(t, nobodyOr())
		o.Process.Signal(sig)
		want := bySignal + int(sig.(unix.Signal))
		if status := o.finish(t); status != want {
			t.Errorf("%v: status %d, want %d", sig, status, want)
		}
		gone(t, inner)
	}
}

// TestPrivileges looks from outside at every thread of the inner process.
func TestPrivileges(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		o, inner := waiting(t, uid)
		defer o.finish(t)
		defer o.Process.Signal(unix.SIGTERM)
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", inner))
		if len(threads) < 2 {
			t.Fatalf("found %d threads", len(threads))
		}
		for _, f := range threads {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
				"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
				if !strings.Contains(string(text), want+"\n") {
					t.Errorf("%s: no %q", f, want)
				}
			}
		}
		for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
			mine, _ := os.Readlink("/proc/self/ns/" + ns)
			its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", inner, ns))
			if os.Getuid() == 0 && (err != nil || mine == its) {
				t.Errorf("%s namespace: mine %s, the sandbox's %s, %v", ns, mine, its, err)
			}
		}
	})
}
