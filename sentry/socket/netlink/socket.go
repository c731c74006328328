package netlink

import (
	"encoding/binary"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// CookieSize is how long a cookie is; its last byte tells what came of it.
	CookieSize = 32
	// Woken and Removed are what it tells: a message came to the queue, or the notification was taken back.
	Woken, Removed = 1, 2

	// protocols are the numbers that protocols can have.
	protocols = 32
	// maxWaiting bounds the notifications of a socket, that wait to be received or to happen.
	maxWaiting = 256
	// maxBuffered bounds the bytes that wait in a network namespace.
	maxBuffered = 1 << 20
	// addressSize is the size of struct sockaddr_nl.
	addressSize = 12

	readEvents  = waiter.In | waiter.RdNorm
	writeEvents = waiter.Out | waiter.WrNorm
)

var _ socket.Socket = (*Socket)(nil)

// Namespace is what the sockets of one network namespace have in common.
type Namespace struct {
	sys      *vfs.System
	buffered *vfs.Budget
}

// NamespaceOf returns the sockets of a task's network namespace.
func NamespaceOf(t *kernel.Task) *Namespace {
	return t.Namespaces().Net.Family(unix.AF_NETLINK, func() any {
		return &Namespace{t.Kernel().VFS(), vfs.NewBudget(maxBuffered)}
	}).(*Namespace)
}

// Socket is one socket.
type Socket struct {
	unsupported
	ns    *Namespace
	kind  int
	opts  socket.Options
	queue waiter.Queue

	// Guarded by mu.
	mu       sync.Mutex
	messages [][CookieSize]byte
	reserved int // notifications that may still come
	closed   bool
}

// New makes a socket, as socket(2); flags may have O_NONBLOCK. ESOCKTNOSUPPORT, EPROTONOSUPPORT for all but NETLINK_ROUTE.
func (n *Namespace) New(c vfs.Caller, kind, protocol, flags int) (*vfs.File, error) {
	switch {
	case kind != unix.SOCK_RAW && kind != unix.SOCK_DGRAM:
		return nil, unix.ESOCKTNOSUPPORT
	case protocol != unix.NETLINK_ROUTE:
		return nil, unix.EPROTONOSUPPORT
	}
	s := &Socket{ns: n, kind: kind}
	s.opts.Init()
	inode := new(vfs.AnonInode)
	n.sys.InitAnon(inode, c, unix.S_IFSOCK|0o777)
	return vfs.NewFile(s, n.sys.SocketPath(inode), unix.O_RDWR|flags), nil
}

// Reserve keeps room for one notification, for which Notify or Cancel is to be called. EAGAIN where there is none.
func (s *Socket) Reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages)+s.reserved >= maxWaiting || !s.ns.buffered.Take(CookieSize) {
		return unix.EAGAIN
	}
	s.reserved++
	return nil
}

// Cancel gives the room back.
func (s *Socket) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved--
	s.ns.buffered.Take(-CookieSize)
}

// Notify sends the cookie of a notification that room was reserved for; what is Woken or Removed. It does not block, and takes no lock but
// the socket's.
func (s *Socket) Notify(cookie [CookieSize]byte, what byte) {
	cookie[CookieSize-1] = what
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved--
	if s.closed {
		s.ns.buffered.Take(-CookieSize)
		return
	}
	s.messages = append(s.messages, cookie)
	s.queue.Notify(readEvents)
}

// Release implements vfs.FileOps.
func (s *Socket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns.buffered.Take(int64(-CookieSize * len(s.messages)))
	s.messages, s.closed = nil, true
}

// IsStream implements vfs.StreamOps.
func (*Socket) IsStream() {}

// Read implements vfs.FileOps.
func (s *Socket) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	return s.Receive(c, &socket.Message{Data: dst})
}

// Receive implements socket.Socket.
func (s *Socket) Receive(_ vfs.Caller, m *socket.Message) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) == 0 {
		return 0, unix.EAGAIN
	}
	text := s.messages[0][:]
	if m.Flags&unix.MSG_PEEK == 0 {
		defer s.takeLocked()
	}
	m.Address, m.Complete = kernelAddress(), true
	room := min(m.Data.Len(), CookieSize)
	n, err := m.Data.CopyOut(text[:room])
	if room < CookieSize {
		m.Got |= unix.MSG_TRUNC
	}
	if err == nil && m.Flags&unix.MSG_TRUNC != 0 {
		n = CookieSize
	}
	return n, err
}

func (s *Socket) takeLocked() {
	s.messages = s.messages[1:]
	s.ns.buffered.Take(-CookieSize)
}

// kernelAddress is where the kernel's messages come from, and the address of a socket without one.
func kernelAddress() []byte {
	return binary.LittleEndian.AppendUint16(make([]byte, 0, addressSize), unix.AF_NETLINK)[:addressSize]
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(wanted waiter.EventMask) waiter.EventMask {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := writeEvents
	if len(s.messages) > 0 {
		ready |= readEvents
	}
	return ready & wanted
}

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) { s.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.queue.Unregister(e) }

// Type implements socket.Socket.
func (s *Socket) Type() (family, kind, protocol int) {
	return unix.AF_NETLINK, s.kind, unix.NETLINK_ROUTE
}

// Common implements socket.Socket.
func (s *Socket) Common() *socket.Options { return &s.opts }

// Name implements socket.Socket.
func (*Socket) Name(bool) ([]byte, error) { return kernelAddress(), nil }

// Option implements socket.Socket.
func (s *Socket) Option(_ vfs.Caller, level, name int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.ENOPROTOOPT
	}
	switch name {
	case unix.SO_TYPE:
		return socket.Int(s.kind), nil
	case unix.SO_DOMAIN:
		return socket.Int(unix.AF_NETLINK), nil
	case unix.SO_PROTOCOL, unix.SO_ERROR, unix.SO_ACCEPTCONN:
		return socket.Int(0), nil
	}
	return s.opts.Get(name)
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int, value []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.ENOPROTOOPT
	}
	return s.opts.Set(c, name, value)
}
