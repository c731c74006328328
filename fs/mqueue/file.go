package mqueue

import (
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// statusSize is the size that stat(2) tells, in bytes; a read gives as much or less.
const statusSize = 80

// openQueue is an open queue. Its readiness is the queue's.
type openQueue struct{ *Queue }

// Of returns the queue that a file is open for; EBADF for other files.
func Of(f *vfs.File) (*Queue, error) {
	if o, ok := f.Ops().(*openQueue); ok {
		return o.Queue, nil
	}
	return nil, unix.EBADF
}

// Read implements vfs.FileOps: a line about the queue (mq_overview(7)).
func (o *openQueue) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	o.mu.Lock()
	bytes, n := o.bytes, o.notify
	o.mu.Unlock()
	kind, sig, pid := 0, 0, int32(0)
	if n != nil {
		kind, sig, pid = n.Kind, n.Signal, n.PID(c)
	}
	line := fmt.Sprintf("QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", bytes, kind, sig, pid)
	if off >= int64(len(line)) {
		return 0, nil
	}
	return dst.CopyOut([]byte(line[off:]))
}

// Write implements vfs.FileOps.
func (*openQueue) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Readiness implements waiter.Waitable.
func (o *openQueue) Readiness(wanted waiter.EventMask) waiter.EventMask {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ready waiter.EventMask
	if o.messages.Len() > 0 {
		ready |= waiter.In | waiter.RdNorm
	}
	if int64(o.messages.Len()) < o.sizes.Messages {
		ready |= waiter.Out | waiter.WrNorm
	}
	return ready & wanted
}

// Flush implements vfs.FlushOps: who closes a queue is not notified any more.
func (o *openQueue) Flush(c vfs.Caller) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropNotificationLocked(identity(c))
	return nil
}

// Release implements vfs.FileOps.
func (o *openQueue) Release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens--
	o.freeUnusedLocked()
}
