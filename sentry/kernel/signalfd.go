package kernel

import (
	"bytes"
	"fmt"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// SignalFile is the file of signalfd(2): a read takes pending signals of the
// reader. Whether it is ready depends on who asks, which those who wait do not
// say; so it follows the task that used it last.
//
// Lock order: mu, then sigMu and the queue of the task's process; that queue is
// notified with sigMu held, and so only passes the news on to the file's own.
type SignalFile struct {
	queue  waiter.Queue
	encode SignalEncoder
	entry  waiter.Entry // in the signal queue of user's process

	// Guarded by mu.
	mu   sync.Mutex
	set  signal.Set
	user *Task
}

// SignalEncoder appends what a read of a signalfd(2) gives for a signal. The
// length is always the same.
type SignalEncoder func(b []byte, info *signal.Info) []byte

// NewSignalFile makes a file that gives the signals of set. flags may have
// O_NONBLOCK.
func (t *Task) NewSignalFile(set signal.Set, flags int, encode SignalEncoder) *vfs.File {
	f := &SignalFile{encode: encode, set: set.Without(signal.Unblockable)}
	f.entry = waiter.Entry{Mask: waiter.In, Notify: func(waiter.EventMask) {
		f.queue.Notify(waiter.In | waiter.RdNorm)
	}}
	f.UsedBy(t)
	return t.k.VFS().NewAnonFile(f, "[signalfd]", flags|unix.O_RDWR)
}

// SetSignals replaces the signals that the file gives.
func (f *SignalFile) SetSignals(set signal.Set) {
	f.mu.Lock()
	f.set = set.Without(signal.Unblockable)
	f.mu.Unlock()
	f.queue.Notify(waiter.In | waiter.RdNorm)
}

// TaskFile is a file whose readiness depends on the task that asks.
type TaskFile interface {
	// UsedBy tells the file which task is about to wait for it.
	UsedBy(t *Task)
}

// UsedBy implements TaskFile.
func (f *SignalFile) UsedBy(t *Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.user == nil || f.user.tg != t.tg {
		f.forgetLocked()
		t.tg.signalQueue.Register(&f.entry)
	}
	f.user = t
}

func (f *SignalFile) forgetLocked() {
	if f.user != nil {
		f.user.tg.signalQueue.Unregister(&f.entry)
		f.user = nil
	}
}

// IsStream implements vfs.StreamOps.
func (*SignalFile) IsStream() {}

// Seek implements vfs.SeekOps: there is nowhere to go.
func (*SignalFile) Seek(vfs.Caller, int64, int64, int) (int64, error) { return 0, nil }

// Release implements vfs.FileOps.
func (f *SignalFile) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetLocked()
}

// Read gives as many pending signals of the caller as dst has room for; EAGAIN
// when there is none.
func (f *SignalFile) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	t := taskOf(c)
	if t == nil {
		return 0, unix.EINVAL
	}
	f.UsedBy(t)
	f.mu.Lock()
	set := f.set
	f.mu.Unlock()
	size := uint64(len(f.encode(nil, &signal.Info{})))
	if dst.Len() < size {
		return 0, unix.EINVAL
	}
	done := 0
	for dst.Len() >= size {
		info, ok := t.takeSignal(set, 0)
		if !ok {
			break
		}
		n, err := dst.CopyOut(f.encode(nil, &info))
		done += n
		if err != nil {
			return done, err
		}
	}
	if done == 0 {
		return 0, unix.EAGAIN
	}
	return done, nil
}

// Write implements vfs.FileOps.
func (*SignalFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Readiness implements waiter.Waitable.
func (f *SignalFile) Readiness(wanted waiter.EventMask) waiter.EventMask {
	f.mu.Lock()
	t, set := f.user, f.set
	f.mu.Unlock()
	if t == nil {
		return 0
	}
	own, group := t.PendingSignals()
	if own.Union(group).Intersect(set).Empty() {
		return 0
	}
	return wanted & (waiter.In | waiter.RdNorm)
}

// Register implements waiter.Waitable.
func (f *SignalFile) Register(e *waiter.Entry) { f.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *SignalFile) Unregister(e *waiter.Entry) { f.queue.Unregister(e) }

// WriteFDInfo implements proc.FDInfo.
func (f *SignalFile) WriteFDInfo(b *bytes.Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(b, "sigmask:\t%016x\n", uint64(f.set))
}
