package unix

import (
	"cmp"
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Receive implements socket.Socket. 0 bytes of a stream are its end.
func (s *Socket) Receive(c vfs.Caller, m *socket.Message) (int, error) {
	switch {
	case m.Flags&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	case s.kind == unix.SOCK_STREAM && s.state.Load() != connected:
		return 0, unix.EINVAL
	case s.kind == unix.SOCK_SEQPACKET && s.state.Load() != connected:
		return 0, unix.ENOTCONN
	}
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.kind == unix.SOCK_STREAM {
		return s.receiveStream(m)
	}
	return s.receiveDatagram(m)
}

// first returns the message at which a receive begins, and how much of that is passed over
// (SO_PEEK_OFF); nil when there is none. mu is held.
func (s *Socket) firstLocked(peek bool) (*message, int) {
	skip := 0
	if peek && s.peekOff > 0 {
		skip = s.peekOff
	}
	return passOver(s.in.head, skip, s.kind == unix.SOCK_STREAM)
}

// passOver goes skip bytes on from m. Of a datagram that is as long something must be left.
func passOver(m *message, skip int, stream bool) (*message, int) {
	for m != nil && skip > 0 {
		left := len(m.data) - m.off
		if skip < left || !stream && left == 0 {
			break
		}
		skip -= left
		m = m.next
	}
	return m, skip
}

// receiveDatagram takes one message, or looks at it. readMu is held.
func (s *Socket) receiveDatagram(m *socket.Message) (int, error) {
	peek := m.Flags&unix.MSG_PEEK != 0
	s.mu.Lock()
	if err := s.takeErrorLocked(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	msg, skip := s.firstLocked(peek)
	if msg == nil {
		defer s.mu.Unlock()
		if s.shut&shutReceive != 0 && (s.connectionBased() || m.Flags&unix.MSG_DONTWAIT == 0) {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	s.mu.Unlock()
	s.describe(m, msg)
	if s.stamps.Load() {
		m.Time = cmp.Or(msg.time, time.Now().UnixNano())
	}
	s.takeRights(m, msg, peek)
	if !peek {
		s.popDatagram()
		defer msg.from.relieve(msg.cost)
	}
	data := msg.data[skip:]
	if uint64(len(data)) > m.Data.Len() {
		m.Got |= unix.MSG_TRUNC
	}
	n, err := m.Data.CopyOut(data)
	if err != nil {
		return 0, err
	}
	if peek {
		s.movePeek(n)
	} else {
		s.movePeek(-len(msg.data))
	}
	if m.Flags&unix.MSG_TRUNC != 0 {
		n = len(data)
	}
	return n, nil
}

// popDatagram removes the first message, and tells those who wait for room. readMu is held.
func (s *Socket) popDatagram() {
	s.mu.Lock()
	s.in.pop()
	roomed := s.in.count == maxDatagrams
	s.mu.Unlock()
	if roomed {
		s.room.Notify(waiter.All)
	}
}

// describe tells of a message's sender.
func (s *Socket) describe(m *socket.Message, msg *message) {
	m.Address = msg.from.address()
	pass := s.pass.Load()
	if pass&passSender != 0 {
		creds := msg.sender()
		m.Credentials, m.ShowIDs, m.ShowPIDFD = &creds, pass&passCreds != 0, pass&passPIDFD != 0
	}
}

// sender is who sent a message, nobody when that was not recorded.
func (m *message) sender() socket.Credentials {
	if m.creds == nil {
		return socket.NoCredentials()
	}
	return *m.creds
}

// takeRights moves the files of a message to m, or copies them. readMu is held.
func (s *Socket) takeRights(m *socket.Message, msg *message, peek bool) {
	switch {
	case !msg.carries:
	case peek:
		m.Rights = append(m.Rights, s.ns.flight.peek(msg)...)
	default:
		m.Rights = append(m.Rights, s.ns.flight.take(msg)...)
	}
}

// movePeek moves SO_PEEK_OFF on by what was looked at, or back by what was taken.
func (s *Socket) movePeek(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peekOff >= 0 {
		s.peekOff = max(s.peekOff+n, 0)
	}
}

// receiveStream takes bytes as far as they are there, up to a border: behind files, and
// where the sender changes when that is told. readMu is held.
func (s *Socket) receiveStream(m *socket.Message) (int, error) {
	peek := m.Flags&unix.MSG_PEEK != 0
	s.mu.Lock()
	msg, skip := s.firstLocked(peek)
	if msg == nil {
		defer s.mu.Unlock()
		return 0, s.nothingLocked()
	}
	s.mu.Unlock()
	done := 0
	for msg != nil && !m.Complete {
		if m.Credentials != nil && *m.Credentials != msg.sender() {
			m.Complete = true
			break
		}
		if m.Credentials == nil {
			s.describe(m, msg)
		}
		part := msg.data[msg.off+skip:]
		part = part[:min(uint64(len(part)), m.Data.Len())]
		n, err := m.Data.CopyOut(part)
		if err != nil {
			m.Complete = true
			if done == 0 {
				return 0, err
			}
			break
		}
		done += n
		next := s.consume(m, msg, n, peek)
		if m.Data.Len() == 0 {
			break
		}
		msg, skip = next, 0
	}
	return done, nil
}

// nothingLocked is what becomes of a receive from a stream in which nothing waits. mu is held.
func (s *Socket) nothingLocked() error {
	if err := s.takeErrorLocked(); err != nil {
		return err
	}
	if s.shut&shutReceive != 0 {
		return nil
	}
	return unix.EAGAIN
}

// consume takes n bytes of the first message of a stream, and its files, or passes over them to
// look further. It returns the message to go on with. readMu is held.
func (s *Socket) consume(m *socket.Message, msg *message, n int, peek bool) *message {
	before := len(m.Rights)
	s.takeRights(m, msg, peek)
	border := len(m.Rights) > before
	if peek {
		s.movePeek(n)
		m.Complete = border
		s.mu.Lock()
		defer s.mu.Unlock()
		return msg.next
	}
	s.movePeek(-n)
	s.mu.Lock()
	msg.off += n
	s.in.bytes -= n
	used := msg.off == len(msg.data)
	if used {
		s.in.pop()
	}
	next := s.in.head
	s.mu.Unlock()
	if used {
		s.ns.buffers.put(msg.data)
		msg.from.relieve(msg.cost)
		m.Complete = len(m.Rights) > 0
	}
	return next
}
