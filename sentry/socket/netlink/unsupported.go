package netlink

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// unsupported is what these sockets do not do: EOPNOTSUPP.
type unsupported struct{}

// Bind implements socket.Socket.
func (unsupported) Bind(vfs.Caller, []byte, socket.Place) error { return unix.EOPNOTSUPP }

// Listen implements socket.Socket.
func (unsupported) Listen(vfs.Caller, int) error { return unix.EOPNOTSUPP }

// Accept implements socket.Socket.
func (unsupported) Accept(vfs.Caller, int, bool) (*vfs.File, error) { return nil, unix.EOPNOTSUPP }

// Connect implements socket.Socket.
func (unsupported) Connect(vfs.Caller, []byte, socket.Place) (*waiter.Queue, error) {
	return nil, unix.EOPNOTSUPP
}

// Shutdown implements socket.Socket.
func (unsupported) Shutdown(int) error { return unix.EOPNOTSUPP }

// Send implements socket.Socket.
func (unsupported) Send(vfs.Caller, *socket.Message) (int, error) { return 0, unix.EOPNOTSUPP }

// Write implements vfs.FileOps.
func (unsupported) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EOPNOTSUPP }
