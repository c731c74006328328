package sandbox

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// probe tries, behind the lock, what a sentry taken over by its guest would try.
// The calls of the first group are allowed and find nothing; those of the second end the process.
func (s *stub) probe(what string) Exit {
	switch what {
	case "open":
		_, err := unix.Openat2(unix.AT_FDCWD, "/etc/passwd", &unix.OpenHow{Flags: unix.O_RDONLY})
		s.print("absolute: %v\n", err)
		_, err = unix.Openat2(unix.AT_FDCWD, "../../etc", &unix.OpenHow{Flags: unix.O_PATH})
		s.print("dots: %v\n", err)
		_, err = unix.Openat2(unix.AT_FDCWD, "/new", &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o600})
		s.print("create: %v\n", err)
		_, err = unix.Openat2(s.in.Root.FD, "../../../etc/passwd", &unix.OpenHow{Flags: unix.O_WRONLY})
		s.print("write to the host: %v\n", err)
	case "socket":
		unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	case "exec":
		unix.Exec("/bin/true", []string{"true"}, nil)
	case "fork":
		unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	case "namespace":
		unix.Unshare(unix.CLONE_NEWUSER)
	case "code":
		unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	case "openat":
		unix.Open("/", unix.O_RDONLY, 0)
	case "ptrace":
		unix.PtraceAttach(1)
	case "kill":
		unix.Kill(-1, unix.SIGKILL)
	case "no_new_privs":
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	case "thread":
		// Threads made behind the lock have it too.
		const many = 20
		begin, started := make(chan bool), make(chan bool)
		for range many {
			go func() {
				runtime.LockOSThread()
				started <- true
				<-begin
				unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			}()
		}
		for range many {
			<-started
		}
		s.print("%d threads\n", many)
		begin <- true
		time.Sleep(30 * time.Second)
	}
	s.print("came back\n")
	return Exit{}
}

func TestLockHasNoPaths(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		o := newOuter(t, uid, Spec{Args: []string{"probe", "open"}})
		if status := o.run(t); status != 0 {
			t.Fatalf("status %d, stderr %q", status, o.err.String())
		}
		lines := strings.Split(o.out.String(), "\n")
		want := []string{"absolute: no such file or directory", "dots: no such file or directory", "create: read-only file system"}
		for i, w := range want {
			if lines[i] != w {
				t.Errorf("got %q, want %q", lines[i], w)
			}
		}
		if got := lines[3]; !strings.Contains(got, "read-only") && !strings.Contains(got, "permission denied") {
			t.Errorf("got %q, want a refusal", got)
		}
	})
}

// TestSealed: every Linux since 5.12 lets the mounts be cloned, by the outer process or by the inner one.
func TestSealed(t *testing.T) {
	if fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC); err != nil {
		t.Skip("this host has no open_tree: ", err)
	} else {
		unix.Close(fd)
	}
	eachUser(t, func(t *testing.T, uid int) {
		expect(t, uid, Spec{Args: []string{"sealed"}}, 0, "true", "")
	})
}

func TestLockKills(t *testing.T) {
	for _, what := range []string{"socket", "exec", "fork", "namespace", "code", "openat", "ptrace", "kill", "no_new_privs", "thread"} {
		t.Run(what, func(t *testing.T) {
			o := newOuter(t, nobodyOr(), Spec{Args: []string{"probe", what}})
			if status := o.run(t); status != bySignal+int(unix.SIGSYS) {
				t.Errorf("status %d, want %d; stdout %q", status, bySignal+int(unix.SIGSYS), o.out.String())
			}
			if what == "thread" && o.out.String() != "20 threads\n" {
				t.Errorf("stdout %q: no threads could be made", o.out.String())
			}
			if want := "sentry: the sandbox broke: it made a host call that its lock forbids"; !strings.HasPrefix(o.err.String(), want) {
				t.Errorf("stderr %q", o.err.String())
			}
		})
	}
}

func TestLockTracesWithDebug(t *testing.T) {
	o := newOuter(t, nobodyOr(), Spec{Args: []string{"probe", "socket"}, Log: Log{Debug: true}})
	if status := o.run(t); status != Failed {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"sentry: the sandbox broke: SIGSYS: bad system call", "(*stub).probe"} {
		if !strings.Contains(o.err.String(), want) {
			t.Errorf("no %q in stderr %q", want, o.err.String())
		}
	}
}
