package control

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Handler carries requests out. Its methods are called by many goroutines.
type Handler interface {
	// Handle answers every request but OpExec, OpCreate and OpWait.
	Handle(r Request) Answer
	// Exec runs a program in a container with files as its first descriptors, which it takes over, and returns its id in
	// the container and a function that waits for its end.
	Exec(container string, p *Process, files []int) (pid int32, wait func() int, err error)
	// Create adds a container, and takes files over.
	Create(container string, made []byte, files []int) (Added, error)
	// Ended returns what is closed once a container has ended, and a function that tells its exit status then.
	Ended(container string) (ended <-chan struct{}, status func() int, err error)
}

// Added is a container that was added.
type Added interface {
	// Wait waits for its end and returns its exit status.
	Wait() int
	// End ends it: nobody keeps it any more.
	End()
}

const (
	// maxAsking bounds the connections whose request is to be stated, or answered at once.
	maxAsking = 128
	// maxStaying bounds those that wait for the end of a program or a container.
	maxStaying = 512
	// patience is how long a caller may take to state its request, and to take an answer.
	patience = 10 * time.Second
	// pause is how long the server waits for what the host has not enough of.
	pause = 10 * time.Millisecond
)

// Server answers on a listening socket.
type Server struct {
	listener conn
	asking   chan struct{} // has an element for each connection of maxAsking, and one for Serve
	staying  chan struct{} // has an element for each connection of maxStaying
}

// NewServer takes a listening socket over.
func NewServer(listener int) (*Server, error) {
	l, err := newConn(listener)
	if err != nil {
		return nil, err
	}
	return &Server{l, make(chan struct{}, maxAsking), make(chan struct{}, maxStaying)}, nil
}

// Serve answers until the socket fails.
func (s *Server) Serve(h Handler) error {
	for {
		s.asking <- struct{}{}
		c, err := s.listener.accept()
		if scarce(err) {
			<-s.asking
			time.Sleep(pause)
			continue
		}
		if err != nil {
			return err
		}
		go s.attend(c, h)
	}
}

// scarce tells whether err says that the host has not enough of something just now.
func scarce(err error) bool {
	return err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM || err == unix.ENOBUFS
}

// Drain waits, for limit at most, until those served have their answers. Nobody is served afterwards.
func (s *Server) Drain(limit time.Duration) {
	over := time.After(limit)
	take := func(slots chan struct{}, n int) {
		for range n {
			select {
			case slots <- struct{}{}:
			case <-over:
				return
			}
		}
	}
	take(s.asking, cap(s.asking)-1)
	take(s.staying, cap(s.staying))
}

// HostCalls are the system calls that Serve makes, besides those of every use of a file.
func HostCalls() []uintptr {
	return []uintptr{unix.SYS_ACCEPT4, unix.SYS_RECVMSG, unix.SYS_SENDMSG}
}

// attend serves a connection, which counts among those that ask until it is known to stay.
func (s *Server) attend(c conn, h Handler) {
	defer c.Close()
	counted := s.asking
	defer func() { <-counted }()
	if c.SetReadDeadline(time.Now().Add(patience)) != nil {
		return
	}
	var r Request
	files, err := receive(c, &r)
	if err != nil {
		return
	}
	if r.Op.stays() {
		select {
		case s.staying <- struct{}{}:
			<-s.asking
			counted = s.staying
		default:
			closeAll(files)
			reply(c, Answer{Error: fmt.Sprintf("the sandbox is busy: %d callers wait for the end of programs already", cap(s.staying))})
			return
		}
	}
	answer(c, h, &r, files)
}

// stays tells whether a request is about an end that may be far.
func (o Op) stays() bool { return o == OpExec || o == OpCreate || o == OpWait }

func answer(c conn, h Handler, r *Request, files []int) {
	switch {
	case r.Op == OpExec && r.Process != nil:
		exec(c, h, r, files)
	case r.Op == OpCreate:
		create(c, h, r, files)
	case r.Op == OpWait:
		closeAll(files)
		wait(c, h, r)
	default:
		closeAll(files)
		reply(c, h.Handle(*r))
	}
}

func reply(c conn, a Answer) bool {
	return c.SetWriteDeadline(time.Now().Add(patience)) == nil && send(c, a, nil) == nil
}

// create adds a container that lives no longer than the connection.
func create(c conn, h Handler, r *Request, files []int) {
	box, err := h.Create(r.Container, r.Made, files)
	if err != nil {
		reply(c, Answer{Error: err.Error()})
		return
	}
	if !reply(c, Answer{}) || c.SetReadDeadline(time.Time{}) != nil {
		box.End()
		return
	}
	go func() {
		// Nothing more is said: it ends with the connection, whoever ends that.
		c.Read(make([]byte, 1)) //nolint:errcheck // as above
		box.End()
	}()
	status := box.Wait()
	reply(c, Answer{Exit: &status})
}

func exec(c conn, h Handler, r *Request, files []int) {
	pid, wait, err := h.Exec(r.Container, r.Process, files)
	if err != nil {
		reply(c, Answer{Error: err.Error()})
		return
	}
	if !reply(c, Answer{PID: pid}) {
		return
	}
	ended, status := make(chan struct{}), 0
	go func() {
		status = wait()
		close(ended)
	}()
	if await(c, ended) {
		reply(c, Answer{PID: pid, Exit: &status})
	}
}

// wait answers when a container has ended.
func wait(c conn, h Handler, r *Request) {
	ended, status, err := h.Ended(r.Container)
	if err != nil {
		reply(c, Answer{Error: err.Error()})
		return
	}
	if await(c, ended) {
		status := status()
		reply(c, Answer{Exit: &status})
	}
}

// await tells whether ended was closed before the caller went.
func await(c conn, ended <-chan struct{}) bool {
	if c.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	gone := make(chan struct{})
	go func() {
		c.Read(make([]byte, 1)) //nolint:errcheck // callers that stay say nothing more: whatever it is, it is the end
		close(gone)
	}()
	select {
	case <-ended:
		return true
	case <-gone:
		return false
	}
}
