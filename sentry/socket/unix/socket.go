package unix

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Socket is one socket of family AF_UNIX; it implements socket.Socket.
type Socket struct {
	queue waiter.Queue // who waits for the socket
	async waiter.Queue // who is told by signal of data, connections and the end
	room  waiter.Queue // who waits for room for a datagram, or a connection, in its queue

	ns    *Namespace
	kind  int // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
	inode *inode
	opts  socket.Options

	sent     atomic.Int64  // cost of what others have yet to take
	state    atomic.Int32  // idle, listening or connected; changes with mu held
	accepted atomic.Bool   // it has a file
	pass     atomic.Uint32 // what may come with messages
	stamps   atomic.Bool   // datagrams are to tell their times

	// bindMu is held while the socket gets a name.
	bindMu sync.Mutex
	// readMu is held by those who take messages out.
	readMu sync.Mutex

	// Guarded by mu.
	mu      sync.Mutex
	name    *name
	peer    *Socket // where to send; it may be closed
	shut    uint8
	dead    bool // closed
	err     unix.Errno
	in      inbox
	pending []*Socket // connections to be accepted
	backlog int       // of pending; one more is taken
	others  *socket.Credentials
	peekOff int // SO_PEEK_OFF, -1 for none
	// relay tells queue of room at the peer, for datagrams.
	relay *waiter.Entry
}

// States. A datagram socket is idle, connected or not.
const (
	idle int32 = iota
	listening
	connected
)

// Bits of Socket.pass: who sent a message is shown by ids, by a pidfd; descriptors are taken.
const (
	passCreds = 1 << iota
	passPIDFD
	passRights
	passSender = passCreds | passPIDFD
)

// Parts of shut.
const (
	shutReceive = 1 << iota
	shutSend
	shutBoth = shutReceive | shutSend
)

// inode is what fstat(2) of a socket tells.
type inode struct {
	vfs.AnonInode

	// Guarded by mu.
	mu      sync.Mutex
	changed vfs.SetAttr
}

// Attr implements vfs.Inode.
func (i *inode) Attr() (vfs.Attr, error) {
	a, err := i.AnonInode.Attr()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed.Set&vfs.SetMode != 0 {
		a.Mode = a.Mode&unix.S_IFMT | i.changed.Mode
	}
	if i.changed.Set&vfs.SetUID != 0 {
		a.UID = i.changed.UID
	}
	if i.changed.Set&vfs.SetGID != 0 {
		a.GID = i.changed.GID
	}
	return a, err
}

// SetAttr implements vfs.Inode. The mode is what bind(2) gives the file.
func (i *inode) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s.Set&vfs.SetMode != 0 {
		i.changed.Mode = s.Mode
	}
	if s.Set&vfs.SetUID != 0 {
		i.changed.UID = s.UID
	}
	if s.Set&vfs.SetGID != 0 {
		i.changed.GID = s.GID
	}
	i.changed.Set |= s.Set
	return nil
}

// socketMode is the mode of a socket's inode.
const socketMode = unix.S_IFSOCK | 0o777

// newSocket makes a socket without a file.
func (n *Namespace) newSocket(kind int) *Socket {
	s := &Socket{ns: n, kind: kind, backlog: maxDatagrams, peekOff: -1}
	s.opts.Init()
	s.pass.Store(passRights)
	return s
}

// open gives s a file.
func (s *Socket) open(c vfs.Caller, flags int) *vfs.File {
	s.inode = new(inode)
	s.ns.sys.InitAnon(&s.inode.AnonInode, c, socketMode)
	s.accepted.Store(true)
	s.ns.enter(s)
	return vfs.NewFile(s, s.ns.sys.SocketPath(s.inode), unix.O_RDWR|flags)
}

// New makes a socket, as socket(2); flags may have O_NONBLOCK. ESOCKTNOSUPPORT for an unknown type,
// EPROTONOSUPPORT for a protocol, ENFILE when there are too many.
func (n *Namespace) New(c vfs.Caller, kind, protocol, flags int) (*vfs.File, error) {
	kind, err := n.check(kind, protocol)
	if err != nil {
		return nil, err
	}
	return n.newSocket(kind).open(c, flags), nil
}

func (n *Namespace) check(kind, protocol int) (int, error) {
	if kind == unix.SOCK_RAW {
		kind = unix.SOCK_DGRAM
	}
	switch {
	case protocol != 0 && protocol != unix.AF_UNIX:
		return 0, unix.EPROTONOSUPPORT
	case kind != unix.SOCK_STREAM && kind != unix.SOCK_DGRAM && kind != unix.SOCK_SEQPACKET:
		return 0, unix.ESOCKTNOSUPPORT
	case n.crowded():
		return 0, unix.ENFILE
	}
	return kind, nil
}

// NewPair makes two sockets connected to each other, as socketpair(2).
func (n *Namespace) NewPair(c vfs.Caller, kind, protocol, flags int) (a, b *vfs.File, err error) {
	if kind, err = n.check(kind, protocol); err != nil {
		return nil, nil, err
	}
	s, t := n.newSocket(kind), n.newSocket(kind)
	me := socket.Effective(c)
	for _, pair := range [2][2]*Socket{{s, t}, {t, s}} {
		pair[0].peer, pair[0].others = pair[1], &me
		if kind != unix.SOCK_DGRAM {
			pair[0].state.Store(connected)
		} else {
			pair[0].watchRoomLocked()
		}
	}
	return s.open(c, flags), t.open(c, flags), nil
}

// Type implements socket.Socket.
func (s *Socket) Type() (family, kind, protocol int) { return unix.AF_UNIX, s.kind, 0 }

// Common implements socket.Socket.
func (s *Socket) Common() *socket.Options { return &s.opts }

// connectionBased tells a stream or sequenced packets from datagrams.
func (s *Socket) connectionBased() bool { return s.kind != unix.SOCK_DGRAM }

// takeErrorLocked returns the pending error, which is over with that (SO_ERROR).
func (s *Socket) takeErrorLocked() error {
	if s.err == 0 {
		return nil
	}
	err := s.err
	s.err = 0
	return err
}

// fail makes err the pending error and ends both directions.
func (s *Socket) fail(err unix.Errno) {
	s.mu.Lock()
	s.shut = shutBoth
	if err != 0 {
		s.err = err
	}
	s.mu.Unlock()
	s.queue.Notify(waiter.All)
	s.async.Notify(waiter.HUp)
}

// AsyncQueue implements vfs.AsyncOps.
func (s *Socket) AsyncQueue() *waiter.Queue { return &s.async }

// Release implements vfs.FileOps.
func (s *Socket) Release() {
	s.ns.leave(s)
	s.close(false)
	s.ns.closed()
}

// close ends the socket. unaccepted says that it was waiting for accept(2).
func (s *Socket) close(unaccepted bool) {
	s.unbind()
	s.mu.Lock()
	s.dead, s.shut = true, shutBoth
	s.state.Store(idle)
	peer, messages, pending, relay := s.peer, s.in.head, s.pending, s.relay
	s.peer, s.in, s.pending, s.relay = nil, inbox{}, nil, nil
	s.mu.Unlock()
	s.room.Notify(waiter.All)
	if peer != nil {
		if relay != nil {
			peer.room.Unregister(relay)
		}
		if s.connectionBased() {
			err := unix.Errno(0)
			if messages != nil || unaccepted {
				err = unix.ECONNRESET
			}
			peer.fail(err)
		}
	}
	for _, p := range pending {
		s.ns.buffered.Take(-pendingCost)
		p.close(true)
	}
	s.ns.drop(messages)
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int) error {
	var mine, theirs uint8
	switch how {
	case unix.SHUT_RD:
		mine, theirs = shutReceive, shutSend
	case unix.SHUT_WR:
		mine, theirs = shutSend, shutReceive
	case unix.SHUT_RDWR:
		mine, theirs = shutBoth, shutBoth
	default:
		return unix.EINVAL
	}
	s.mu.Lock()
	s.shut |= mine
	peer := s.peer
	s.mu.Unlock()
	s.queue.Notify(waiter.All)
	s.room.Notify(waiter.All)
	if peer != nil && s.connectionBased() {
		peer.mu.Lock()
		peer.shut |= theirs
		peer.mu.Unlock()
		peer.queue.Notify(waiter.All)
		switch {
		case theirs == shutBoth:
			peer.async.Notify(waiter.HUp)
		case theirs == shutReceive:
			peer.async.Notify(waiter.In)
		}
	}
	return nil
}

// watchRoomLocked has the socket's queue told when its peer takes datagrams again. mu is held, or the socket
// is not known yet.
func (s *Socket) watchRoomLocked() {
	s.relay = &waiter.Entry{Mask: waiter.All, Notify: func(waiter.EventMask) { s.queue.Notify(writeEvents) }}
	s.peer.room.Register(s.relay)
}
