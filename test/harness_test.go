package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tempDir is the directory of this run; every user may enter it.
var tempDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "sentry-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		panic(err)
	}
	return dir
})

// built is the sandbox's program.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SENTRY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(tempDir(), "sentry")
	cmd := exec.Command("go", "build", "-o", path, "gosentry/cmd/sentry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/sentry: %v\n%s", err, out)
	}
	return path, nil
})

func sentry(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) {
	// Descriptors that we inherited must not make host and sandbox differ.
	unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	usualState()
	status := m.Run()
	if left := leftovers(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "processes left after all tests: %q\n", left)
		status = 1
	}
	os.RemoveAll(tempDir())
	os.Exit(status)
}

// usualState has programs start as tests expect it, whatever whoever started the tests has: with no signal ignored or blocked (nohup
// ignores SIGHUP, and shells have what they start in the background ignore SIGINT), with the usual umask, a stack that ends, no core
// files, a directory for temporary files as there is everywhere, and no persona, which may say where memory is. What else they inherit, sandboxes do, too.
func usualState() {
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // this process goes on without
		}
	}
	unix.Umask(0o022)
	os.Unsetenv("GOTMPDIR") // testing prefers it
	// Sandboxes have directories of their own where the host's kernel tells of itself, and addresses of sockets are short.
	if own := regexp.MustCompile(`^/(dev|proc|sys)/`); own.MatchString(os.TempDir()) || len(os.TempDir()) > 40 {
		os.Setenv("TMPDIR", "/tmp")
	}
	for which, usual := range map[int]uint64{unix.RLIMIT_STACK: 8 << 20, unix.RLIMIT_CORE: 0} {
		var l unix.Rlimit
		if unix.Getrlimit(which, &l) == nil {
			l.Cur = min(usual, l.Max)
			unix.Setrlimit(which, &l) //nolint:errcheck // it is within the hard limit
		}
	}
	if os.Getenv(again) != "" {
		os.Unsetenv(again)
		return
	}
	// Go's runtime gives programs the mask of signals that it was started with, which it does not tell.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Syscall(unix.SYS_PERSONALITY, 0, 0, 0)
	if unix.PthreadSigmask(unix.SIG_SETMASK, new(unix.Sigset_t), nil) == nil {
		syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), again+"=1")) //nolint:errcheck // then it is as it was
	}
}

// again in the environment says that usualState has done what it can.
const again = "SENTRY_TEST_AGAIN"

// leftovers returns the processes that run the sandbox's program and do not end.
func leftovers() []string {
	path, err := built()
	if err != nil {
		return nil
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := running(path)
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// running returns the processes whose program is path, zombies aside.
func running(path string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, l := range links {
		if exe, err := os.Readlink(l); err == nil && strings.TrimSuffix(exe, " (deleted)") == path {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(l), "cmdline"))
			found = append(found, filepath.Dir(l)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// command is a program to run.
type command struct {
	argv    []string
	env     []string // nil: a fixed small environment
	stdin   string
	input   *os.File      // standard input instead, if not nil
	dir     string        // "": a fresh directory
	timeout time.Duration // 0: usualTime
	flags   []string      // of "sentry do", in the sandbox only
	asUser  uint32        // run by this user instead of ours, if not 0
	leaves  bool          // what it leaves running keeps its output: that goes to files, whose end nobody waits for
}

// result is what became of a command.
type result struct {
	stdout, stderr string
	status         int // as a shell shows it: 128+n for signal n
	timedOut       bool
	took           time.Duration
	log            string // the sandbox's log
	resident       int64  // the most that one of its processes had in memory, in KiB
}

func (r result) String() string {
	end := ""
	if r.timedOut {
		end = " (killed: it took too long)"
	}
	return fmt.Sprintf("status %d%s\nstdout:\n%sstderr:\n%s", r.status, end, r.stdout, r.stderr)
}

// environment is what commands get that ask for nothing else: nothing in it depends on
// who runs the tests, but for what the race detector of a SENTRY that has one is to do.
func environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "TMPDIR=/tmp"}
	if options := os.Getenv("GORACE"); options != "" {
		env = append(env, "GORACE="+options)
	}
	return env
}

func (c command) host(t testing.TB) result {
	t.Helper()
	return c.run(t, c.argv)
}

func (c command) sandbox(t testing.TB, platform string) result {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	if c.asUser != 0 {
		log = "/dev/null"
	}
	if platform == "kvm" && c.timeout == 0 {
		c.timeout = 4 * usualTime // see costly
	}
	argv := []string{sentry(t), "do", "--platform=" + platform, "--log", log}
	argv = append(argv, strings.Fields(os.Getenv("SENTRY_FLAGS"))...)
	argv = append(argv, c.flags...)
	argv = append(append(argv, "--"), c.argv...)
	r := c.run(t, argv)
	if b, err := os.ReadFile(log); err == nil {
		r.log = tail(string(b), 150)
	}
	return r
}

const (
	// usualTime is how long a command may take that does not say.
	usualTime = 3 * time.Minute
	// patience is how long tests wait for what is sure to come soon on a host that does nothing else.
	patience = time.Minute
)

// run runs argv in a process group of its own and kills the group when time is up.
func (c command) run(t testing.TB, argv []string) result {
	t.Helper()
	env := c.env
	if env == nil {
		env = environment()
	}
	cmd := exec.Command(found(argv[0], env), argv[1:]...)
	cmd.Args[0], cmd.Dir, cmd.Env = argv[0], c.dir, env
	if cmd.Dir == "" {
		cmd.Dir = workDir(t)
	}
	cmd.Stdin = strings.NewReader(c.stdin)
	if c.input != nil {
		cmd.Stdin = c.input
	}
	var stdout, stderr func() string
	cmd.Stdout, stdout = c.output(t)
	cmd.Stderr, stderr = c.output(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.asUser != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.asUser, Gid: c.asUser}
	}
	cmd.WaitDelay = 10 * time.Second
	if c.timeout == 0 {
		c.timeout = usualTime
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %q: %v", argv[0], err)
	}
	var timedOut bool
	var mu sync.Mutex
	timer := time.AfterFunc(c.timeout, func() {
		mu.Lock()
		defer mu.Unlock()
		timedOut = true
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	err := cmd.Wait()
	timer.Stop()
	mu.Lock()
	defer mu.Unlock()
	status := exitStatus(t, cmd, err)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return result{stdout(), stderr(), status, timedOut, time.Since(start), "", usage.Maxrss}
}

// found is where a program is along the PATH of env, as the sandbox looks for it: that of the tests may lead elsewhere first.
func found(program string, env []string) string {
	for _, e := range env {
		list, is := strings.CutPrefix(e, "PATH=")
		if !is || strings.Contains(program, "/") {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return path
			}
		}
	}
	return program
}

func exitStatus(t testing.TB, cmd *exec.Cmd, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Logf("waiting for %q: %v", cmd.Args[0], err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// output returns what takes a command's output, and what to read it with at the end.
func (c command) output(t testing.TB) (io.Writer, func() string) {
	t.Helper()
	if !c.leaves {
		b := new(limited)
		return b, b.String
	}
	f, err := os.CreateTemp(tempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(f.Name())
	return f, func() string {
		defer f.Close()
		text, _ := io.ReadAll(io.NewSectionReader(f, 0, maxOutput))
		return string(text)
	}
}

// maxOutput is how much of a command's output is kept, in bytes.
const maxOutput = 4 << 20

// limited is a buffer that takes a few MiB and drops the rest.
type limited struct {
	bytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// workDir makes a directory for one run that every user may use.
func workDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(tempDir(), "w")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// need skips the test if a program is missing.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// needCgroups skips the test where the host has no tree of cgroup2 that groups can be made in.
func needCgroups(t testing.TB) {
	t.Helper()
	for _, base := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(base + "/cgroup.procs"); err == nil && unix.Access(base+"/cgroup.procs", unix.W_OK) == nil {
			return
		}
	}
	t.Skip("the host has no cgroup2 that can be written")
}

// compare fails the test if the sandbox's result is not the host's.
func compare(t testing.TB, host, sandbox result) {
	t.Helper()
	if host.timedOut {
		t.Fatalf("on the host: %v", host)
	}
	if sandbox.timedOut {
		t.Errorf("in the sandbox it took too long; until then:\n%v", sandbox)
	}
	if host.status != sandbox.status {
		t.Errorf("status %d on the host, %d in the sandbox", host.status, sandbox.status)
	}
	if d := diff(host.stdout, sandbox.stdout); d != "" {
		t.Errorf("output differs (- host, + sandbox):\n%s", d)
	}
	if d := diff(withoutPIDs(host.stderr), withoutPIDs(sandbox.stderr)); d != "" {
		t.Errorf("stderr differs (- host, + sandbox):\n%s", d)
	}
	if t.Failed() && sandbox.log != "" {
		t.Logf("the sandbox's log ends:\n%s", sandbox.log)
	}
}

// bashPID is where bash names a job's process.
var bashPID = regexp.MustCompile(`(?m)^(\S+: line \d+:) +\d+ `)

func withoutPIDs(s string) string { return bashPID.ReplaceAllString(s, "$1 PID ") }

func tail(s string, lines int) string {
	l := strings.SplitAfter(s, "\n")
	return strings.Join(l[max(0, len(l)-lines-1):], "")
}
