package host

import (
	"sync"
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// grace is how long a transfer on a helper goroutine is waited for before
	// it is left behind. The host said that it would not block.
	grace = 20 * time.Millisecond

	helperRead  = 64 << 10
	helperWrite = 16 << 10
)

// stream is an inherited descriptor of anything but a regular file.
type stream struct {
	s     *Streams
	fd    int
	kind  uint32
	tty   bool
	queue waiter.Queue

	mu       sync.Mutex
	refs     int  // open files
	noNowait bool // the host cannot transfer without waiting
	closed   bool
	reading  bool   // a helper goroutine reads
	got      []byte // what a helper read and nobody took yet
	gotErr   error
	gotEnd   bool
	writing  bool // a helper goroutine writes
	writeErr error
}

// Register implements waiter.Waitable.
func (st *stream) Register(e *waiter.Entry) { st.s.register(st, e) }

// Unregister implements waiter.Waitable.
func (st *stream) Unregister(e *waiter.Entry) { st.s.unregister(st, e) }

// Readiness implements waiter.Waitable. It is one poll(2) that does not wait.
func (st *stream) Readiness(wanted waiter.EventMask) waiter.EventMask {
	st.mu.Lock()
	pending := len(st.got) > 0 || st.gotErr != nil || st.gotEnd
	reading, writing := st.reading, st.writing
	closed := st.closed
	st.mu.Unlock()
	if closed {
		return waiter.NVal
	}
	m := st.poll(wanted)
	if reading {
		m &^= waiter.In | waiter.RdNorm
	}
	if writing {
		m &^= waiter.Out | waiter.WrNorm
	}
	if pending {
		m |= wanted & (waiter.In | waiter.RdNorm)
	}
	return m
}

// poll asks the host.
func (st *stream) poll(wanted waiter.EventMask) waiter.EventMask {
	fds := [1]unix.PollFd{{Fd: int32(st.fd), Events: int16(wanted)}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return 0
		}
		return waiter.EventMask(uint16(fds[0].Revents)) & (wanted | waiter.Err | waiter.HUp | waiter.NVal)
	}
}

// Attr implements vfs.AttrOps.
func (st *stream) Attr() (vfs.Attr, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return vfs.Attr{}, unix.ENXIO
	}
	return attrOf(st.fd)
}

// attrOf returns the attributes of an inherited descriptor.
func attrOf(fd int) (vfs.Attr, error) {
	var s unix.Statx_t
	if err := statAt(fd, "", &s); err != nil {
		return vfs.Attr{}, err
	}
	a := attrFrom(&s, 0)
	a.Ino = s.Ino
	return a, nil
}

// share adds an open file.
func (st *stream) share() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return false
	}
	st.refs++
	return true
}

// Release implements vfs.FileOps.
func (st *stream) Release() {
	st.mu.Lock()
	st.refs--
	last := st.refs == 0
	st.mu.Unlock()
	if last {
		st.close()
	}
}

// close gives the descriptor up, or leaves that to a helper that still uses it.
func (st *stream) close() {
	st.s.mu.Lock()
	st.s.unwatch(st)
	st.s.mu.Unlock()
	st.mu.Lock()
	st.closed = true
	last := !st.reading && !st.writing
	st.mu.Unlock()
	if last {
		closeFD(st.fd)
	}
}

// finish ends a helper's work. Caller holds st.mu.
func (st *stream) finish(running *bool) {
	*running = false
	if st.closed && !st.reading && !st.writing {
		closeFD(st.fd)
	}
}

// Read implements vfs.FileOps.
func (st *stream) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	st.mu.Lock()
	if n, err, ok := st.take(dst); ok || st.reading {
		st.mu.Unlock()
		if !ok {
			err = unix.EAGAIN
		}
		return n, err
	}
	helper := st.noNowait
	st.mu.Unlock()
	if !helper {
		n, err := st.now(dst, true)
		if err != unix.EOPNOTSUPP {
			return n, err
		}
		st.mu.Lock()
		st.noNowait = true
		st.mu.Unlock()
	}
	return st.readBehind(dst)
}

// take gives out what a helper read. ok is false when there is nothing. Caller holds st.mu.
func (st *stream) take(dst *mm.Buffer) (n int, err error, ok bool) {
	switch {
	case len(st.got) > 0:
		n, err = dst.CopyOut(st.got[:min(uint64(len(st.got)), dst.Len())])
		if st.got = st.got[n:]; len(st.got) == 0 {
			st.got = nil
		}
		if n > 0 {
			err = nil
		}
		return n, err, true
	case st.gotErr != nil:
		err, st.gotErr = st.gotErr, nil
		return 0, err, true
	case st.gotEnd:
		st.gotEnd = false
		return 0, nil, true
	}
	return 0, nil, false
}

// now transfers what can be without waiting; EAGAIN or EOPNOTSUPP when the host cannot.
func (st *stream) now(b *mm.Buffer, read bool) (int, error) {
	want := int(min(b.Len(), transferMax))
	return b.WithBytes(want, read, func(segs [][]byte) (int, error) {
		for {
			var n int
			var err error
			if read {
				n, err = unix.Preadv2(st.fd, segs, -1, unix.RWF_NOWAIT)
			} else {
				n, err = unix.Pwritev2(st.fd, segs, -1, unix.RWF_NOWAIT)
			}
			if err != unix.EINTR {
				return max(n, 0), err
			}
		}
	})
}

// readBehind reads on a helper goroutine once the host says that there is something.
func (st *stream) readBehind(dst *mm.Buffer) (int, error) {
	if st.poll(waiter.In) == 0 {
		return 0, unix.EAGAIN
	}
	st.mu.Lock()
	if st.reading || st.closed {
		st.mu.Unlock()
		return 0, unix.EAGAIN
	}
	st.reading = true
	st.mu.Unlock()
	done := make(chan struct{})
	go st.read(make([]byte, min(dst.Len(), helperRead)), done)
	if !within(done, grace) {
		return 0, unix.EAGAIN
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	n, err, ok := st.take(dst)
	if !ok {
		return 0, unix.EAGAIN // another reader took it
	}
	return n, err
}

func (st *stream) read(buf []byte, done chan<- struct{}) {
	n, err := unix.Read(st.fd, buf)
	for err == unix.EINTR {
		n, err = unix.Read(st.fd, buf)
	}
	st.mu.Lock()
	st.got, st.gotErr, st.gotEnd = nil, err, err == nil && n == 0
	if err == nil {
		st.got = buf[:n]
	}
	st.finish(&st.reading)
	st.mu.Unlock()
	close(done)
	st.queue.Notify(waiter.In | waiter.RdNorm)
}

// within tells whether done is closed before d has passed.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// Write implements vfs.FileOps.
func (st *stream) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	st.mu.Lock()
	helper := st.noNowait
	st.mu.Unlock()
	if !helper {
		n, err := st.now(src, false)
		if err != unix.EOPNOTSUPP {
			return n, err
		}
		st.mu.Lock()
		st.noNowait = true
		st.mu.Unlock()
	}
	return st.writeBehind(src)
}

// writeBehind writes on a helper goroutine. Bytes that it has not written by
// the end of the grace count as written: the stream is then not ready until they are.
func (st *stream) writeBehind(src *mm.Buffer) (int, error) {
	ready := st.poll(waiter.Out)
	st.mu.Lock()
	err := st.writeErr
	st.writeErr = nil
	if err == nil && (ready == 0 || st.writing || st.closed) {
		err = unix.EAGAIN
	}
	if err != nil {
		st.mu.Unlock()
		return 0, err
	}
	st.writing = true
	st.mu.Unlock()
	limit := helperWrite
	if st.kind == unix.S_IFIFO {
		limit = 4096 // what a FIFO that is ready takes without waiting
	}
	buf := make([]byte, min(src.Len(), uint64(limit)))
	n, err := src.CopyIn(buf)
	if n == 0 {
		st.mu.Lock()
		st.finish(&st.writing)
		st.mu.Unlock()
		return 0, err
	}
	st.s.writers(1)
	done := make(chan struct{})
	go st.write(buf[:n], done)
	if within(done, grace) {
		st.mu.Lock()
		err, st.writeErr = st.writeErr, nil
		st.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (st *stream) write(buf []byte, done chan<- struct{}) {
	var err error
	for len(buf) > 0 && err == nil {
		var n int
		n, err = unix.Write(st.fd, buf)
		buf = buf[max(n, 0):]
		switch err {
		case unix.EAGAIN: // its owner made it non-blocking
			fds := [1]unix.PollFd{{Fd: int32(st.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds[:], -1)
			err = nil
		case unix.EINTR:
			err = nil
		}
	}
	st.mu.Lock()
	st.writeErr = err
	st.finish(&st.writing)
	st.mu.Unlock()
	close(done)
	st.s.writers(-1)
	st.queue.Notify(waiter.Out | waiter.WrNorm)
}
