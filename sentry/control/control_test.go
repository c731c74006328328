package control

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fake carries requests out without a sandbox.
type fake struct {
	mu    sync.Mutex
	added map[string]*fakeContainer
}

type fakeContainer struct {
	made  string
	files int
	once  sync.Once
	ended chan struct{}
}

func (c *fakeContainer) Wait() int {
	<-c.ended
	return 9
}

func (c *fakeContainer) End() { c.once.Do(func() { close(c.ended) }) }

func (f *fake) get(id string) *fakeContainer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.added[id]
}

func (f *fake) Handle(r Request) Answer {
	c := f.get(r.Container)
	switch {
	case c == nil:
		return Answer{Error: "no container " + r.Container}
	case r.Op == OpDelete:
		c.End()
	}
	return Answer{Status: Running}
}

func (f *fake) Exec(container string, p *Process, files []int) (int32, func() int, error) {
	closeAll(files)
	if f.get(container) == nil {
		return 0, nil, errors.New("no container " + container)
	}
	return 7, func() int { return len(p.Args) }, nil
}

func (f *fake) Ended(container string) (<-chan struct{}, func() int, error) {
	c := f.get(container)
	if c == nil {
		return nil, nil, errors.New("no container " + container)
	}
	return c.ended, c.Wait, nil
}

func (f *fake) Create(container string, made []byte, files []int) (Added, error) {
	closeAll(files)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.added[container] != nil {
		return nil, errors.New("there is one")
	}
	c := &fakeContainer{made: string(made), files: len(files), ended: make(chan struct{})}
	f.added[container] = c
	return c, nil
}

// serve answers on a socket in a new directory.
func serve(t *testing.T) (dir string, f *fake) {
	dir, f, _ = serveAtMost(t, maxStaying)
	return dir, f
}

// serveAtMost is serve with its own bound of those that stay.
func serveAtMost(t *testing.T, staying int) (dir string, f *fake, s *Server) {
	t.Helper()
	dir, f = t.TempDir(), &fake{added: map[string]*fakeContainer{}}
	fd, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err = NewServer(fd)
	if err != nil {
		t.Fatal(err)
	}
	s.staying = make(chan struct{}, staying)
	go s.Serve(f) //nolint:errcheck // it ends with the socket
	t.Cleanup(func() { s.listener.Close() })
	return dir, f, s
}

// TestAdded has containers that live as long as the connections over which they were made.
func TestAdded(t *testing.T) {
	dir, f := serve(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	// Each takes two of the descriptors that this process may have.
	var may unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &may); err != nil {
		t.Fatal(err)
	}
	list := make([]int, min(MaxFiles, may.Cur/4))
	for i := range list {
		list[i] = int(null.Fd())
	}
	one, err := Create(dir, "one", []byte(`{"a":1}`), list)
	if err != nil {
		t.Fatal(err)
	}
	if c := f.get("one"); c.made != `{"a":1}` || c.files != len(list) {
		t.Errorf("made from %s and %d descriptors", c.made, c.files)
	}
	if _, err := Create(dir, "one", []byte(`{}`), nil); err == nil || err.Error() != "there is one" {
		t.Errorf("a second one: %v", err)
	}
	if _, err := Create(dir, "many", []byte(`{}`), make([]int, MaxFiles+1)); !errors.Is(err, unix.E2BIG) {
		t.Errorf("too many descriptors: %v", err)
	}
	if a, err := Ask(dir, Request{Op: OpStatus, Container: "one"}); err != nil || a.Status != Running {
		t.Errorf("status: %+v, %v", a, err)
	}
	if _, err := Ask(dir, Request{Op: OpStatus, Container: "two"}); err == nil {
		t.Error("a container that is not there has a status")
	}
	run, err := Exec(dir, "one", &Process{Args: BytesOf([]string{"a", "b", "c"})}, nil)
	if err != nil || run.PID != 7 {
		t.Fatalf("exec: %+v, %v", run, err)
	}
	if status, err := run.Wait(); status != 3 || err != nil {
		t.Errorf("exec ends with %d, %v", status, err)
	}
	go Ask(dir, Request{Op: OpDelete, Container: "one"}) //nolint:errcheck // the ends tell
	for range 2 {
		if status, err := Wait(dir, "one"); status != 9 || err != nil {
			t.Errorf("wait: %d, %v", status, err)
		}
	}
	if status, err := one.Wait(); status != 9 || err != nil {
		t.Errorf("its keeper: %d, %v", status, err)
	}
}

// TestBusy has as many callers wait as may: more are told so, who asks for less is answered, and the place of one that goes is free.
func TestBusy(t *testing.T) {
	const most = 3
	dir, f, s := serveAtMost(t, most)
	made, err := Create(dir, "c", []byte(`{}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer made.conn.Close()
	staying := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("%d never stay", n), func() bool { return len(s.staying) == n })
	}
	wait := func() conn {
		c, err := dial(dir)
		if err == nil {
			err = send(c, Request{Op: OpWait, Container: "c"}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, other := wait(), wait()
	defer other.Close()
	staying(most)
	if _, err := Wait(dir, "c"); !errors.As(err, new(Refused)) {
		t.Errorf("one more waits: %v", err)
	}
	if _, err := Exec(dir, "c", &Process{}, nil); !errors.As(err, new(Refused)) {
		t.Errorf("one more program: %v", err)
	}
	if a, err := Ask(dir, Request{Op: OpStatus, Container: "c"}); err != nil || a.Status != Running {
		t.Errorf("status: %+v, %v", a, err)
	}
	one.Close()
	staying(most - 1)
	f.get("c").End()
	if a, err := next(other); err != nil || a.Exit == nil || *a.Exit != 9 {
		t.Errorf("the one that stayed: %+v, %v", a, err)
	}
	staying(0)
}

// until waits for what is to come soon; what says that it does not.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// connectScarcely connects with the last descriptor that there is, and leaves it so for a while.
func connectScarcely(t *testing.T, d *os.File) (conn, error) {
	next, err := unix.Dup(int(d.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next) + 1, Max: old.Max})
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	c, err := connectTo(address(d))
	if err == nil {
		time.Sleep(5 * pause)
	}
	return c, err
}

// TestScarce leaves no descriptor for whoever connects: he is served later.
func TestScarce(t *testing.T) {
	dir, _ := serve(t)
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var c conn
	until(t, "it cannot connect", func() bool { // others may take the descriptor meanwhile
		c, err = connectScarcely(t, d)
		return err == nil
	})
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the next step tells
	if _, err := exchange(c, Request{Op: OpStatus, Container: "none"}, nil); err == nil || err.Error() != "no container none" {
		t.Errorf("it is not served: %v", err)
	}
}

// TestHand gives a container's connection to another owner, whose end is the container's.
func TestHand(t *testing.T) {
	dir, f := serve(t)
	made, err := Create(dir, "c", []byte(`{}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	var kept *Program
	err = made.Hand(func(fd int) error {
		other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			kept, err = Take(other)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := f.get("c").ended
	select {
	case <-ended:
		t.Fatal("it ended with the first owner")
	case <-time.After(50 * time.Millisecond):
	}
	kept.conn.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it outlives its owner")
	}
}
