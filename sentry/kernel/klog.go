package kernel

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/klog"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Messages returns the kernel's log as programs inside see it.
func (k *Kernel) Messages() *klog.Log { return &k.messages }

// MayReadMessages tells whether the holder of c may read the log and change what is read of it; looking says that no more is asked for than what
// Linux lets everybody do where kernel.dmesg_restrict is 0. EPERM.
func (k *Kernel) MayReadMessages(c *cred.Credentials, looking bool) error {
	if looking && k.knobs.hideMessages.Load() == 0 || c.HasGlobal(unix.CAP_SYSLOG) {
		return nil
	}
	return unix.EPERM
}

// setHideMessages sets kernel.dmesg_restrict; EPERM without CAP_SYS_ADMIN, whoever the file belongs to.
func (k *Kernel) setHideMessages(c vfs.Caller, n int64) error {
	if !c.Creds().HasGlobal(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	n, err := within(0, 1)(n)
	if err == nil {
		k.knobs.hideMessages.Store(n)
	}
	return err
}

// TakeMessages returns at least one and at most n bytes of the log that nobody has taken, and waits for them. ERESTARTSYS.
func (t *Task) TakeMessages(n int) ([]byte, error) {
	entry, event := t.NewEntry(waiter.In)
	log := t.k.Messages()
	log.Register(entry)
	defer log.Unregister(entry)
	for {
		if b := log.Take(n); len(b) > 0 {
			return b, nil
		}
		if err := t.Block(event); err != nil {
			return nil, err
		}
	}
}

// OpenMessages opens /dev/kmsg: a read gives one record, a write adds one. EPERM for who may not read the log, unless it is to be written only.
func (k *Kernel) OpenMessages(c vfs.Caller, flags int) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_WRONLY {
		if err := k.MayReadMessages(c.Creds(), true); err != nil {
			return nil, err
		}
	}
	return &messageFile{Log: &k.messages, at: k.messages.Oldest()}, nil
}

// messageFile is an open /dev/kmsg. It takes part in polls by the log's queue.
type messageFile struct {
	*klog.Log

	// Guarded by mu.
	mu sync.Mutex
	at uint64 // the record that comes next
}

// Read implements vfs.FileOps. EPIPE when records were lost: the next read gives the oldest that there is. EINVAL for a record that does
// not fit.
func (f *messageFile) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, err := f.Record(f.at)
	if err == unix.EPIPE {
		f.at = f.Oldest()
	}
	if err == nil && uint64(len(line)) > dst.Len() {
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	f.at++
	return dst.CopyOut([]byte(line))
}

// Write implements vfs.FileOps.
func (f *messageFile) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	if src.Len() > klog.MaxText {
		return 0, unix.EINVAL
	}
	b := make([]byte, src.Len())
	n, err := src.CopyIn(b)
	if err == nil {
		f.AddFrom(string(b))
	}
	return n, err
}

// Seek implements vfs.SeekOps: to the oldest record, the first since the log was cleared, or the end.
func (f *messageFile) Seek(_ vfs.Caller, _, off int64, whence int) (int64, error) {
	if off != 0 {
		return 0, unix.ESPIPE
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case unix.SEEK_SET:
		f.at = f.Oldest()
	case unix.SEEK_DATA:
		f.at = f.Cleared()
	case unix.SEEK_END:
		f.at = f.End()
	default:
		return 0, unix.EINVAL
	}
	return 0, nil
}

// Readiness implements waiter.Waitable: a record that was lost is urgent.
func (f *messageFile) Readiness(wanted waiter.EventMask) waiter.EventMask {
	f.mu.Lock()
	_, err := f.Record(f.at)
	f.mu.Unlock()
	switch err {
	case nil:
		return wanted & (waiter.In | waiter.RdNorm)
	case unix.EPIPE:
		return wanted&(waiter.In|waiter.RdNorm|waiter.Pri) | waiter.Err
	}
	return 0
}

// Release implements vfs.FileOps.
func (*messageFile) Release() {}
