package control

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the socket's name in a container's state directory.
const SocketName = "control.sock"

// address is the socket's path below a descriptor: a state directory's own path may be
// longer than a socket address.
func address(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)
}

// Listen makes the socket in a directory and returns a listening descriptor.
func Listen(dir string) (int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return -1, err
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: address(d)}); err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Refused is why a sandbox that answers does not do what it was asked to.
type Refused string

func (r Refused) Error() string { return string(r) }

// dial connects to the sandbox whose state is in dir.
func dial(dir string) (conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return conn{}, err
	}
	defer d.Close()
	return connectTo(address(d))
}

// Ask sends a request to the sandbox whose state is in dir and returns its answer. The error is of the
// connection, or the sandbox's own.
func Ask(dir string, r Request) (Answer, error) {
	c, err := dial(dir)
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		return Answer{}, err
	}
	return exchange(c, r, nil)
}

// Wait waits for the end of a container (Request.Container) of the sandbox whose state is in dir and returns its exit
// status. An error that is not Refused means that it ended without a word.
func Wait(dir, container string) (int, error) {
	c, err := dial(dir)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	a, err := exchange(c, Request{Op: OpWait, Container: container}, nil)
	if err == nil && a.Exit == nil {
		err = errors.New("the sandbox sent no status")
	}
	if err != nil {
		return 0, err
	}
	return *a.Exit, nil
}

func exchange(c conn, r Request, files []int) (Answer, error) {
	if err := send(c, r, files); err != nil {
		return Answer{}, err
	}
	return next(c)
}

func next(c conn) (Answer, error) {
	var a Answer
	files, err := receive(c, &a)
	closeAll(files)
	if err == nil && a.Error != "" {
		err = Refused(a.Error)
	}
	return a, err
}

// Program is a program started by Exec, or that of a container added by Create.
type Program struct {
	PID  int32 // in the container
	conn conn
}

// Exec starts a program in a container (Request.Container) of the sandbox whose state is in dir; files become its first
// descriptors and stay the caller's as well.
func Exec(dir, container string, p *Process, files []int) (*Program, error) {
	return begin(dir, Request{Op: OpExec, Container: container, Process: p}, files)
}

// Create adds a container to the sandbox whose state is in dir. made says what it is made from, with files, which stay the
// caller's as well. The container lives no longer than the connection, which Hand gives to another process.
func Create(dir, container string, made []byte, files []int) (*Program, error) {
	return begin(dir, Request{Op: OpCreate, Container: container, Made: made}, files)
}

// Take is the other end of Hand: it takes a descriptor over.
func Take(fd int) (*Program, error) {
	c, err := newConn(fd)
	return &Program{conn: c}, err
}

// Hand calls give with a descriptor of the connection to the sandbox, which stays open until give returns.
func (r *Program) Hand(give func(fd int) error) error {
	defer r.conn.Close()
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = give(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// begin sends a request that has two answers, and waits for the first.
func begin(dir string, r Request, files []int) (*Program, error) {
	c, err := dial(dir)
	if err != nil {
		return nil, err
	}
	a, err := exchange(c, r, files)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Program{a.PID, c}, nil
}

// Wait waits for the program's end and returns its status as a shell shows it. An error means
// that the sandbox is gone.
func (r *Program) Wait() (int, error) {
	defer r.conn.Close()
	a, err := next(r.conn)
	if err != nil {
		return 0, err
	}
	if a.Exit == nil {
		return 0, errors.New("the sandbox sent no status")
	}
	return *a.Exit, nil
}
