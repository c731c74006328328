package host

import (
	"os"
	"sync"
	"syscall"
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Streams makes files of inherited descriptors, and is the one that waits for all of them.
// It costs one epoll descriptor; no goroutine before the first wait and no thread ever.
type Streams struct {
	sys *vfs.System
	ep  *os.File
	raw syscall.RawConn

	// mu comes before the streams' waiter queues.
	mu      sync.Mutex
	epFD    int
	running bool
	watched map[int32]*stream
	busy    int           // transfers on helper goroutines that write
	idle    chan struct{} // closed when busy becomes 0, nil when nobody asked
}

// NewStreams returns a Streams whose files belong to sys. Its epoll descriptor is
// part of Go's poller from then on.
func NewStreams(sys *vfs.System) (*Streams, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeFD(fd)
		return nil, err
	}
	ep := os.NewFile(uintptr(fd), "streams")
	raw, err := ep.SyscallConn()
	if err != nil {
		_ = ep.Close()
		return nil, err
	}
	return &Streams{sys: sys, ep: ep, raw: raw, epFD: fd, watched: make(map[int32]*stream)}, nil
}

// Close ends the waiting. Files stay usable but never wake anybody.
func (s *Streams) Close() { _ = s.ep.Close() }

// Drain waits until what guests wrote has reached the host, at most for d.
func (s *Streams) Drain(d time.Duration) {
	s.mu.Lock()
	if s.busy == 0 {
		s.mu.Unlock()
		return
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	}
}

// writers counts helper goroutines that have bytes in hand.
func (s *Streams) writers(delta int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy += delta
	if s.busy == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// register adds e to st's queue and sees to it that events arrive.
func (s *Streams) register(st *stream, e *waiter.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.queue.Register(e)
	if s.watched[int32(st.fd)] != nil {
		return
	}
	// Edges suffice, since who waits looks for himself after he registered; levels would
	// make the loop spin while a guest does not take what is there.
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(st.fd),
	}
	if unix.EpollCtl(s.epFD, unix.EPOLL_CTL_ADD, st.fd, &ev) != nil {
		return // EPERM: a file that is always ready
	}
	s.watched[int32(st.fd)] = st
	if !s.running {
		s.running = true
		go s.wait()
	}
}

// unregister removes e, and the descriptor from the epoll set with the last.
func (s *Streams) unregister(st *stream, e *waiter.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.queue.Unregister(e)
	if st.queue.Empty() {
		s.unwatch(st)
	}
}

// unwatch takes st out of the epoll set. Caller holds s.mu.
func (s *Streams) unwatch(st *stream) {
	if s.watched[int32(st.fd)] != st {
		return
	}
	delete(s.watched, int32(st.fd))
	_ = unix.EpollCtl(s.epFD, unix.EPOLL_CTL_DEL, st.fd, nil)
}

// wait passes events on until Close. It sleeps in Go's poller.
func (s *Streams) wait() {
	var events [8]unix.EpollEvent
	_ = s.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n == 0 {
				return false
			}
			for _, ev := range events[:n] {
				s.mu.Lock()
				st := s.watched[ev.Fd]
				s.mu.Unlock()
				if st != nil {
					st.queue.Notify(fromPoll(ev.Events))
				}
			}
		}
	})
}

// fromPoll completes what the host says of readiness by the synonyms that guests may wait for.
func fromPoll(events uint32) waiter.EventMask {
	m := waiter.EventMask(events) & waiter.All
	if m&waiter.In != 0 {
		m |= waiter.RdNorm
	}
	if m&waiter.Out != 0 {
		m |= waiter.WrNorm
	}
	return m
}
