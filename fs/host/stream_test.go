package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

var root = fstest.Self()

// streams returns a Streams that ends with the test.
func streams(t testing.TB) *Streams {
	t.Helper()
	s, err := NewStreams(vfs.NewSystem())
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// pair is both ends of what a stream may be: the sandbox's descriptor to read from or write to, and the other one.
type pair struct{ inside, outside int }

// kinds makes pairs whose inside is read from, or written to.
var kinds = map[string]func(t *testing.T, write bool) pair{
	"pipe": func(t *testing.T, write bool) pair {
		var p [2]int
		must(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
		if write {
			return pair{p[1], p[0]}
		}
		return pair{p[0], p[1]}
	},
	"fifo": func(t *testing.T, write bool) pair {
		path := filepath.Join(t.TempDir(), "fifo")
		must(t, unix.Mkfifo(path, 0o600))
		flags := [2]int{unix.O_RDONLY, unix.O_WRONLY}
		if write {
			flags = [2]int{unix.O_WRONLY, unix.O_RDONLY}
		}
		keep, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(keep)
		inside, err := unix.Open(path, flags[0]|unix.O_CLOEXEC, 0)
		must(t, err)
		outside, err := unix.Open(path, flags[1]|unix.O_CLOEXEC, 0)
		must(t, err)
		return pair{inside, outside}
	},
	"socket": func(t *testing.T, _ bool) pair {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		return pair{p[0], p[1]}
	},
	"terminal": func(t *testing.T, _ bool) pair {
		master, slave := openTerminal(t)
		return pair{slave, master}
	},
}

// openTerminal makes a terminal in raw mode.
func openTerminal(t *testing.T) (master, slave int) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	must(t, unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	must(t, err)
	slave, err = unix.Open(fmt.Sprint("/dev/pts/", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(master)
		t.Skip("no terminals: ", err)
	}
	tio, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	must(t, err)
	tio.Lflag &^= unix.ICANON | unix.ECHO
	tio.Oflag &^= unix.OPOST
	tio.Cc[unix.VMIN], tio.Cc[unix.VTIME] = 1, 0
	must(t, unix.IoctlSetTermios(slave, unix.TCSETS, tio))
	return master, slave
}

// readBlocking reads as the kernel does: what is there, or wait and try again.
func readBlocking(t *testing.T, f *vfs.File, n int) []byte {
	t.Helper()
	e, ch := waiter.NewChannelEntry(waiter.In)
	f.Register(e)
	defer f.Unregister(e)
	buf := make([]byte, n)
	for {
		k, err := f.Read(root, mm.BytesBuffer(buf))
		if err != unix.EAGAIN {
			must(t, err)
			return buf[:k]
		}
		select {
		case <-ch:
		case <-time.After(time.Minute):
			t.Fatal("nobody woke the reader")
		}
	}
}

func TestReadersWakeUp(t *testing.T) {
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			p := make(t, false)
			flags, _ := unix.FcntlInt(uintptr(p.inside), unix.F_GETFL, 0)
			f, err := streams(t).File(p.inside, "")
			must(t, err)
			var buf [10]byte
			if _, err := f.Read(root, mm.BytesBuffer(buf[:])); err != unix.EAGAIN {
				t.Fatalf("reading nothing: %v", err)
			}
			if m := f.Readiness(waiter.In); m != 0 {
				t.Errorf("ready for %#x", m)
			}
			for i := range 20 {
				text := fmt.Sprint("text ", i)
				go func() {
					time.Sleep(time.Millisecond)
					_, _ = unix.Write(p.outside, []byte(text))
				}()
				if got := readBlocking(t, f, 100); string(got) != text {
					t.Fatalf("%q", got)
				}
			}
			if got, _ := unix.FcntlInt(uintptr(p.inside), unix.F_GETFL, 0); got != flags {
				t.Errorf("flags are %#o, were %#o", got, flags)
			}
			if name == "terminal" {
				f.DecRef()
				unix.Close(p.outside)
				return
			}
			_, _ = unix.Write(p.outside, []byte("rest"))
			unix.Close(p.outside)
			if got := readBlocking(t, f, 100); string(got) != "rest" {
				t.Errorf("%q", got)
			}
			if got := readBlocking(t, f, 100); len(got) != 0 {
				t.Errorf("at the end: %q", got)
			}
			if m := f.Readiness(waiter.In); m&waiter.HUp == 0 && name != "socket" {
				t.Errorf("at the end ready for %#x", m)
			}
			f.DecRef()
		})
	}
}

// TestWritersWakeUp fills what nobody reads, then drains it.
func TestWritersWakeUp(t *testing.T) {
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			p := make(t, true)
			s := streams(t)
			f, err := s.File(p.inside, "")
			must(t, err)
			sent := write(t, f, 1<<20)
			if sent == 1<<20 {
				t.Fatal("the writer is never told to wait")
			}
			e, ch := waiter.NewChannelEntry(waiter.Out)
			f.Register(e)
			got := 0
			woken := false
			unix.SetNonblock(p.outside, true)
			for deadline := time.Now().Add(time.Minute); got < sent && time.Now().Before(deadline); {
				buf := [4096]byte{}
				n, err := unix.Read(p.outside, buf[:])
				if err != nil {
					time.Sleep(time.Millisecond)
				}
				if !bytes.Equal(buf[:max(n, 0)], pattern(got, max(n, 0))) {
					t.Fatalf("wrong bytes from %d on", got)
				}
				got += max(n, 0)
			}
			if got != sent {
				t.Fatalf("%d of %d bytes arrived", got, sent)
			}
			select {
			case <-ch:
				woken = true
			case <-time.After(time.Minute):
			}
			f.Unregister(e)
			s.Drain(time.Minute)
			if m := f.Readiness(waiter.Out); !woken || m != waiter.Out {
				t.Errorf("woken %v, ready for %#x", woken, m)
			}
			f.DecRef()
			unix.Close(p.outside)
		})
	}
}

func pattern(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((from + i) * 31 >> 2)
	}
	return b
}

// write writes up to n bytes of the pattern, until it is told to wait.
func write(t *testing.T, f *vfs.File, n int) (sent int) {
	t.Helper()
	for sent < n {
		k, err := f.Write(root, mm.BytesBuffer(pattern(sent, min(n-sent, 50000))))
		if err == unix.EAGAIN {
			return sent
		}
		must(t, err)
		sent += k
	}
	return sent
}

// TestAbandonedRead leaves a read behind that blocks although the host said it would
// not; what it reads is not lost.
func TestAbandonedRead(t *testing.T) {
	p := kinds["fifo"](t, false)
	f, err := streams(t).File(p.inside, "")
	must(t, err)
	st := f.Ops().(*plainStream).stream
	st.noNowait, st.reading = true, true
	go st.read(make([]byte, 100), make(chan struct{}))
	var buf [3]byte
	if _, err := f.Read(root, mm.BytesBuffer(buf[:])); err != unix.EAGAIN {
		t.Fatal(err)
	}
	_, err = unix.Write(p.outside, []byte("abcdef"))
	must(t, err)
	if got := readBlocking(t, f, 4); string(got) != "abcd" {
		t.Errorf("%q", got)
	}
	if m := f.Readiness(waiter.In); m&waiter.In == 0 {
		t.Error("what a helper read does not count as ready")
	}
	if got := readBlocking(t, f, 4); string(got) != "ef" {
		t.Errorf("%q", got)
	}
	// Closed while a helper still reads: the helper closes the descriptor.
	st.mu.Lock()
	st.reading = true
	st.mu.Unlock()
	done := make(chan struct{})
	go st.read(make([]byte, 100), done)
	f.DecRef()
	if _, err := unix.FcntlInt(uintptr(p.inside), unix.F_GETFD, 0); err != nil {
		t.Error("the descriptor was closed under a reader")
	}
	unix.Close(p.outside)
	<-done
	if _, err := unix.FcntlInt(uintptr(p.inside), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor stays: %v", err)
	}
}

// TestBrokenPipe writes to what nobody will read.
func TestBrokenPipe(t *testing.T) {
	for _, name := range []string{"pipe", "fifo", "socket"} {
		t.Run(name, func(t *testing.T) {
			p := kinds[name](t, true)
			f, err := streams(t).File(p.inside, "")
			must(t, err)
			defer f.DecRef()
			unix.Close(p.outside)
			for range 3 {
				if _, err = f.Write(root, mm.BytesBuffer([]byte("x"))); err != nil && err != unix.EAGAIN {
					break
				}
			}
			if err != unix.EPIPE {
				t.Errorf("%v", err)
			}
			if m := f.Readiness(waiter.Out); m&waiter.Err == 0 && name != "socket" {
				t.Errorf("ready for %#x", m)
			}
		})
	}
}

// TestWaitersHoldNoThread waits on many descriptors at once.
func TestWaitersHoldNoThread(t *testing.T) {
	s := streams(t)
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		must(t, err)
		return len(entries)
	}
	before := threads()
	var files []*vfs.File
	done := make(chan struct{})
	const many = 50
	for range many {
		p := kinds["pipe"](t, false)
		f, err := s.File(p.inside, "")
		must(t, err)
		files = append(files, f)
		go func() {
			e, ch := waiter.NewChannelEntry(waiter.In)
			f.Register(e)
			<-ch
			f.Unregister(e)
			done <- struct{}{}
		}()
		go func() {
			time.Sleep(100 * time.Millisecond)
			_, _ = unix.Write(p.outside, []byte("x"))
		}()
	}
	time.Sleep(50 * time.Millisecond)
	if n := threads(); n > before+10 {
		t.Errorf("%d threads, %d before", n, before)
	}
	for range many {
		<-done
	}
	for _, f := range files {
		f.DecRef()
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > 30; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines", runtime.NumGoroutine())
		}
	}
}

// TestSharedPosition lets two inherited descriptors of one open file, and the host, write by turns.
func TestSharedPosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, flags := range []int{0, unix.O_APPEND} {
		fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_TRUNC|unix.O_CLOEXEC|flags, 0o600)
		must(t, err)
		_, err = unix.Write(fd, []byte("start "))
		must(t, err)
		var files []*vfs.File
		s := streams(t)
		for range 2 {
			d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			must(t, err)
			f, err := s.File(d, "")
			must(t, err)
			files = append(files, f)
		}
		for i := range 3 {
			for j, f := range files {
				_, err := f.Write(root, mm.BytesBuffer(fmt.Appendf(nil, "f%d%d ", j, i)))
				must(t, err)
			}
			_, err := unix.Write(fd, fmt.Appendf(nil, "h%d ", i))
			must(t, err)
		}
		want := "start f00 f10 h0 f01 f11 h1 f02 f12 h2 "
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("flags %#o: %q, want %q", flags, got, want)
		}
		checkReading(t, files[0], want)
		for _, f := range files {
			f.DecRef()
		}
		unix.Close(fd)
	}
}

// checkReading seeks and reads f, which contains want.
func checkReading(t *testing.T, f *vfs.File, want string) {
	t.Helper()
	buf := make([]byte, 100)
	if n, err := f.PRead(root, mm.BytesBuffer(buf), 6); string(buf[:max(n, 0)]) != want[6:] {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
	if at, err := f.Seek(root, -3, unix.SEEK_END); at != int64(len(want)-3) || err != nil {
		t.Errorf("%d, %v", at, err)
	}
	if n, err := f.Read(root, mm.BytesBuffer(buf)); string(buf[:max(n, 0)]) != "h2 " {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
	m, err := f.Mappable()
	must(t, err)
	if b, err := m.Translate(0, 2*mm.PageSize, true); err != nil || b.Mem || b.Length != mm.PageSize {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestNullDevice is what most background programs have as standard input.
func TestNullDevice(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	f, err := streams(t).File(fd, "")
	must(t, err)
	defer f.DecRef()
	if n, err := f.Read(root, mm.BytesBuffer(make([]byte, 5))); n != 0 || err != nil {
		t.Errorf("read: %d, %v", n, err)
	}
	if n, err := f.Write(root, mm.BytesBuffer(make([]byte, 5))); n != 5 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if _, err := f.Seek(root, 0, unix.SEEK_CUR); err != nil {
		t.Errorf("seek: %v", err)
	}
	e, _ := waiter.NewChannelEntry(waiter.In)
	f.Register(e)
	f.Unregister(e)
	if m := f.Readiness(waiter.In | waiter.Out); m != waiter.In|waiter.Out {
		t.Errorf("ready for %#x", m)
	}
	if _, err := f.Ioctl(root, unix.TCGETS, 0, nil); err != unix.ENOTTY {
		t.Errorf("ioctl: %v", err)
	}
}

// TestOpenedAgain opens an inherited pipe by its inode, as /dev/stdin is opened.
func TestOpenedAgain(t *testing.T) {
	p := kinds["pipe"](t, false)
	f, err := streams(t).File(p.inside, "")
	must(t, err)
	if _, err := vfs.OpenPath(root, f.Path(), unix.O_WRONLY); err != unix.EACCES {
		t.Errorf("for writing: %v", err)
	}
	again, err := vfs.OpenPath(root, f.Path(), unix.O_RDONLY)
	must(t, err)
	f.DecRef()
	_, _ = unix.Write(p.outside, []byte("x"))
	if got := readBlocking(t, again, 5); string(got) != "x" {
		t.Errorf("%q", got)
	}
	path := again.Path()
	again.DecRef()
	if _, err := vfs.OpenPath(root, path, unix.O_RDONLY); err != unix.ENXIO {
		t.Errorf("after the last close: %v", err)
	}
	if _, err := again.Attr(); err != unix.ENXIO {
		t.Errorf("attributes after the last close: %v", err)
	}
	unix.Close(p.outside)
}

func TestNamesOfStreams(t *testing.T) {
	s := streams(t)
	for kind, prefix := range map[string]string{"pipe": "pipe:[", "socket": "socket:[", "terminal": "/dev/tty"} {
		t.Run(kind, func(t *testing.T) {
			p := kinds[kind](t, false)
			f, err := s.File(p.inside, "")
			must(t, err)
			if name := f.Path().Name(); !strings.HasPrefix(name, prefix) {
				t.Errorf("%q", name)
			}
			f.DecRef()
			unix.Close(p.outside)
		})
	}
}
