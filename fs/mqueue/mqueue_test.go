package mqueue

import (
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// caller is a task that asks.
type caller struct {
	creds *cred.Credentials
	limit uint64
}

func (c *caller) Creds() *cred.Credentials { return c.creds }
func (c *caller) FileSizeLimit() uint64    { return ^uint64(0) }
func (c *caller) Interrupted() bool        { return false }
func (c *caller) QueueLimit() uint64       { return c.limit }
func (c *caller) ProcessIdentity() any     { return c }

// system is a file system with a small budget; at the end of the test all of it is there again.
func system(t *testing.T, budget int64) *FileSystem {
	t.Helper()
	var used atomic.Int64
	accounts := new(Accounts)
	fs := New(Config{
		System: vfs.NewSystem(), Owner: new(cred.UserNamespace), Accounts: accounts,
		Take: func(n int) error {
			if used.Add(int64(n)) > budget {
				used.Add(int64(-n))
				return unix.ENOMEM
			}
			return nil
		},
		Give: func(n int) { used.Add(int64(-n)) },
	})
	t.Cleanup(func() {
		fs.Release()
		if used.Load() != 0 || len(accounts.used) != 0 || fs.count != 0 {
			t.Errorf("left at the end: %d bytes, accounts %v, %d queues", used.Load(), accounts.used, fs.count)
		}
	})
	return fs
}

func user() *caller { return &caller{cred.New(1000, 1000, nil, new(cred.UserNamespace)), 1 << 20} }

const create = unix.O_CREAT | unix.O_RDWR

func open(t *testing.T, fs *FileSystem, c vfs.Caller, name string) (*vfs.File, *Queue) {
	t.Helper()
	f, err := fs.Open(c, name, vfs.OpenArgs{Flags: create, Mode: 0o600}, &Attr{10, 1000})
	if err != nil {
		t.Fatal(err)
	}
	q, err := Of(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, q
}

// TestLives: a queue and what it holds go with the last name and the last descriptor, whichever comes last.
func TestLives(t *testing.T) {
	fs, c := system(t, 1<<20), user()
	f, q := open(t, fs, c, "a")
	q.Send(c, &Message{1, []byte("x")}, true)
	if err := fs.Unlink(c, "a"); err != nil {
		t.Error(err)
	}
	if q.Count() != 1 {
		t.Error("the message went with the name")
	}
	f.DecRef()
	f, _ = open(t, fs, c, "b")
	f.DecRef()
	if err := fs.Unlink(c, "b"); err != nil {
		t.Error(err)
	}
	f, q = open(t, fs, c, "c")
	q.Send(c, &Message{1, []byte("x")}, true)
	f.DecRef()
}

func TestBounds(t *testing.T) {
	fs, c := system(t, 20<<10), user()
	f, q := open(t, fs, c, "a")
	defer f.DecRef()
	var err error
	for i := 0; err == nil && i < 10; i++ {
		_, err = q.Send(c, &Message{0, make([]byte, 1000)}, true)
	}
	if err != nil {
		t.Errorf("within every bound: %v", err)
	}
	if _, err := q.Send(c, &Message{0, nil}, true); err != unix.EAGAIN {
		t.Errorf("full: %v", err)
	}
	// Who waits with a message is charged for it.
	var waiters []*Waiter
	for err = nil; err == nil && len(waiters) < 100; {
		var w *Waiter
		if w, err = q.Send(c, &Message{0, make([]byte, 1000)}, false); err == nil {
			waiters = append(waiters, w)
		}
	}
	if err != unix.ENOMEM || len(waiters) == 0 || len(waiters) > 10 {
		t.Errorf("%d wait, then %v", len(waiters), err)
	}
	q.Receive(true)
	for i, w := range waiters {
		if _, served := w.Cancel(); served != (i == 0) {
			t.Errorf("waiter %d: served %v", i, served)
		}
	}
	c.limit = 10959
	if _, err := fs.Open(c, "b", vfs.OpenArgs{Flags: create}, &Attr{10, 1000}); err != unix.EMFILE {
		t.Errorf("over RLIMIT_MSGQUEUE: %v", err)
	}
	fs.SetKnob("queues_max", "1")
	c.limit = 1 << 20
	if _, err := fs.Open(c, "b", vfs.OpenArgs{Flags: create}, nil); err != unix.ENOSPC {
		t.Errorf("over queues_max: %v", err)
	}
	for _, bad := range []string{"", "0x", "-1", "99999999999"} {
		if err := fs.SetKnob("msg_max", bad); err != unix.EINVAL {
			t.Errorf("msg_max %q: %v", bad, err)
		}
	}
}

func TestOrder(t *testing.T) {
	fs, c := system(t, 1<<20), user()
	f, q := open(t, fs, c, "a")
	defer f.DecRef()
	for i, p := range []uint32{0, 5, MaxPriority - 1, 5, 0} {
		q.Send(c, &Message{p, []byte{byte('a' + i)}}, true)
	}
	got := ""
	for range 5 {
		m, _, err := q.Receive(true)
		if err != nil {
			t.Fatal(err)
		}
		got += string(m.Text)
	}
	if got != "cbdae" {
		t.Errorf("received in the order %s", got)
	}
	_, w, _ := q.Receive(false)
	q.Send(c, &Message{3, []byte("z")}, true)
	if m, served := w.Cancel(); !served || string(m.Text) != "z" || q.Count() != 0 {
		t.Errorf("handed over: %v, %v", m, served)
	}
}
