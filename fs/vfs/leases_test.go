package vfs_test

import (
	"testing"
	"time"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// patient is a caller that can wait for the holders of leases.
type patient struct{ vfs.Caller }

func (patient) WaitLease(c <-chan struct{}, d time.Duration) error {
	select {
	case <-c:
		return nil
	case <-time.After(d):
		return unix.ETIMEDOUT
	}
}

// TestLeaseExpires breaks leases whose holders do nothing.
func TestLeaseExpires(t *testing.T) {
	tr := newTree(t).make("f")
	sys := tr.ns.System()
	sys.LeaseBreak.Store(1)
	var told []vfs.AsyncEvent
	sys.OnAsync(func(e vfs.AsyncEvent) { told = append(told, e) })
	holder := tr.open(root, "f", unix.O_RDONLY)
	defer holder.DecRef()
	wantErr(t, "lease", holder.SetLease(unix.F_WRLCK, 7), 0)
	start := time.Now()
	tr.open(patient{root}, "f", unix.O_RDONLY).DecRef()
	if took := time.Since(start); took < 900*time.Millisecond || holder.Lease() != unix.F_RDLCK {
		t.Errorf("after %v the holder has %d", took, holder.Lease())
	}
	tr.open(patient{root}, "f", unix.O_WRONLY).DecRef()
	if holder.Lease() != unix.F_UNLCK {
		t.Errorf("the holder still has %d", holder.Lease())
	}
	sys.TellAsync()
	if len(told) != 2 || told[0].FD != 7 {
		t.Errorf("the owner was told %+v", told)
	}
	wantErr(t, "giving up what is gone", holder.SetLease(unix.F_UNLCK, 7), unix.EAGAIN)
}

// TestLeaseUnwaited is for callers that cannot wait: the host's own.
func TestLeaseUnwaited(t *testing.T) {
	tr := newTree(t).make("f")
	holder := tr.open(root, "f", unix.O_RDONLY)
	wantErr(t, "lease", holder.SetLease(unix.F_RDLCK, 0), 0)
	_, err := vfs.Open(root, tr.args(), "f", vfs.OpenArgs{Flags: unix.O_WRONLY})
	wantErr(t, "open", err, unix.EAGAIN)
	wantErr(t, "truncate", vfs.Truncate(root, tr.path("f"), 0), unix.EAGAIN)
	holder.DecRef()
	tr.open(root, "f", unix.O_WRONLY).DecRef()
}
