package unix

import (
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// message is what waits in a socket's queue: a datagram, or a run of a stream's bytes. Data, cost, sender
// and credentials do not change once it is queued.
type message struct {
	data  []byte
	cost  int64
	from  *Socket
	creds *socket.Credentials // nil: not told
	user  flightUser          // who is charged for rights
	time  int64               // ns of the real-time clock, 0 when not told
	// carries tells whether there were rights.
	carries bool

	off    int         // bytes taken already; guarded by the receiver's readMu
	rights []*vfs.File // guarded by flight.mu
	next   *message    // guarded by the receiver's mu
}

// What keeping a message costs besides its bytes, as Linux counts it: a header, a trailer, sizes of
// power of two for what lies in one piece, pages for the rest. Programs see it in how much
// fits into a buffer and in SIOCOUTQ.
const (
	headerCost  = 256
	trailerCost = 320
	pageSize    = 4096
	// streamPiece and packetPiece are what lies in one piece at most.
	streamPiece = pageSize - trailerCost
	packetPiece = 4*pageSize - trailerCost
	// maxRun is the longest run of a stream's bytes in one message.
	maxRun = streamPiece + 8*pageSize
)

// costOf is what a message of n bytes counts in its sender's buffer.
func costOf(n, piece int) int64 {
	pages := 0
	if n > piece {
		pages = (n - piece + pageSize - 1) &^ (pageSize - 1)
	}
	first := (max(n-pages, 0)+63)&^63 + trailerCost
	size := 512
	for size < first {
		size *= 2
	}
	return int64(size + headerCost + pages)
}

// inbox is the queue of one socket, guarded by its mu.
type inbox struct {
	head, tail *message
	count      int
	bytes      int // that are left to take
}

func (q *inbox) push(m *message) {
	if q.tail != nil {
		q.tail.next = m
	} else {
		q.head = m
	}
	q.tail = m
	q.count++
	q.bytes += len(m.data)
}

// pop removes the first message, whatever is left of it.
func (q *inbox) pop() {
	m := q.head
	if q.head = m.next; q.head == nil {
		q.tail = nil
	}
	q.count--
	q.bytes -= len(m.data) - m.off
}

// admit counts a message of the given cost in the sender's buffer before it is made: EAGAIN when that
// is full, EPIPE after a shutdown, ENOBUFS when all sockets together hold too much.
func (s *Socket) admit(cost int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.takeErrorLocked(); err != nil {
		return err
	}
	switch {
	case s.shut&shutSend != 0:
		return unix.EPIPE
	case s.sent.Load() >= int64(s.opts.SendBuffer()):
		return unix.EAGAIN
	}
	if !s.ns.buffered.Take(cost) {
		return unix.ENOBUFS
	}
	s.sent.Add(cost)
	return nil
}

// relieve takes a message out of the sender's buffer, and tells of the room.
func (s *Socket) relieve(cost int64) {
	s.ns.buffered.Take(-cost)
	after := s.sent.Add(-cost)
	size := int64(s.opts.SendBuffer())
	if writable(after, size) && !writable(after+cost, size) {
		s.queue.Notify(writeEvents)
	}
}

// writable tells whether poll(2) says so of a buffer: not before a good part is free.
func writable(sent, size int64) bool { return sent*4 <= size }

const (
	readEvents  = waiter.In | waiter.RdNorm
	writeEvents = waiter.Out | waiter.WrNorm | waiter.WrBand
)

// enqueue gives m to the socket to. EAGAIN when its queue is full, EPERM when it is connected to
// another or takes no descriptors, errGone when it is closed, EPIPE when it takes no more.
func (to *Socket) enqueue(c vfs.Caller, from *Socket, m *message) error {
	to.mu.Lock()
	switch {
	case to.kind == unix.SOCK_DGRAM && to.peer != nil && to.peer != from:
		to.mu.Unlock()
		return unix.EPERM
	case to.dead:
		to.mu.Unlock()
		return errGone
	case to.shut&shutReceive != 0:
		to.mu.Unlock()
		return unix.EPIPE
	case m.carries && to.pass.Load()&passRights == 0:
		to.mu.Unlock()
		return unix.EPERM
	case to.fullLocked(from):
		to.mu.Unlock()
		return unix.EAGAIN
	}
	m.record(c, from.pass.Load()|to.pass.Load(), to.accepted.Load())
	if to.stamps.Load() {
		m.time = time.Now().UnixNano()
	}
	to.in.push(m)
	to.mu.Unlock()
	to.queue.Notify(readEvents)
	to.async.Notify(waiter.In)
	return nil
}

// record notes who sends m, where one of the sockets shows that, or the one that gets it has yet to be accepted.
func (m *message) record(c vfs.Caller, pass uint32, accepted bool) {
	if m.creds == nil && (pass&passSender != 0 || !accepted) {
		creds := socket.Real(c)
		m.creds = &creds
	}
	if pass&passPIDFD != 0 {
		m.creds.Process.Watch()
	}
}

// fullLocked tells whether too many datagrams wait for another one from a socket that is not the peer.
func (to *Socket) fullLocked(from *Socket) bool {
	return to.kind == unix.SOCK_DGRAM && to != from && to.peer != from && to.in.count > maxDatagrams
}

// maxDatagrams is net.unix.max_dgram_qlen: one more is taken.
const maxDatagrams = 10

// drop throws messages away that are in no queue any more.
func (n *Namespace) drop(m *message) {
	for ; m != nil; m = m.next {
		m.from.relieve(m.cost)
		if m.carries {
			n.discard(n.flight.take(m))
		}
	}
}
