package tty

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// caller is a task that asks.
type caller struct{ creds *cred.Credentials }

func (c caller) Creds() *cred.Credentials { return c.creds }
func (c caller) FileSizeLimit() uint64    { return ^uint64(0) }
func (c caller) Interrupted() bool        { return false }

var me = caller{cred.New(1000, 1000, nil, nil)}

// job counts what it is told.
type job struct {
	signals []unix.Signal
	hungUp  int
}

func (j *job) Signal(sig unix.Signal) { j.signals = append(j.signals, sig) }
func (j *job) HungUp()                { j.hungUp++ }

func system(t *testing.T, options string) *FileSystem {
	t.Helper()
	fs, err := New(Config{Count: new(atomic.Int64), NewJob: func(*Terminal) Job { return new(job) }}, options)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func pair(t *testing.T, fs *FileSystem) (*Master, *Slave) {
	t.Helper()
	m, err := fs.Open(me, 0)
	if err != nil {
		t.Fatal(err)
	}
	master := m.(*Master)
	master.t.locked = false
	s, err := master.t.Open(me, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, s.(*Slave)
}

func write(f vfs.FileOps, text string) (int, error) {
	return f.Write(me, mm.BytesBuffer([]byte(text)), 0)
}

func read(f vfs.FileOps) (string, error) {
	b := make([]byte, 10000)
	n, err := f.Read(me, mm.BytesBuffer(b), 0)
	return string(b[:n]), err
}

// TestBounds: whatever either side writes without the other reading, the queues stay small.
func TestBounds(t *testing.T) {
	m, s := pair(t, system(t, ""))
	for range 1000 {
		write(m, strings.Repeat("\001x", 500))
	}
	for range 1000 {
		write(m, "line\n")
	}
	if n := len(m.t.in); n > inputSize {
		t.Errorf("%d cells of input", n)
	}
	for range 1000 {
		write(s, strings.Repeat("\n", 500))
	}
	if n := len(m.t.out); n > outputSize {
		t.Errorf("%d bytes of output", n)
	}
	write(m, "\023")
	for range 100 {
		write(m, "\022"+strings.Repeat("\001", 500))
	}
	if n := len(m.t.held); n > echoSize+8 {
		t.Errorf("%d bytes of echo", n)
	}
}

// TestLongLine: a line keeps its end, whatever it loses.
func TestLongLine(t *testing.T) {
	m, s := pair(t, system(t, ""))
	for range 20 {
		write(m, strings.Repeat("x", 500))
	}
	write(m, "\n")
	got, err := read(s)
	if err != nil || len(got) != inputSize || got[len(got)-1] != '\n' {
		t.Errorf("%d characters, %v", len(got), err)
	}
}

func TestSignals(t *testing.T) {
	m, _ := pair(t, system(t, ""))
	write(m, "a\003\034\032")
	j := m.t.job.(*job)
	if len(j.signals) != 3 || j.signals[0] != unix.SIGINT || j.signals[1] != unix.SIGQUIT || j.signals[2] != unix.SIGTSTP {
		t.Errorf("signals %v", j.signals)
	}
	if len(m.t.in) != 0 {
		t.Error("the line was not flushed")
	}
}

// TestLives: numbers and counts come back with the master, and files that were hung up stay dead.
func TestLives(t *testing.T) {
	fs := system(t, "max=2")
	m, s := pair(t, fs)
	m2, s2 := pair(t, fs)
	if _, err := fs.Open(me, 0); err != unix.ENOSPC {
		t.Errorf("a third pair: %v", err)
	}
	m.Release()
	if m.t.job.(*job).hungUp != 1 {
		t.Error("the job was not told")
	}
	if got, err := read(s); got != "" || err != nil {
		t.Errorf("after the hang-up: %q, %v", got, err)
	}
	if _, err := write(s, "x"); err != unix.EIO {
		t.Errorf("write after the hang-up: %v", err)
	}
	m3, s3 := pair(t, fs)
	if m3.t.number != 0 {
		t.Errorf("number %d", m3.t.number)
	}
	s.Release()
	write(s3, "alive")
	if got, err := read(m3); got != "alive" || err != nil {
		t.Errorf("the new pair: %q, %v", got, err)
	}
	for _, f := range []vfs.FileOps{s2, m2, m3, s3} {
		f.Release()
	}
	if n := fs.config.Count.Load(); n != 0 || len(fs.pairs) != 0 {
		t.Errorf("%d pairs counted, %d known", n, len(fs.pairs))
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"mode=9", "gid=x", "max=-1", "size=1"} {
		if _, err := New(Config{Count: new(atomic.Int64)}, bad); err != unix.EINVAL {
			t.Errorf("%s: %v", bad, err)
		}
	}
	fs := system(t, "newinstance,gid=5,mode=620,ptmxmode=666")
	m, _ := pair(t, fs)
	a, err := m.t.node.Attr()
	if err != nil || a.Mode != unix.S_IFCHR|0o620 || a.GID != 5 || a.UID != 1000 || a.RdevMajor != 136 {
		t.Errorf("slave: %+v, %v", a, err)
	}
}

// FuzzTerminal: no input and no modes break the discipline's invariants.
func FuzzTerminal(f *testing.F) {
	f.Add([]byte("abc\177\027\025\026\t\n\004"), uint32(unix.ICRNL|unix.IXON), uint32(unix.OPOST|unix.ONLCR), uint32(0x8a3b))
	f.Fuzz(func(t *testing.T, text []byte, in, out, local uint32) {
		fs, _ := New(Config{Count: new(atomic.Int64), NewJob: func(*Terminal) Job { return new(job) }}, "")
		file, _ := fs.Open(me, 0)
		m := file.(*Master)
		m.t.locked = false
		s, _ := m.t.Open(me, unix.O_NONBLOCK)
		for half := range 2 {
			m.t.mu.Lock()
			modes := m.t.termios
			modes.Input, modes.Output, modes.Local = in, out, local
			if half == 1 {
				modes.Local ^= unix.ICANON
			}
			m.t.setModesLocked(modes)
			m.t.mu.Unlock()
			write(m, string(bytes.Repeat(text, 3)))
			write(s, string(text))
			if m.t.canon > len(m.t.in) || m.t.canon < 0 || len(m.t.in) > inputSize {
				t.Fatalf("%d of %d cells are lines", m.t.canon, len(m.t.in))
			}
			read(s)
			read(m)
		}
		m.Release()
	})
}
