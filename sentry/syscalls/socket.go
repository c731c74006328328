package syscalls

import (
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Send is sendmsg(2): a blocking stream sends all. Whatever happens, the files in m.Rights are
// taken care of.
func Send(t *kernel.Task, f *vfs.File, s socket.Socket, m *socket.Message) (int, error) {
	if f.NonBlocking() {
		m.Flags |= unix.MSG_DONTWAIT
	}
	wait := m.Flags&unix.MSG_DONTWAIT == 0
	done, n := 0, 0
	var err error
	for more := true; more; {
		err = onSocket(t, f, s, waiter.Out, wait, func() (*waiter.Queue, error) {
			var err error
			m.Busy = nil
			n, err = s.Send(t, m)
			return m.Busy, err
		})
		done += n
		more = err == nil && wait && n > 0 && m.Data.Len() > 0
	}
	DropRights(m)
	if done > 0 {
		return done, nil
	}
	if _, kind, _ := s.Type(); err == unix.EPIPE && kind == unix.SOCK_STREAM && m.Flags&unix.MSG_NOSIGNAL == 0 {
		t.SendSelf(unix.SIGPIPE)
	}
	return 0, err
}

// Receive is recvmsg(2). The files in m.Rights become the caller's.
func Receive(t *kernel.Task, f *vfs.File, s socket.Socket, m *socket.Message) (int, error) {
	if f.NonBlocking() {
		m.Flags |= unix.MSG_DONTWAIT
	}
	wait := m.Flags&unix.MSG_DONTWAIT == 0
	_, kind, _ := s.Type()
	all := kind == unix.SOCK_STREAM && m.Flags&(unix.MSG_WAITALL|unix.MSG_PEEK) == unix.MSG_WAITALL
	done, n := 0, 0
	var err error
	for more := true; more; {
		err = onSocket(t, f, s, waiter.In, wait, func() (*waiter.Queue, error) {
			var err error
			n, err = s.Receive(t, m)
			return nil, err
		})
		done += n
		more = err == nil && all && n > 0 && !m.Complete && m.Data.Len() > 0
	}
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// DropRights releases the files that came with a message and that nobody takes.
func DropRights(m *socket.Message) {
	for _, f := range m.Rights {
		f.DecRef()
	}
	m.Rights = nil
}

// readSocket is read(2) on a socket.
func readSocket(t *kernel.Task, f *vfs.File, s socket.Socket, dst *mm.Buffer) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	m := socket.Message{Data: dst}
	n, err := Receive(t, f, s, &m)
	DropRights(&m)
	return n, err
}

// Accept is accept4(2): the new file has the given status flags.
func Accept(t *kernel.Task, f *vfs.File, s socket.Socket, flags int) (*vfs.File, error) {
	var file *vfs.File
	wait := !f.NonBlocking()
	err := onSocket(t, f, s, waiter.In, wait, func() (*waiter.Queue, error) {
		var err error
		file, err = s.Accept(t, flags, wait)
		return nil, err
	})
	return file, err
}

// Connect is connect(2).
func Connect(t *kernel.Task, f *vfs.File, s socket.Socket, addr []byte) error {
	at := PlaceOf(t)
	return onSocket(t, f, s, waiter.Out, !f.NonBlocking(), func() (*waiter.Queue, error) { return s.Connect(t, addr, at) })
}

// PlaceOf returns where names of files begin for a task.
func PlaceOf(t *kernel.Task) socket.Place {
	return socket.Place{WalkArgs: t.WalkArgs(), Umask: t.FS().Umask()}
}

// onSocket tries op until it gives something else than EAGAIN, if the call is to wait. It waits on the queue that
// op names, or on the socket, for as long as the socket's timeout says; EAGAIN when that is over. A
// signal gives ERESTARTSYS, or EINTR where there is a timeout, which could not go on.
func onSocket(t *kernel.Task, f *vfs.File, s socket.Socket, events waiter.EventMask, wait bool, op func() (*waiter.Queue, error)) error {
	busy, err := op()
	if err != unix.EAGAIN || !wait {
		return err
	}
	timeout := s.Common().Timeout(events == waiter.Out)
	if timeout == 0 {
		return err
	}
	deadline := deadlineOf(t, timeout)
	for {
		entry, ch := t.NewEntry(events)
		on := queueOf(f, busy)
		on.Register(entry)
		next, err := op()
		if err == unix.EAGAIN && next == busy {
			err = waitUntil(t, ch, deadline)
		} else if err == unix.EAGAIN {
			busy, err = next, nil
		} else {
			on.Unregister(entry)
			return err
		}
		on.Unregister(entry)
		if err != nil {
			return err
		}
	}
}

// registrar is where one can wait: a file, or one queue of it.
type registrar interface {
	Register(*waiter.Entry)
	Unregister(*waiter.Entry)
}

func queueOf(f *vfs.File, q *waiter.Queue) registrar {
	if q != nil {
		return q
	}
	return f
}

func deadlineOf(t *kernel.Task, timeout time.Duration) int64 {
	if timeout < 0 {
		return ktime.Forever
	}
	at := t.Kernel().Clocks().Monotonic().Now() + int64(timeout)
	if at < 0 {
		return ktime.Forever
	}
	return at
}

func waitUntil(t *kernel.Task, ch <-chan struct{}, deadline int64) error {
	if deadline == ktime.Forever {
		return t.Block(ch)
	}
	switch err := t.BlockUntilTime(ch, t.Kernel().Clocks().Monotonic(), deadline); err {
	case unix.ETIMEDOUT:
		return unix.EAGAIN
	case kernel.ERESTARTSYS:
		return unix.EINTR
	default:
		return err
	}
}
