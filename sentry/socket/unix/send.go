package unix

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
)

// Send implements socket.Socket.
func (s *Socket) Send(c vfs.Caller, m *socket.Message) (int, error) {
	switch {
	case m.Flags&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	case s.kind == unix.SOCK_STREAM:
		return s.sendStream(c, m)
	case s.kind == unix.SOCK_DGRAM:
		return s.sendDatagram(c, m, m.Address)
	}
	s.mu.Lock()
	err := s.takeErrorLocked()
	s.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case s.state.Load() != connected:
		return 0, unix.ENOTCONN
	}
	return s.sendDatagram(c, m, nil)
}

// sendStream sends as much as there is room for; files go with the first bytes.
func (s *Socket) sendStream(c vfs.Caller, m *socket.Message) (int, error) {
	s.mu.Lock()
	peer, shut := s.peer, s.shut
	s.mu.Unlock()
	switch {
	case len(m.Address) > 0 && s.state.Load() == connected:
		return 0, unix.EISCONN
	case len(m.Address) > 0:
		return 0, unix.EOPNOTSUPP
	case peer == nil:
		return 0, unix.ENOTCONN
	case shut&shutSend != 0:
		return 0, unix.EPIPE
	}
	done := 0
	for m.Data.Len() > 0 {
		n, err := s.sendRun(c, peer, m)
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil {
			break
		}
		done += n
	}
	return done, nil
}

// sendRun sends one run of a stream's bytes: whole, or nothing of it.
func (s *Socket) sendRun(c vfs.Caller, peer *Socket, m *socket.Message) (int, error) {
	size := int(min(m.Data.Len(), uint64(max(s.opts.SendBuffer()/2-64, 1)), maxRun))
	cost := costOf(size, streamPiece)
	if err := s.admit(cost); err != nil {
		return 0, err
	}
	run, err := s.makeMessage(m, size, cost)
	if err == nil {
		err = s.deliver(c, peer, run, m.Rights)
	}
	if err == errGone {
		err = unix.EPIPE
	}
	if err != nil {
		s.relieve(cost)
		return 0, err
	}
	m.Rights = nil
	return size, nil
}

// makeMessage copies a message's next bytes in.
func (s *Socket) makeMessage(m *socket.Message, size int, cost int64) (*message, error) {
	out := &message{data: s.ns.buffers.get(size), cost: cost, from: s, creds: m.Credentials}
	n, err := m.Data.CopyIn(out.data)
	if err == nil && n < size {
		err = unix.EFAULT
	}
	return out, err
}

// sendDatagram sends one message whole, to addr or to the peer.
func (s *Socket) sendDatagram(c vfs.Caller, m *socket.Message, addr []byte) (int, error) {
	to, err := s.checkTarget(addr)
	if err != nil {
		return 0, err
	}
	if err := s.nameForCreds(); err != nil {
		return 0, err
	}
	size := int(m.Data.Len())
	if m.Data.Len() > uint64(s.opts.SendBuffer()-32) {
		return 0, unix.EMSGSIZE
	}
	cost := costOf(size, packetPiece)
	if err := s.admit(cost); err != nil {
		return 0, err
	}
	before := *m.Data
	out, err := s.makeMessage(m, size, cost)
	if err == nil {
		err = s.deliverDatagram(c, m, out, to, addr)
	}
	if err != nil {
		s.relieve(cost)
		if err == unix.EAGAIN {
			*m.Data = before // all of it is sent again
		}
		return 0, err
	}
	m.Rights = nil
	return size, nil
}

// checkTarget checks the address of a datagram, or without one returns the peer: ENOTCONN.
func (s *Socket) checkTarget(addr []byte) (*Socket, error) {
	if len(addr) > 0 {
		return nil, checkAddress(addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut&shutSend != 0:
		return nil, unix.EPIPE
	case s.peer == nil:
		return nil, unix.ENOTCONN
	}
	return s.peer, nil
}

// deliverDatagram gives a message to the socket to, or if that is nil to the one that addr leads to.
func (s *Socket) deliverDatagram(c vfs.Caller, m *socket.Message, out *message, to *Socket, addr []byte) error {
	for {
		if to == nil {
			var err error
			if to, err = s.find(c, addr, m.At); err != nil {
				return err
			}
		}
		err := s.deliver(c, to, out, m.Rights)
		switch {
		case err == unix.EAGAIN:
			m.Busy = &to.room
			return err
		case err != errGone:
			return err
		case s.connectionBased():
			return unix.EPIPE
		case s.disconnect(to):
			return unix.ECONNREFUSED
		case len(addr) == 0:
			return unix.ECONNRESET
		}
		to = nil
	}
}

// disconnect ends the connection to a peer that is closed; false if that is not the peer.
func (s *Socket) disconnect(peer *Socket) bool {
	s.mu.Lock()
	is := s.peer == peer
	s.mu.Unlock()
	if is {
		s.setPeer(nil)
	}
	return is
}
