package proc

import (
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// mountTable is a file of mounts that tells who waits for it, by POLLPRI and POLLERR, that they have changed (proc(5)).
type mountTable struct {
	*file
	of *taskDir
}

func newMountTable(step stepper) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode { return &mountTable{d.file(0o444, step, nil), d} }
}

// Open implements vfs.Inode: EINVAL for a task that is in no namespace any more.
func (m *mountTable) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	ns := m.of.task.Places().Mounts
	if ns == nil {
		return nil, unix.EINVAL
	}
	ops, err := m.file.Open(c, flags)
	if err != nil {
		return nil, err
	}
	t := &openMountTable{reader: ops.(*reader), changes: ns.Changes()}
	t.seen.Store(t.changes.Count())
	return t, nil
}

type openMountTable struct {
	*reader
	changes *vfs.MountChanges
	seen    atomic.Uint64 // the count of changes that was told of
}

// Readiness implements waiter.Waitable; a change is told of once.
func (t *openMountTable) Readiness(wanted waiter.EventMask) waiter.EventMask {
	ready := wanted & (waiter.In | waiter.RdNorm)
	if now := t.changes.Count(); t.seen.Swap(now) != now {
		ready |= waiter.Err | wanted&waiter.Pri
	}
	return ready
}

// Register implements waiter.Waitable.
func (t *openMountTable) Register(e *waiter.Entry) { t.changes.Register(e) }

// Unregister implements waiter.Waitable.
func (t *openMountTable) Unregister(e *waiter.Entry) { t.changes.Unregister(e) }
