package test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// steps are the calls by which a verb changes what is outside of its own process.
var steps = map[uint64]bool{
	unix.SYS_MKDIRAT: true, unix.SYS_RENAMEAT: true, unix.SYS_UNLINKAT: true, unix.SYS_RMDIR: true, unix.SYS_FLOCK: true,
	unix.SYS_BIND: true, unix.SYS_LISTEN: true, unix.SYS_CONNECT: true, unix.SYS_SENDMSG: true, unix.SYS_RECVMSG: true,
	unix.SYS_WRITE: true, unix.SYS_LINKAT: true, unix.SYS_OPEN_TREE: true, unix.SYS_PIDFD_SEND_SIGNAL: true, unix.SYS_SOCKETPAIR: true,
	unix.SYS_CLONE: true, unix.SYS_CLONE3: true, unix.SYS_WAIT4: true, unix.SYS_WAITID: true, unix.SYS_EXIT_GROUP: true,
}

// stepped runs a verb and calls at before its nth step, with the verb's process; the verb goes on unless that kills it. It returns
// whether there was such a step, and the verb's status.
func (e *engine) stepped(n int, at func(pid int), args ...string) (reached bool, status unix.WaitStatus) {
	e.t.Helper()
	// Tracees belong to a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	defer null.Close()
	fd := null.Fd()
	pid, err := syscall.ForkExec(sentry(e.t), append([]string{"sentry", "--root", e.root, "--platform", e.platform}, args...), &syscall.ProcAttr{
		Dir: e.bundle, Env: environment(), Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	s := stepper{pid: pid, left: n, at: at, entered: map[int]bool{}}
	return s.run(e.t)
}

// stepper follows the threads of one process from call to call.
type stepper struct {
	pid     int
	left    int // steps
	at      func(pid int)
	entered map[int]bool // threads within a call
	reached bool
}

func (s *stepper) run(t *testing.T) (bool, unix.WaitStatus) {
	t.Helper()
	const mine = unix.WALL | unix.WNOTHREAD
	var status unix.WaitStatus
	if _, err := unix.Wait4(s.pid, &status, mine, nil); err != nil {
		t.Fatal(err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(s.pid, options); err != nil {
		t.Fatal(err)
	}
	unix.PtraceSyscall(s.pid, 0) //nolint:errcheck // the next wait tells
	guard := time.AfterFunc(usualTime, func() { unix.Kill(s.pid, unix.SIGKILL) })
	defer guard.Stop()
	for {
		tid, err := unix.Wait4(-1, &status, mine, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			t.Fatal(err)
		case status.Stopped():
			unix.PtraceSyscall(tid, s.stop(tid, status)) //nolint:errcheck // it may have been killed
		case tid == s.pid:
			return s.reached, status
		}
	}
}

// stop looks at a thread that stands, and returns the signal to go on with.
func (s *stepper) stop(tid int, status unix.WaitStatus) int {
	switch sig := status.StopSignal(); sig {
	case unix.SIGTRAP | 0x80:
		if s.entered[tid] = !s.entered[tid]; s.entered[tid] {
			s.enter(tid)
		}
		return 0
	case unix.SIGTRAP, unix.SIGSTOP:
		return 0 // of tracing: a new thread, or what made it
	default:
		return int(sig)
	}
}

func (s *stepper) enter(tid int) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil || !steps[regs.Orig_rax] || regs.Orig_rax == unix.SYS_CLONE && regs.Rdi&unix.CLONE_THREAD != 0 {
		return
	}
	if s.left--; s.left == 0 {
		s.reached = true
		s.at(s.pid)
	}
}

func killVerb(pid int) { unix.Kill(pid, unix.SIGKILL) } //nolint:errcheck // it stands before us

// killSandbox kills the sandbox of a verb, if it is there.
func killSandbox(pid int) {
	sandboxes := adopted()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range lists {
		text, _ := os.ReadFile(name)
		sandboxes = append(sandboxes, strings.Fields(string(text))...)
	}
	for _, id := range sandboxes {
		var n int
		if fmt.Sscan(id, &n); n > 1 {
			unix.Kill(n, unix.SIGKILL) //nolint:errcheck // it may have ended
		}
	}
}

// TestContainerKilledAtSteps kills a verb, and in another round its sandbox, before each step of create, start, exec and delete.
func TestContainerKilledAtSteps(t *testing.T) {
	adoptOrphans(t)
	every := 9
	if everything() {
		every = 1
	}
	e := newEngine(t, platforms()[0], nil)
	e.bundle = e.bundleIn("steps")
	t.Cleanup(removeGroups)
	e.must("run", "-d", "c")
	e.clean("c", "at first")
	reap()
	before := e.traces()
	verbs := []struct {
		name    string
		prepare [][]string
		args    []string
	}{
		{"create", nil, []string{"create", "--pid-file", "pid", "c"}},
		{"start", [][]string{{"create", "c"}}, []string{"start", "c"}},
		{"run", nil, []string{"run", "-d", "c"}},
		{"exec", [][]string{{"run", "-d", "c"}}, []string{"exec", "c", "true"}},
		{"exec -d", [][]string{{"run", "-d", "c"}}, []string{"exec", "-d", "--pid-file", "pid", "c", "sleep", "1000"}},
		{"kill", [][]string{{"run", "-d", "c"}}, []string{"kill", "c", "KILL"}},
		{"delete", [][]string{{"create", "c"}}, []string{"delete", "c"}},
		{"delete --force", [][]string{{"run", "-d", "c"}}, []string{"delete", "--force", "c"}},
	}
	for _, v := range verbs {
		for victim, kill := range map[string]func(int){"verb": killVerb, "sandbox": killSandbox} {
			for n, reached := 1, true; reached; n += every {
				what := fmt.Sprintf("%s: the %s killed before step %d", v.name, victim, n)
				for _, args := range v.prepare {
					e.must(args...)
				}
				var status unix.WaitStatus
				reached, status = e.stepped(n, kill, v.args...)
				if status.Signaled() && victim == "sandbox" {
					t.Errorf("%s: the verb hangs", what)
				}
				if victim == "verb" && strings.HasPrefix(v.name, "exec") && e.status("c") != specs.StateRunning {
					t.Errorf("%s: the container is not running", what)
				}
				e.must("list", "-q")
				e.clean("c", what)
				e.unchanged(before, what)
				e.noPIDFile(what)
			}
		}
	}
}

// noPIDFile checks that nothing is beside the pid file of a verb, and takes that away.
func (e *engine) noPIDFile(what string) {
	e.t.Helper()
	if left, _ := filepath.Glob(filepath.Join(e.bundle, ".*")); len(left) > 0 {
		e.t.Errorf("%s: %q are left", what, left)
	}
	if err := os.Remove(filepath.Join(e.bundle, "pid")); err != nil && !os.IsNotExist(err) {
		e.t.Error(err)
	}
}

// TestContainerKilledInHooks has each hook on the host kill the verb that runs it, or the sandbox.
func TestContainerKilledInHooks(t *testing.T) {
	adoptOrphans(t)
	for _, script := range []string{"kill -9 $PPID", `kill -9 $(sed 's/.*"pid":\([0-9]*\).*/\1/')`} {
		for _, kind := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
			e := newEngine(t, platforms()[0], func(c *specs.Spec) {
				shell("exec sleep 1000")(c)
				hooks := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script + "; sleep 0.2"}, Env: environment()}}
				c.Hooks = &specs.Hooks{}
				switch kind {
				case "prestart":
					c.Hooks.Prestart = hooks //nolint:staticcheck // it is still run
				case "createRuntime":
					c.Hooks.CreateRuntime = hooks
				case "createContainer":
					c.Hooks.CreateContainer = hooks
				case "poststart":
					c.Hooks.Poststart = hooks
				case "poststop":
					c.Hooks.Poststop = hooks
				}
			})
			for _, args := range [][]string{{"create", "c"}, {"start", "c"}, {"kill", "c", "KILL"}, {"delete", "--force", "c"}} {
				if r := e.do(args...); r.timedOut {
					t.Errorf("%s in %s: %q: %v", script, kind, args, r)
				}
			}
			for try := 0; ; try++ {
				// The hook after the end kills the one that removes, once: then nothing is there any more.
				if r := e.do("delete", "--force", "c"); r.status == 0 {
					break
				} else if try > 1 {
					t.Fatalf("%s in %s: delete --force: %v", script, kind, r)
				}
			}
			e.gone(script + " in " + kind)
			reap()
			if left, _ := os.ReadDir(e.root); len(left) > 0 {
				t.Errorf("%s in %s: left %v", script, kind, left)
			}
		}
	}
}
