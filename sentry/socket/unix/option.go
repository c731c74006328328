package unix

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
)

// Option implements socket.Socket.
func (s *Socket) Option(c vfs.Caller, level, name int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, unix.EOPNOTSUPP
	}
	switch name {
	case unix.SO_TYPE:
		return socket.Int(s.kind), nil
	case unix.SO_DOMAIN:
		return socket.Int(unix.AF_UNIX), nil
	case unix.SO_PROTOCOL:
		return socket.Int(0), nil
	case unix.SO_ACCEPTCONN:
		return flag(s.state.Load() == listening), nil
	case unix.SO_PASSCRED, unix.SO_PASSPIDFD, unix.SO_PASSRIGHTS:
		return flag(s.pass.Load()&passBit(name) != 0), nil
	case unix.SO_ERROR:
		s.mu.Lock()
		defer s.mu.Unlock()
		err := s.err
		s.err = 0
		return socket.Int(int(err)), nil
	case unix.SO_PEEK_OFF:
		s.mu.Lock()
		defer s.mu.Unlock()
		return socket.Int(s.peekOff), nil
	case unix.SO_PEERCRED:
		return s.Peer().Append(nil, c), nil
	case unix.SO_PEERNAME:
		return s.Name(true)
	}
	return s.opts.Get(name)
}

// Peer returns who connected, listened or made the pair.
func (s *Socket) Peer() socket.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others == nil {
		const nobody = 1<<32 - 1
		return socket.Credentials{UID: nobody, GID: nobody}
	}
	return *s.others
}

// passBit is the bit of Socket.pass of an option.
func passBit(name int) uint32 {
	switch name {
	case unix.SO_PASSCRED:
		return passCreds
	case unix.SO_PASSPIDFD:
		return passPIDFD
	}
	return passRights
}

func flag(on bool) []byte {
	if on {
		return socket.Int(1)
	}
	return socket.Int(0)
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int, value []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.EOPNOTSUPP
	}
	v, err := socket.IntOf(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.SO_PASSCRED, unix.SO_PASSPIDFD, unix.SO_PASSRIGHTS:
		if v != 0 {
			s.pass.Or(passBit(name))
		} else {
			s.pass.And(^passBit(name))
		}
		return nil
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS:
		defer func() { s.stamps.Store(s.opts.On(unix.SO_TIMESTAMP) || s.opts.On(unix.SO_TIMESTAMPNS)) }()
	case unix.SO_REUSEPORT:
		if v != 0 {
			return unix.EOPNOTSUPP
		}
	case unix.SO_PEEK_OFF:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.peekOff = max(int(v), -1)
		return nil
	case unix.SO_SNDBUF, unix.SO_SNDBUFFORCE:
		defer s.queue.Notify(writeEvents)
	}
	return s.opts.Set(c, name, value)
}
