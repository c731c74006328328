package syscalls

import (
	"gosentry/fs/mqueue"
	"gosentry/fs/vfs"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"

	"golang.org/x/sys/unix"
)

// QueueSend is mq_timedsend(2) until deadline, in ns of the real-time clock; EBADF when f is not open for it.
func QueueSend(t *kernel.Task, f *vfs.File, m *mqueue.Message, deadline int64) error {
	q, err := mqueue.Of(f)
	if err != nil || !f.Writable() {
		return unix.EBADF
	}
	w, err := q.Send(t, m, f.NonBlocking())
	if w == nil || err != nil {
		return err
	}
	_, err = waitQueue(t, w, deadline)
	return err
}

// QueueReceive is mq_timedreceive(2) with room for size bytes.
func QueueReceive(t *kernel.Task, f *vfs.File, size uint64, deadline int64) (*mqueue.Message, error) {
	q, err := mqueue.Of(f)
	switch {
	case err != nil || !f.Readable():
		return nil, unix.EBADF
	case size < uint64(q.Sizes().Size):
		return nil, unix.EMSGSIZE
	}
	m, w, err := q.Receive(f.NonBlocking())
	if w == nil || err != nil {
		return m, err
	}
	return waitQueue(t, w, deadline)
}

func waitQueue(t *kernel.Task, w *mqueue.Waiter, deadline int64) (*mqueue.Message, error) {
	var err error
	if deadline == ktime.Forever {
		err = t.Block(w.Done())
	} else {
		err = t.BlockUntilTime(w.Done(), t.Kernel().Clocks().Realtime(), deadline)
	}
	if m, served := w.Cancel(); served {
		return m, nil
	}
	return nil, err
}
