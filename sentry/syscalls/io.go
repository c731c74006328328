package syscalls

import (
	"errors"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// MaxTransfer is the most that one read or write moves, in bytes.
const MaxTransfer = 0x7ffff000

// Read is read(2) and readv(2).
func Read(t *kernel.Task, f *vfs.File, dst *mm.Buffer) (int, error) {
	if s, ok := f.Ops().(socket.Socket); ok {
		return readSocket(t, f, s, dst)
	}
	if f.FileType() == unix.S_IFCHR {
		if err := readTerminal(t, f); err != nil {
			return 0, err
		}
	}
	n, err := f.Read(t, dst)
	if !wouldBlock(f, err) {
		return n, err
	}
	return untilReady(t, f, waiter.In, func() (int, error) { return f.Read(t, dst) })
}

// readTerminal stops a task in the background that reads its terminal.
func readTerminal(t *kernel.Task, f *vfs.File) error {
	if tty, master := t.Kernel().TTYOf(f); tty != nil && !master {
		return t.CheckTTYRead(tty)
	}
	return nil
}

// writeTerminal stops a task in the background that writes to its terminal, where that is set (TOSTOP).
func writeTerminal(t *kernel.Task, f *vfs.File) error {
	s, ok := f.Ops().(interface{ StopsWriters() bool })
	if !ok || !s.StopsWriters() {
		return nil
	}
	tty, _ := t.Kernel().TTYOf(f)
	return t.CheckTTYChange(tty)
}

// PRead is pread(2) and preadv(2).
func PRead(t *kernel.Task, f *vfs.File, dst *mm.Buffer, off int64) (int, error) {
	n, err := f.PRead(t, dst, off)
	if !wouldBlock(f, err) {
		return n, err
	}
	return untilReady(t, f, waiter.In, func() (int, error) { return f.PRead(t, dst, off) })
}

// Write is write(2) and writev(2): where a file takes part of the bytes, it waits
// until all are written or a signal comes.
func Write(t *kernel.Task, f *vfs.File, src *mm.Buffer) (int, error) {
	if s, ok := f.Ops().(socket.Socket); ok {
		return Send(t, f, s, &socket.Message{Data: src})
	}
	if f.FileType() == unix.S_IFCHR {
		if err := writeTerminal(t, f); err != nil {
			return 0, err
		}
	}
	return writeAll(t, f, src, func(int) (int, error) { return f.Write(t, src) })
}

// PWrite is pwrite(2) and pwritev(2).
func PWrite(t *kernel.Task, f *vfs.File, src *mm.Buffer, off int64) (int, error) {
	return writeAll(t, f, src, func(done int) (int, error) { return f.PWrite(t, src, off+int64(done)) })
}

// WriteAs is Write at off, -1 meaning the position, with O_APPEND or without it
// whatever the file has. With noWait it does not wait (pwritev2(2)).
func WriteAs(t *kernel.Task, f *vfs.File, src *mm.Buffer, off int64, appending, noWait bool) (int, error) {
	write := func(done int) (int, error) {
		if off == -1 {
			return f.WriteAs(t, src, appending)
		}
		return f.PWriteAs(t, src, off+int64(done), appending)
	}
	if !noWait {
		return writeAll(t, f, src, write)
	}
	n, err := write(0)
	signalFailure(t, err)
	return n, err
}

func writeAll(t *kernel.Task, f *vfs.File, src *mm.Buffer, write func(done int) (int, error)) (int, error) {
	done, err := write(0)
	if err == nil && src.Len() == 0 {
		return done, nil
	}
	for wouldBlock(f, err) || (err == nil && done > 0 && src.Len() > 0 && f.Pollable() && !f.NonBlocking()) {
		var n int
		n, err = untilReady(t, f, waiter.Out, func() (int, error) { return write(done) })
		done += n
		if n == 0 {
			break
		}
	}
	signalFailure(t, err)
	if done > 0 {
		return done, nil
	}
	return done, err
}

// signalFailure sends the signal that goes with a failed write.
func signalFailure(t *kernel.Task, err error) {
	switch {
	case err == nil:
	case errors.Is(err, vfs.ErrFileTooBig):
		t.SendSelf(unix.SIGXFSZ)
	case err == unix.EPIPE:
		t.SendSelf(unix.SIGPIPE)
	}
}

// wouldBlock tells whether a call that ended with err is to wait.
func wouldBlock(f *vfs.File, err error) bool {
	return err == unix.EAGAIN && !f.NonBlocking() && f.Pollable()
}

// untilReady tries op whenever the file may have become ready, until it gives
// something else than EAGAIN. ERESTARTSYS when a signal comes first.
func untilReady(t *kernel.Task, f *vfs.File, events waiter.EventMask, op func() (int, error)) (int, error) {
	entry, ch := t.NewEntry(events)
	f.Register(entry)
	defer f.Unregister(entry)
	for {
		n, err := op()
		if err != unix.EAGAIN {
			return n, err
		}
		if err := t.Block(ch); err != nil {
			return 0, err
		}
	}
}

// WaitOpened waits until a FIFO that was opened has its other end.
func WaitOpened(t *kernel.Task, f *vfs.File) error {
	if f.Opened() {
		return nil
	}
	_, err := untilReady(t, f, waiter.All, func() (int, error) {
		if !f.Opened() {
			return 0, unix.EAGAIN
		}
		return 0, nil
	})
	return err
}
