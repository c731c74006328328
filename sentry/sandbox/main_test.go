package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// The test binary is its own outer and inner process: with outerName as its
// first argument it runs the sandbox described in specVariable.
const (
	outerName    = "sentry-test-outer"
	specVariable = "SENTRY_TEST_SPEC"
	// noNamespaces makes the outer process forbid user namespaces below its own.
	noNamespaces = "SENTRY_TEST_NO_NAMESPACES"
)

func TestMain(m *testing.M) {
	if IsInner() {
		Inner(bootTest)
	}
	if os.Args[0] == outerName {
		os.Exit(outerMain())
	}
	unix.Umask(0o022) // other users run this program, and look at files
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // what is caught here is not ignored in what is started
		}
	}
	os.Exit(m.Run())
}

func outerMain() int {
	var spec Spec
	if err := json.Unmarshal([]byte(os.Getenv(specVariable)), &spec); err != nil {
		panic(err)
	}
	if os.Getenv(noNamespaces) != "" {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			panic(err)
		}
	}
	status, err := Run(spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sentry:", err)
	}
	return status
}

// nobody is an ordinary user for tests that run as root.
const nobody = 65534

// outer is an outer process ready to be started.
type outer struct {
	*exec.Cmd
	out, err strings.Builder
}

// newOuter makes an outer process that runs spec as the given user (which must
// be the present one where that is not root).
func newOuter(t *testing.T, uid int, spec Spec) *outer {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	o := &outer{Cmd: &exec.Cmd{
		Path: binary(t), Args: []string{outerName}, Dir: "/",
		Env:         append(os.Environ(), specVariable+"="+string(text)),
		SysProcAttr: &syscall.SysProcAttr{},
	}}
	o.Stdout, o.Stderr = &o.out, &o.err
	if uid != os.Getuid() {
		o.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return o
}

// binary returns the path of the test binary at a place that every user may execute.
func binary(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "test")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// eachUser runs f as the present user and, when that is root, as an ordinary one.
func eachUser(t *testing.T, f func(t *testing.T, uid int)) {
	t.Run(strconv.Itoa(os.Getuid()), func(t *testing.T) { f(t, os.Getuid()) })
	t.Run("ordinary user", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("this is one already")
		}
		f(t, nobody)
	})
}

// finish waits for the outer process and returns its exit status.
func (o *outer) finish(t *testing.T) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- o.Wait() }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		o.Process.Kill()
		t.Fatalf("the sandbox did not end; stderr: %s", o.err.String())
	}
	if s := o.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		return -int(s.Signal())
	}
	return o.ProcessState.ExitCode()
}

func (o *outer) run(t *testing.T) int {
	t.Helper()
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	return o.finish(t)
}

// bootTest boots the real kernel for programs with a path, and a stub for the rest.
func bootTest(in *Inside) (Guest, error) {
	if strings.HasPrefix(in.Args[0], "/") {
		return BootKernel(in)
	}
	return bootStub(in)
}

// stub is a guest that does what its arguments say.
type stub struct {
	in      *Inside
	signals chan unix.Signal
}

func bootStub(in *Inside) (Guest, error) {
	if in.Args[0] == "boot-error" {
		return nil, &Failure{What: "cannot boot", Cause: unix.ENODEV, Way: "use another"}
	}
	return &stub{in: in, signals: make(chan unix.Signal, 10)}, nil
}

func (s *stub) HostCalls() []seccomp.Rule { return seccomp.Allow(unix.SYS_OPENAT2, unix.SYS_FSTAT) }

func (s *stub) SendExternal(sig unix.Signal) { s.signals <- sig }

func (s *stub) Start() error {
	if s.in.Args[0] == "start-error" {
		n, _ := strconv.Atoi(s.in.Args[1])
		return unix.Errno(n)
	}
	return nil
}

func (s *stub) Wait() (Exit, error) {
	arg := func(i int) int { n, _ := strconv.Atoi(s.in.Args[i]); return n }
	switch s.in.Args[0] {
	case "exit":
		return Exit{Status: arg(1)}, nil
	case "signal":
		return Exit{Signal: unix.Signal(arg(1))}, nil
	case "panic":
		panic("a fault of the stub")
	case "print":
		s.print("%s|%s|%s|%s|%d|%d", s.in.Args[1], s.in.Env[0], s.in.Cwd, s.in.Hostname, s.in.UID, s.in.GID)
	case "sealed":
		s.print("%v", s.in.Root.Sealed)
	case "wait":
		s.print("ready\n")
		return Exit{Signal: <-s.signals}, nil
	case "probe":
		return s.probe(s.in.Args[1]), nil
	case "broken":
		return Exit{}, errors.New("panic in task 3: oh\nstack")
	}
	return Exit{}, nil
}

func (s *stub) print(format string, args ...any) {
	unix.Write(s.in.Stdio[1], fmt.Appendf(nil, format, args...))
}
