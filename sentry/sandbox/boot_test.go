package sandbox

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// publicDir is a directory that every user may use.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shell is a Spec that runs a script in the real kernel.
func shell(script string) Spec {
	return Spec{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Cwd: "/"}
}

// expect runs spec and checks what it writes and how it ends.
func expect(t *testing.T, uid int, spec Spec, status int, stdout, stderr string) {
	t.Helper()
	o := newOuter(t, uid, spec)
	got := o.run(t)
	if got != status || o.out.String() != stdout || o.err.String() != stderr {
		t.Errorf("%q: status %d, stdout %q, stderr %q; want %d, %q, %q",
			spec.Args, got, o.out.String(), o.err.String(), status, stdout, stderr)
	}
}

func TestKernelBoots(t *testing.T) {
	dir := publicDir(t)
	script := filepath.Join(dir, "plain")
	if err := os.WriteFile(script, []byte("echo"), 0o644); err != nil {
		t.Fatal(err)
	}
	eachUser(t, func(t *testing.T, uid int) {
		expect(t, uid, shell("echo hello; exit 3"), 3, "hello\n", "")
		expect(t, uid, shell("kill -9 $$"), 137, "", "")
		expect(t, uid, shell("pwd; id -u"), 0, fmt.Sprintf("/\n%d\n", uid), "")
		expect(t, uid, shell("cat /etc/passwd | cmp - /etc/passwd && echo same"), 0, "same\n", "")
		expect(t, uid, Spec{Args: []string{"/no/such/program"}, Cwd: "/"}, NotFound, "", "sentry: /no/such/program: no such file or directory in the sandbox\n")
		expect(t, uid, Spec{Args: []string{script}, Cwd: "/"}, NotExecutable, "", "sentry: "+script+": permission denied\n")
		expect(t, uid, Spec{Args: []string{"/bin/true"}, Cwd: "/no/where"}, Failed, "",
			"sentry: cannot start in the directory /no/where: no such file or directory (name one that is there inside)\n")
	})
}

func TestDirectoriesOfTheGuest(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		dir, outerDir := publicDir(t), publicDir(t)
		if err := os.Mkdir(filepath.Join(outerDir, "file"), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "file")
		check := func(what, want string) {
			t.Helper()
			text, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) || string(text) != want {
				t.Errorf("%s: the host has %q, %v, want %q", what, text, err, want)
			}
		}
		write := "echo inside > " + file
		expect(t, uid, shell(write+"; cat "+file), 0, "inside\n", "")
		check("the overlay", "")
		s := shell(write + " && cat " + file)
		s.Binds = []Bind{{Host: dir, Inside: dir, Writable: true}}
		expect(t, uid, s, 0, "inside\n", "")
		check("a writable directory", "inside\n")
		s = shell("cat /shown/here/file; { echo no > /shown/here/file; } 2>/dev/null || echo refused")
		s.Binds = []Bind{{Host: dir, Inside: "/shown/here"}}
		expect(t, uid, s, 0, "inside\nrefused\n", "")
		check("a directory to read", "inside\n")
		s = shell("ls /shown; cat /shown/file/file")
		s.Binds = []Bind{{Host: dir, Inside: "/shown/file"}, {Host: outerDir, Inside: "/shown"}}
		expect(t, uid, s, 0, "file\ninside\n", "")
	})
}

func TestOtherRoot(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox")
	}
	dir := publicDir(t)
	text, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	eachUser(t, func(t *testing.T, uid int) {
		s := Spec{Root: dir, Args: []string{"/busybox", "sh", "-c", "pwd; /busybox ls /; echo x > /new; /busybox ls /new"}}
		if uid != 0 {
			s.Args[3] = "pwd; /busybox ls /"
		}
		want := "/\nbusybox\ndev\n"
		o := newOuter(t, uid, s)
		if status := o.run(t); status != 0 || !strings.HasPrefix(o.out.String(), want) {
			t.Errorf("status %d, stdout %q, stderr %q", status, o.out.String(), o.err.String())
		}
		if uid == 0 && !strings.HasSuffix(o.out.String(), "/new\n") {
			t.Errorf("stdout %q: the overlay cannot be written", o.out.String())
		}
	})
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the host's directory has %d entries, want 1", len(entries))
	}
}

// TestKernelMountsHidden looks for the host's own /proc below the guest's.
func TestKernelMountsHidden(t *testing.T) {
	s := shell("ls /host/proc /host/sys /host/dev; ls /host | grep -c etc")
	s.Binds = []Bind{{Host: "/", Inside: "/host"}}
	expect(t, nobodyOr(), s, 0, "/host/dev:\n\n/host/proc:\n\n/host/sys:\n1\n", "")
}

// TestRootIsWritten shows the host's root itself: its files are there, and what its kernel shows is not.
func TestRootIsWritten(t *testing.T) {
	eachUser(t, func(t *testing.T, uid int) {
		dir := publicDir(t)
		s := shell("echo inside > " + dir + "/file; cat /proc/1/comm; ls /sys/kernel/debug; cat /dev/null; cmp /etc/passwd /etc/passwd && echo same")
		s.Binds = []Bind{{Host: "/", Inside: "/", Writable: true}}
		expect(t, uid, s, 0, "init\nsame\n", "")
		if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "inside\n" {
			t.Errorf("the host has %q, %v", text, err)
		}
	})
}

// TestKernelIsNotBound: nothing of the host's kernel is a directory to show.
func TestKernelIsNotBound(t *testing.T) {
	const way = " (the sandbox has a /proc, a /sys and a /dev of its own)\n"
	for dir, why := range map[string]string{
		"/proc": "its file system, proc, shows the host's kernel, which no sandbox sees", "/proc/self/fd": "its file system, proc, shows the host's kernel, which no sandbox sees",
		"/sys/kernel": "its file system, sysfs, shows the host's kernel, which no sandbox sees", "/dev": "it is among the devices of the host, which no sandbox sees",
	} {
		for _, write := range []bool{false, true} {
			s := shell("true")
			s.Binds = []Bind{{Host: dir, Inside: "/shown", Writable: write}}
			expect(t, nobodyOr(), s, Failed, "", "sentry: cannot open the directory to bind "+dir+": "+why+way)
		}
	}
	s := shell("true")
	s.Binds = []Bind{{Host: "/", Inside: "/"}}
	expect(t, nobodyOr(), s, Failed, "", "sentry: cannot show / at / inside (the root is what --rootfs names, and --rw / makes that of the host writable)\n")
}

// descendants returns the pids of all processes below pid.
func descendants(pid int) []int {
	var list []int
	for _, c := range children(pid) {
		list = append(append(list, c), descendants(c)...)
	}
	return list
}

// TestNothingIsLeft kills each of the processes of a sandbox whose guest has children.
func TestNothingIsLeft(t *testing.T) {
	for _, who := range []string{"outer", "inner"} {
		t.Run(who, func(t *testing.T) {
			o, inner := waiting(t, nobodyOr(), shell("sleep 100 & sleep 100 & echo ready; wait").Args...)
			all := append(descendants(inner), inner)
			for end := time.Now().Add(time.Minute); len(all) < 4 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				all = append(descendants(inner), inner)
			}
			if len(all) < 4 {
				t.Errorf("the sandbox has processes %v only", all)
			}
			if who == "outer" {
				o.Process.Kill()
			} else {
				unix.Kill(inner, unix.SIGKILL)
			}
			o.finish(t)
			for _, pid := range all {
				gone(t, pid)
			}
		})
	}
}

func TestGuestIsSignalled(t *testing.T) {
	o, inner := waiting(t, nobodyOr(), shell("trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.01; done").Args...)
	o.Process.Signal(unix.SIGTERM)
	if status := o.finish(t); status != 5 {
		t.Errorf("status %d, want 5; stderr %q", status, o.err.String())
	}
	gone(t, inner)
}

// TestFilesAsStreams has a guest do to a file that it inherited what the lock must not forbid.
func TestFilesAsStreams(t *testing.T) {
	dir := publicDir(t)
	f, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const script = "echo line; dd if=/dev/zero bs=10 count=1 conv=fsync,notrunc 2>/dev/null; touch /dev/stdout; chmod 600 /dev/stdout; " +
		"truncate -s 4096 /dev/stdout; stty -a 2>/dev/null; sync; stat -c %s /dev/stdout >&2"
	o := newOuter(t, nobodyOr(), shell(script))
	o.Stdout = f
	if status := o.run(t); status != 0 {
		t.Errorf("status %d, stderr %q", status, o.err.String())
	}
	text, err := os.ReadFile(f.Name())
	if err != nil || !strings.HasPrefix(string(text), "line\n\x00\x00") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestOutputIsNotLost ends a guest long before anybody reads what it wrote.
func TestOutputIsNotLost(t *testing.T) {
	o := newOuter(t, nobodyOr(), shell("head -c 300000 /dev/zero; echo end >&2"))
	o.Stdout = nil
	out, err := o.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	text, err := io.ReadAll(out)
	if err != nil || len(text) != 300000 {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
	if status := o.finish(t); status != 0 || o.err.String() != "end\n" {
		t.Errorf("status %d, stderr %q", status, o.err.String())
	}
}

// TestLimitsOfTheGuest compares what ulimit says with the host's.
func TestLimitsOfTheGuest(t *testing.T) {
	const script = "umask 027; ulimit -Sn 200; ulimit -a; umask"
	want, err := exec.Command("/bin/sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	s := shell("ulimit -a; umask")
	o := newOuter(t, os.Getuid(), s)
	o.Args = []string{"sh", "-c", "umask 027; ulimit -Sn 200; exec -a " + outerName + " \"$0\"", o.Path}
	if o.Path, err = exec.LookPath("bash"); err != nil {
		t.Skip("no bash")
	}
	if status := o.run(t); status != 0 || o.out.String() != string(want) {
		t.Errorf("status %d, stderr %q, got\n%s\nwant\n%s", status, o.err.String(), o.out.String(), want)
	}
}
