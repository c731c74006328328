package vfs_test

import (
	"sync"
	"testing"
	"time"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// TestLeasesConcurrent: leases are taken, given up, broken and closed side by side. Nobody waits for a lease that is gone, and none stays.
func TestLeasesConcurrent(t *testing.T) {
	tr := newTree(t).make("f")
	sys := tr.ns.System()
	sys.OnAsync(func(vfs.AsyncEvent) {})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for n := range 300 {
				mode := unix.O_RDONLY
				if (i+n)%3 == 0 {
					mode = unix.O_RDWR
				}
				f, err := vfs.Open(patient{root}, tr.args(), "f", vfs.OpenArgs{Flags: mode})
				if err != nil {
					t.Error(err)
					return
				}
				_ = f.SetLease(int16(n%2), int32(i))
				if n%4 == 0 {
					_ = f.SetLease(unix.F_UNLCK, int32(i))
				}
				f.DecRef()
			}
		})
	}
	start := time.Now()
	all.Wait()
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("took %v", took)
	}
	f := tr.open(root, "f", unix.O_RDONLY)
	defer f.DecRef()
	wantErr(t, "a lease of the only one", f.SetLease(unix.F_WRLCK, 3), 0)
	wantErr(t, "giving it up", f.SetLease(unix.F_UNLCK, 3), 0)
}
