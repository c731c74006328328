package unix

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// maxBacklog is net.core.somaxconn.
const maxBacklog = 4096

// pendingCost is what a connection that waits to be accepted counts among the buffers of all sockets.
const pendingCost = 1024

// errGone says that a socket was closed after it was found. It is for this package alone.
const errGone = unix.EOWNERDEAD

// Listen implements socket.Socket.
func (s *Socket) Listen(c vfs.Caller, backlog int) error {
	if !s.connectionBased() {
		return unix.EOPNOTSUPP
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	me := socket.Effective(c)
	s.mu.Lock()
	if s.name == nil || s.state.Load() == connected {
		s.mu.Unlock()
		return unix.EINVAL
	}
	s.state.Store(listening)
	s.backlog, s.others = backlog, &me
	s.mu.Unlock()
	s.room.Notify(waiter.All)
	return nil
}

// Accept implements socket.Socket. EINVAL for a socket that does not listen, and for who would wait for one whose
// receiving side was shut down.
func (s *Socket) Accept(c vfs.Caller, flags int, wait bool) (*vfs.File, error) {
	if !s.connectionBased() {
		return nil, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	if s.state.Load() != listening {
		s.mu.Unlock()
		return nil, unix.EINVAL
	}
	if s.ns.crowded() {
		s.mu.Unlock()
		return nil, unix.ENFILE
	}
	if len(s.pending) == 0 {
		defer s.mu.Unlock()
		if wait && s.shut&shutReceive != 0 {
			return nil, unix.EINVAL
		}
		return nil, unix.EAGAIN
	}
	t := s.pending[0]
	s.pending = s.pending[1:]
	roomed := len(s.pending) == s.backlog
	s.mu.Unlock()
	s.ns.buffered.Take(-pendingCost)
	if roomed {
		s.room.Notify(waiter.All)
	}
	return t.open(c, flags), nil
}

// Connect implements socket.Socket.
func (s *Socket) Connect(c vfs.Caller, addr []byte, at socket.Place) (*waiter.Queue, error) {
	family, err := socket.FamilyOf(addr)
	if err != nil {
		return nil, err
	}
	if family == unix.AF_UNSPEC && !s.connectionBased() {
		s.setPeer(nil)
		return nil, nil
	}
	if err := checkAddress(addr); err != nil {
		return nil, err
	}
	if err := s.nameForCreds(); err != nil {
		return nil, err
	}
	for {
		other, err := s.find(c, addr, at)
		if err != nil {
			return nil, err
		}
		if !s.connectionBased() {
			err = s.connectDatagrams(other)
		} else {
			err = s.join(c, other)
		}
		if err == unix.EAGAIN {
			return &other.room, err
		}
		if err != errGone {
			return nil, err
		}
	}
}

// nameForCreds gives a socket that shows senders a name, so that it can be answered.
func (s *Socket) nameForCreds() error {
	if s.pass.Load()&passSender != 0 {
		return s.autobind()
	}
	return nil
}

// join connects s to a socket that listens: the new other end waits there to be accepted. EAGAIN
// when too many wait already, ENOMEM when too much waits in all sockets.
func (s *Socket) join(c vfs.Caller, other *Socket) error {
	end := s.ns.newSocket(s.kind)
	end.state.Store(connected)
	me := socket.Effective(c)
	end.peer, end.others = s, &me
	other.mu.Lock()
	defer other.mu.Unlock()
	switch {
	case other.dead:
		return errGone
	case other.state.Load() != listening || other.shut&shutReceive != 0:
		return unix.ECONNREFUSED
	case len(other.pending) > other.backlog:
		return unix.EAGAIN
	case s.state.Load() == listening:
		return unix.EINVAL
	}
	// other listens and s does not, so nobody locks the two the other way round.
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state.Load() {
	case connected:
		return unix.EISCONN
	case listening:
		return unix.EINVAL
	}
	if !s.ns.buffered.Take(pendingCost) {
		return unix.ENOMEM
	}
	end.pass.Store(other.pass.Load())
	end.name = other.name
	s.peer, s.others = end, other.others
	s.state.Store(connected)
	other.pending = append(other.pending, end)
	other.queue.Notify(readEvents)
	other.async.Notify(waiter.In)
	s.queue.Notify(writeEvents)
	return nil
}

// connectDatagrams makes other the one that s sends to and takes datagrams from. EPERM when other is connected
// elsewhere.
func (s *Socket) connectDatagrams(other *Socket) error {
	other.mu.Lock()
	dead, theirs := other.dead, other.peer
	other.mu.Unlock()
	switch {
	case dead:
		return errGone
	case theirs != nil && theirs != s:
		return unix.EPERM
	}
	s.setPeer(other)
	return nil
}

// setPeer makes other the peer of a datagram socket, nil for none. What the old peer has sent is
// lost with it, and if that was connected back it is told (ECONNRESET).
func (s *Socket) setPeer(other *Socket) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.mu.Lock()
	old, relay := s.peer, s.relay
	s.peer, s.relay = other, nil
	if other != nil {
		s.watchRoomLocked()
	}
	var lost *message
	if old != nil && old != other {
		lost, s.in = s.in.head, inbox{}
	}
	s.mu.Unlock()
	if relay != nil {
		old.room.Unregister(relay)
	}
	if lost != nil {
		s.room.Notify(waiter.All)
		s.ns.drop(lost)
		old.reset(s)
	}
	s.queue.Notify(writeEvents)
}

// reset tells s that its peer has thrown away what s sent.
func (s *Socket) reset(by *Socket) {
	s.mu.Lock()
	tell := !s.dead && s.peer == by
	if tell {
		s.err = unix.ECONNRESET
	}
	s.mu.Unlock()
	if tell {
		s.queue.Notify(waiter.All)
	}
}
