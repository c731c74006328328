package ptrace

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/pool"
	"gosentry/platform/platformtest"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// roleVariable tells a copy of the test program what it is for.
const roleVariable = "PTRACE_TEST_ROLE"

// TestMain makes copies of the test program play their roles.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "victim" {
		victim()
	}
	os.Exit(m.Run())
}

// self returns a command that runs this test program in a role.
func self(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd := exec.Command("/proc/self/fd/3", args...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Dir = "/"
	return cmd
}

// victim runs guests until it is killed, and says where they are.
func victim() {
	var t testing.T
	p, err := New()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := range 4 {
		code := loopCode
		if i%2 == 0 {
			code = callCode
		}
		g := newGuest(&t, p, code...)
		go func() {
			for {
				g.Run(g.as, g.regs)
			}
		}()
		for g.pid() == 0 {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(g.pid())
	}
	fmt.Println("ready")
	select {}
}

// TestNothingLeft kills a sentry with SIGKILL; its blank processes end with it.
func TestNothingLeft(t *testing.T) {
	cmd := self(t, "victim")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "ready"; {
		pids = append(pids, s.Text())
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(pids) < 4 {
		t.Fatalf("the sentry says %q", pids)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		left := 0
		for _, pid := range pids {
			if b, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !bytes.Contains(b, []byte(") Z ")) {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d blank processes are left", left, len(pids))
		}
	}
}

// TestShapes runs the suite as those who run a sentry do: as an ordinary
// user, and as process 1 of namespaces of its own without any capability.
func TestShapes(t *testing.T) {
	ids := func(host int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 1000, HostID: host, Size: 1}}
	}
	for _, test := range []struct {
		name string
		attr *syscall.SysProcAttr
	}{
		{"user", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}},
		{"namespaces", &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
			UidMappings: ids(os.Getuid()), GidMappings: ids(os.Getgid()),
			Credential: &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "user" && os.Getuid() != 0 {
				t.Skip("needs root to become somebody else; the whole test runs as a user already")
			}
			runSuite(t, "plain", test.attr)
		})
	}
}

// TestLocked runs the suite on a platform that was made with the capabilities there are, without them and behind a filter that allows what Syscalls says, what Go's runtime
// needs, and what the suite itself does.
func TestLocked(t *testing.T) { runSuite(t, "locked", nil) }

func runSuite(t *testing.T, role string, attr *syscall.SysProcAttr) {
	t.Helper()
	cmd := self(t, role, "-test.run=^TestSuite$", "-test.v", "-test.timeout=5m")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("=== RUN")) && attr != nil && attr.Cloneflags != 0 {
		t.Skipf("the host gives no namespaces: %v", err)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestSuite")) {
		t.Errorf("%v\n%s", err, tail(out))
	}
}

func tail(out []byte) string {
	lines := strings.Split(string(out), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// TestSuite is the suite that every platform passes.
func TestSuite(t *testing.T) {
	newPlatform := func(t testing.TB) platform.Platform { return testPlatform(t, pool.MaxProcesses, maxRunning) }
	if os.Getenv(roleVariable) == "locked" {
		p := testPlatform(t, pool.MaxProcesses, maxRunning)
		lockDown(t)
		newPlatform = func(testing.TB) platform.Platform { return kept{p} }
	}
	platformtest.Run(t, newPlatform)
}

func BenchmarkSuite(b *testing.B) {
	platformtest.Bench(b, func(tb testing.TB) platform.Platform {
		p, err := New()
		if err != nil {
			tb.Fatal(err)
		}
		return p
	})
}

// kept is a platform that the suite cannot release.
type kept struct{ platform.Platform }

func (kept) Release() {}

// lockDown allows the process what Syscalls says and what Go's runtime and the suite need.
func lockDown(t *testing.T) {
	calls := Syscalls()
	for _, nr := range []uintptr{
		// The runtime's.
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION,
		unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_MADVISE, unix.SYS_GETPID,
		unix.SYS_SIGALTSTACK, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLONE,
		unix.SYS_CLONE3, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_PRCTL, unix.SYS_ARCH_PRCTL,
		unix.SYS_RESTART_SYSCALL, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE,
		unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETRANDOM, unix.SYS_MPROTECT, unix.SYS_MMAP,
		// The suite's.
		unix.SYS_MEMFD_CREATE, unix.SYS_FTRUNCATE, unix.SYS_DUP, unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_FSTAT,
		unix.SYS_GETDENTS64, unix.SYS_FCNTL, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_CREATE1, unix.SYS_EVENTFD2, unix.SYS_PREAD64,
	} {
		calls = append(calls, platform.HostCall{Number: nr})
	}
	calls = append(calls, platform.HostCall{Number: unix.SYS_TGKILL, Arg: 0, Values: []uint32{uint32(os.Getpid())}})
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	for _, c := range calls {
		if c.Values == nil {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.Number), SkipTrue: 1}, allow)
			continue
		}
		skip := uint8(2*len(c.Values) + 2)
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.Number), SkipTrue: skip},
			bpf.LoadAbsolute{Off: uint32(16 + 8*c.Arg), Size: 4})
		for _, v := range c.Values {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: 1}, allow)
		}
		program = append(program, bpf.LoadAbsolute{Off: 0, Size: 4})
	}
	program = append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_TRAP})
	raw, err := bpf.Assemble(program)
	if err != nil {
		t.Fatal(err)
	}
	dropCapabilities()
	if errno := loadFilter(raw); errno != 0 {
		t.Fatalf("seccomp: %v", errno)
	}
}
