package control

import (
	"time"

	"golang.org/x/sys/unix"
)

// Handler carries requests out. Its methods are called by many goroutines.
type Handler interface {
	// Handle answers every request but OpExec and OpCreate.
	Handle(r Request) Answer
	// Exec runs a program in a container with files as its first descriptors, which it takes over, and returns its id in
	// the container and a function that waits for its end.
	Exec(container string, p *Process, files []int) (pid int32, wait func() int, err error)
	// Create adds a container, and takes files over.
	Create(container string, made []byte, files []int) (Added, error)
}

// Added is a container that was added.
type Added interface {
	// Wait waits for its end and returns its exit status.
	Wait() int
	// End ends it: nobody keeps it any more.
	End()
}

const (
	// maxConnections bounds those served at once.
	maxConnections = 256
	// patience is how long a caller may take to state its request, and to take an answer.
	patience = 10 * time.Second
	// pause is how long the server waits for what the host has not enough of.
	pause = 10 * time.Millisecond
)

// Server answers on a listening socket.
type Server struct {
	listener conn
	slots    chan struct{} // has an element for each connection, and one for Serve
}

// NewServer takes a listening socket over.
func NewServer(listener int) (*Server, error) {
	l, err := newConn(listener)
	if err != nil {
		return nil, err
	}
	return &Server{l, make(chan struct{}, maxConnections)}, nil
}

// Serve answers until the socket fails.
func (s *Server) Serve(h Handler) error {
	for {
		s.slots <- struct{}{}
		c, err := s.listener.accept()
		if scarce(err) {
			<-s.slots
			time.Sleep(pause)
			continue
		}
		if err != nil {
			return err
		}
		go func() {
			defer func() { <-s.slots }()
			answer(c, h)
		}()
	}
}

// scarce tells whether err says that the host has not enough of something just now.
func scarce(err error) bool {
	return err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM || err == unix.ENOBUFS
}

// Drain waits, for limit at most, until those served have their answers. Nobody is served afterwards.
func (s *Server) Drain(limit time.Duration) {
	over := time.After(limit)
	for range cap(s.slots) - 1 {
		select {
		case s.slots <- struct{}{}:
		case <-over:
			return
		}
	}
}

// HostCalls are the system calls that Serve makes, besides those of every use of a file.
func HostCalls() []uintptr {
	return []uintptr{unix.SYS_ACCEPT4, unix.SYS_RECVMSG, unix.SYS_SENDMSG}
}

func answer(c conn, h Handler) {
	defer c.Close()
	if c.SetReadDeadline(time.Now().Add(patience)) != nil {
		return
	}
	var r Request
	files, err := receive(c, &r)
	if err != nil {
		return
	}
	switch {
	case r.Op == OpExec && r.Process != nil:
		exec(c, h, &r, files)
	case r.Op == OpCreate:
		create(c, h, &r, files)
	default:
		closeAll(files)
		reply(c, h.Handle(r))
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
	status := wait()
	reply(c, Answer{PID: pid, Exit: &status})
}
