package control

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// conn is a connected or listening socket in Go's poller. Package net would do, but it brings cgo along
// where that is on, and a sandbox cannot be locked in a program with cgo.
type conn struct{ *os.File }

// newConn takes a socket over.
func newConn(fd int) (conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return conn{}, err
	}
	return conn{os.NewFile(uintptr(fd), "control socket")}, nil
}

// accept waits for the next connection of a listening socket.
func (c conn) accept() (conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return conn{}, err
	}
	fd := -1
	var failed error
	err = raw.Read(func(s uintptr) bool {
		fd, _, failed = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return failed != unix.EAGAIN && failed != unix.ECONNABORTED && failed != unix.EINTR
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return conn{}, err
	}
	return newConn(fd)
}

// sendRights writes bytes with descriptors beside the first of them.
func (c conn) sendRights(p []byte, files []int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	var failed error
	err = raw.Write(func(s uintptr) bool {
		_, failed = unix.SendmsgN(int(s), p, rights, nil, unix.MSG_NOSIGNAL)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err == nil {
		err = failed
	}
	return err
}

// receiveRights reads bytes and what came beside the first of them.
func (c conn) receiveRights(p, rights []byte) (n, got, flags int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, 0, err
	}
	var failed error
	err = raw.Read(func(s uintptr) bool {
		n, got, flags, _, failed = unix.Recvmsg(int(s), p, rights, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err == nil {
		err = failed
	}
	return max(n, 0), got, flags, err
}

// connectTo connects to a socket by its path, waiting while its queue is full.
func connectTo(path string) (conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return conn{}, err
	}
	const moment = 5 * time.Millisecond
	for end := time.Now().Add(patience); ; time.Sleep(moment) {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err != unix.EAGAIN || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return conn{}, os.NewSyscallError("connect", err)
	}
	return newConn(fd)
}

// SendFile connects to a socket by its path and sends a descriptor with a name.
func SendFile(path, name string, fd int) error {
	c, err := connectTo(path)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.sendRights([]byte(name), []int{fd})
}
