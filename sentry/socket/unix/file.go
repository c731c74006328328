package unix

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

var _ socket.Socket = (*Socket)(nil)

// IsStream implements vfs.StreamOps.
func (*Socket) IsStream() {}

// Read implements vfs.FileOps: a receive whose files and credentials are thrown away.
func (s *Socket) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	m := socket.Message{Data: dst}
	n, err := s.Receive(c, &m)
	s.ns.discard(m.Rights)
	return n, err
}

// Write implements vfs.FileOps.
func (s *Socket) Write(c vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	return s.Send(c, &socket.Message{Data: src})
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(wanted waiter.EventMask) waiter.EventMask {
	s.mu.Lock()
	state, peer := s.state.Load(), s.peer
	var ready waiter.EventMask
	if s.err != 0 {
		ready |= waiter.Err
	}
	if s.shut == shutBoth {
		ready |= waiter.HUp
	}
	if s.shut&shutReceive != 0 {
		ready |= waiter.RdHUp | readEvents
	}
	if s.in.head != nil || len(s.pending) > 0 {
		ready |= readEvents
	}
	s.mu.Unlock()
	if s.connectionBased() && state == idle {
		ready |= waiter.HUp
	}
	if wanted&writeEvents != 0 && state != listening && writable(s.sent.Load(), int64(s.opts.SendBuffer())) && !peer.full(s) {
		ready |= writeEvents
	}
	return ready & (wanted | waiter.Err | waiter.HUp)
}

// full tells whether a datagram from another socket would have to wait.
func (s *Socket) full(from *Socket) bool {
	if s == nil || s.kind != unix.SOCK_DGRAM {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fullLocked(from)
}

// Register implements waiter.Waitable.
func (s *Socket) Register(e *waiter.Entry) { s.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Socket) Unregister(e *waiter.Entry) { s.queue.Unregister(e) }

// Ioctl implements vfs.IoctlOps: FIONREAD and SIOCOUTQ.
func (s *Socket) Ioctl(_ vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	var n int
	switch cmd {
	case unix.TIOCOUTQ:
		n = int(s.sent.Load())
	case unix.TIOCINQ:
		if s.state.Load() == listening {
			return 0, unix.EINVAL
		}
		n = s.waiting()
	default:
		return 0, unix.ENOTTY
	}
	_, err := mem.CopyOut(mm.Addr(arg), socket.Int(n))
	return 0, err
}

// waiting is FIONREAD: the bytes that wait, of datagrams those of the first.
func (s *Socket) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kind != unix.SOCK_DGRAM {
		return s.in.bytes
	}
	if s.in.head == nil {
		return 0
	}
	return len(s.in.head.data)
}
