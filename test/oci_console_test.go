package test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// consoleSocket is where an engine takes terminals.
type consoleSocket struct {
	path string
	fd   int
}

func newConsoleSocket(t *testing.T) *consoleSocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "sc")
	if err != nil {
		t.Fatal(err)
	}
	s := &consoleSocket{path: filepath.Join(dir, "s")}
	if s.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if err = unix.Bind(s.fd, &unix.SockaddrUnix{Name: s.path}); err == nil {
			err = errors.Join(unix.Listen(s.fd, 4), os.Chmod(dir, 0o755), os.Chmod(s.path, 0o666))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(s.fd)
		os.RemoveAll(dir)
	})
	return s
}

// typist is who has the master of a terminal.
type typist struct {
	t      *testing.T
	master *os.File
	seen   string // what was written and nobody looked for yet
}

// take receives a terminal that was sent.
func (s *consoleSocket) take(t *testing.T) *typist {
	t.Helper()
	poll := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("nobody sent a terminal: %v", err)
	}
	c, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(c, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 || unix.SetNonblock(fds[0], true) != nil {
		t.Fatalf("descriptors %d, %v", fds, err)
	}
	k := &typist{t: t, master: os.NewFile(uintptr(fds[0]), "master")}
	t.Cleanup(func() { k.master.Close() })
	return k
}

func (k *typist) types(text string) {
	k.t.Helper()
	if _, err := k.master.WriteString(text); err != nil {
		k.t.Fatal(err)
	}
}

// sees waits for what fits a regular expression, and forgets all up to its end.
func (k *typist) sees(pattern string) {
	k.t.Helper()
	want, buf := regexp.MustCompile(pattern), make([]byte, 4096)
	k.master.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // it is in the poller
	for {
		if at := want.FindStringIndex(k.seen); at != nil {
			k.seen = k.seen[at[1]:]
			return
		}
		n, err := k.master.Read(buf)
		k.seen += string(buf[:n])
		if err != nil {
			k.t.Fatalf("waiting for %q: %v, seen %q", pattern, err, k.seen)
		}
	}
}

// ends waits for the terminal's end.
func (k *typist) ends() {
	k.t.Helper()
	buf := make([]byte, 4096)
	k.master.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // as above
	for {
		n, err := k.master.Read(buf)
		k.seen += string(buf[:n])
		if os.IsTimeout(err) {
			k.t.Fatalf("the terminal does not end, seen %q", k.seen)
		}
		if err != nil {
			return
		}
	}
}

func (k *typist) resize(rows, columns uint16) {
	raw, err := k.master.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { //nolint:errcheck // the next line tells
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
		})
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// jobs does what people do in a shell on a terminal, and ends the shell with status 5.
func (k *typist) jobs(name, size string) {
	k.t.Helper()
	// Each line's echo has quotes, what it prints has none.
	k.types("PS1=; echo re''ady\n")
	k.sees("ready\r\n")
	k.types("tty; stty size; echo o''k\n")
	k.sees(name + "\r\n" + size + "\r\nok\r\n")
	k.types("sh -c 'echo slee\"\"ping; exec sleep 1000'\n")
	k.sees("sleeping\r\n")
	k.types("\x03")
	k.types("echo interrupted: $?\n")
	k.sees("interrupted: 130\r\n")
	k.types("sh -c 'echo slee\"\"ping; exec sleep 1000'\n")
	k.sees("sleeping\r\n")
	k.types("\x1a")
	k.sees("Stopped")
	k.types("kill -KILL %1; bg %1; wait %1; echo en''ded: $?\n")
	k.sees("ended: 137\r\n")
	k.types("sh -c 'trap \"echo size\\\"\\\"d; stty size; exit\" WINCH; echo lis\"\"tening; while :; do sleep 0.1; done'\n")
	k.sees("listening\r\n")
	k.resize(33, 44)
	k.sees("sized\r\n33 44\r\n")
	k.types("stty -onlcr; printf 'a\\nb\\n'; stty onlcr; echo cat''ting; cat\n")
	k.sees("a\nb\ncatting\r\n")
	k.types("typ''ed\n\x04")
	k.sees("typ''ed\r\ntyp''ed\r\n") // once by echo, once by cat
	k.types("exit 5\n")
	k.ends()
}

// consoleEngine is an engine whose containers have what people use on terminals.
func consoleEngine(t *testing.T, platform string, change func(*specs.Spec)) *engine {
	t.Helper()
	e := newEngine(t, platform, change)
	for name := range strings.FieldsSeq("tty stty kill printf head tr") {
		if err := os.Symlink("busybox", filepath.Join(e.bundle, "rootfs/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// TestContainerConsoles has a container and a program in it on terminals of their own, whose masters engines take.
func TestContainerConsoles(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := consoleEngine(t, platform, func(c *specs.Spec) {
			c.Process.Terminal, c.Process.Args = true, []string{"sh"}
			c.Process.ConsoleSize = &specs.Box{Height: 12, Width: 34}
		})
		socket := newConsoleSocket(t)
		e.must("create", "--console-socket", socket.path, "c")
		defer e.do("delete", "--force", "c")
		first := socket.take(t)
		waited := make(chan result)
		go func() { waited <- e.do("wait", "c") }()
		e.must("start", "c")

		e.must("exec", "-d", "-t", "--console-socket", socket.path, "--pid-file", "pid", "c", "sh")
		second := socket.take(t)
		second.resize(20, 30)
		second.types("until stty size | grep '20 3''0'; do sleep 0.1; done\n") // what relays it takes a moment
		second.sees("20 30\r\n")
		second.jobs("/dev/pts/1", "20 30")
		first.jobs("/dev/pts/0", "12 34")
		if r := <-waited; !strings.Contains(r.stdout, `"exitStatus": 5`) {
			t.Errorf("the container: %v", r)
		}
	})
}

// TestContainerConsoleHangUp closes a terminal that a program has.
func TestContainerConsoleHangUp(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := consoleEngine(t, platform, shell("exec sleep 1000"))
		e.must("run", "-d", "c")
		defer e.do("delete", "--force", "c")
		socket := newConsoleSocket(t)
		ended := make(chan result)
		go func() {
			ended <- e.do("exec", "-t", "--console-socket", socket.path, "c", "sh", "-c", "echo here; sleep 1000")
		}()
		k := socket.take(t)
		k.sees("here\r\n")
		k.master.Close()
		if r := <-ended; r.status != 128+int(unix.SIGHUP) {
			t.Errorf("want the end by SIGHUP: %v", r)
		}
		e.awaitProcesses("c", 1)
	})
}

// TestContainerExecTerminal has exec relay the caller's own terminal.
func TestContainerExecTerminal(t *testing.T) {
	need(t, "script")
	e := consoleEngine(t, platforms()[0], shell("exec sleep 1000"))
	e.must("run", "-d", "c")
	defer e.do("delete", "--force", "c")
	line := strings.Join([]string{sentry(t), "--root", e.root, "--platform", e.platform, "exec -t c sh -c 'tty; stty size; read x; echo got $x; exit 5'"}, " ")
	r := command{dir: e.bundle, stdin: "typed\n"}.run(t, []string{"script", "-qec", "stty rows 7 cols 70; " + line, "/dev/null"})
	if r.status != 5 || !strings.Contains(r.stdout, "/dev/pts/0\r\n") || !strings.Contains(r.stdout, "7 70\r\n") || !strings.Contains(r.stdout, "got typed\r\n") {
		t.Errorf("want status 5, the size and what was typed: %v", r)
	}
}

// TestContainerPreserved passes further descriptors on, to a container and to a program in it.
func TestContainerPreserved(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("cat <&3 >&4; exec sleep 1000"))
		dir := t.TempDir()
		line := strings.Join([]string{sentry(t), "--root", e.root, "--platform", e.platform, `"$@"`}, " ")
		with := func(args ...string) {
			argv := append([]string{"sh", "-c", "echo in >in; exec 3<in 4>out; exec " + line, "sh"}, args...)
			if r := (command{dir: dir, leaves: true}).run(t, argv); r.status != 0 {
				t.Fatal(r)
			}
			text := ""
			for end := time.Now().Add(patience); text != "in\n" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				b, _ := os.ReadFile(filepath.Join(dir, "out"))
				text = string(b)
			}
			if text != "in\n" {
				t.Errorf("%q: descriptor 4 got %q", args, text)
			}
		}
		with("run", "-d", "--bundle", e.bundle, "--preserve-fds", "2", "c")
		defer e.do("delete", "--force", "c")
		with("exec", "--preserve-fds", "2", "c", "sh", "-c", "cat <&3 >&4")
		with("exec", "-d", "--preserve-fds", "2", "c", "sh", "-c", "cat <&3 >&4; test ! -e /proc/self/fd/5")
	})
}
