package syscalls

import (
	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Splice is splice(2): it moves up to n bytes from in to out, one of which is a pipe at least. inOff and
// outOff are positions to use and advance, nil for the files' own. It waits for the first bytes only, and
// with now not even for those where a pipe is not ready.
func Splice(t *kernel.Task, in, out *vfs.File, inOff, outOff *int64, n int, now bool) (int, error) {
	otherBusy := false
	busy := func(n int, err error) (int, error) {
		otherBusy = err == unix.EAGAIN
		return n, err
	}
	op := func() (int, error) {
		switch {
		case pipe.Is(in) && pipe.Is(out):
			return pipe.Fill(out, n, func(b []byte) (int, error) { return in.Read(t, mm.BytesBuffer(b)) })
		case pipe.Is(out):
			return pipe.Fill(out, n, func(b []byte) (int, error) { return busy(readAt(t, in, b, inOff)) })
		}
		return pipe.Drain(in, n, func(b []byte) (int, error) { return busy(writeAt(t, out, b, outOff)) })
	}
	done, err := untilBoth(t, in, out, op, func() bool {
		return now || otherBusy && (in.NonBlocking() || out.NonBlocking())
	})
	if s, ok := out.Ops().(socket.Socket); ok {
		if _, kind, _ := s.Type(); kind != unix.SOCK_STREAM {
			return done, err
		}
	}
	signalFailure(t, err)
	return done, err
}

// readAt and writeAt are one attempt at a file that is no pipe.
func readAt(t *kernel.Task, f *vfs.File, b []byte, off *int64) (int, error) {
	if off == nil {
		return f.Read(t, mm.BytesBuffer(b))
	}
	n, err := f.PRead(t, mm.BytesBuffer(b), *off)
	*off += int64(max(n, 0))
	return n, err
}

func writeAt(t *kernel.Task, f *vfs.File, b []byte, off *int64) (int, error) {
	if off == nil {
		return f.Write(t, mm.BytesBuffer(b))
	}
	n, err := f.PWrite(t, mm.BytesBuffer(b), *off)
	*off += int64(max(n, 0))
	return n, err
}

// Tee is tee(2).
func Tee(t *kernel.Task, in, out *vfs.File, n int, now bool) (int, error) {
	done, err := untilBoth(t, in, out, func() (int, error) { return pipe.Tee(in, out, n) }, func() bool { return now })
	signalFailure(t, err)
	return done, err
}

// FillPipe is vmsplice(2) to a pipe: it copies from src as much as there is room for.
func FillPipe(t *kernel.Task, out *vfs.File, src *mm.Buffer, now bool) (int, error) {
	done := 0
	n, err := untilBoth(t, out, out, func() (int, error) {
		for src.Len() > 0 {
			n, err := pipe.Fill(out, int(min(src.Len(), MaxTransfer)), src.CopyIn)
			done += n
			if err != nil {
				return n, err
			}
		}
		return 0, nil
	}, func() bool { return now || done > 0 })
	if done > 0 {
		return done, nil
	}
	signalFailure(t, err)
	return n, err
}

// untilBoth tries op whenever one of two files may have become ready, until it gives something else than
// EAGAIN, or then over says that the call does not wait. ERESTARTSYS when a signal comes first.
func untilBoth(t *kernel.Task, in, out *vfs.File, op func() (int, error), over func() bool) (int, error) {
	n, err := op()
	if err != unix.EAGAIN || over() {
		return n, err
	}
	wake, ch := t.NewWake()
	fromIn, fromOut := waiter.Entry{Mask: waiter.In, Notify: wake}, waiter.Entry{Mask: waiter.Out, Notify: wake}
	in.Register(&fromIn)
	defer in.Unregister(&fromIn)
	out.Register(&fromOut)
	defer out.Unregister(&fromOut)
	for {
		if n, err = op(); err != unix.EAGAIN || over() {
			return n, err
		}
		if err := t.Block(ch); err != nil {
			return 0, err
		}
	}
}
