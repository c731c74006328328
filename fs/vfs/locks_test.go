package vfs_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const forever = math.MaxInt64

func lock(kind int16, from, to int64, pid int32) vfs.RecordLock {
	return vfs.RecordLock{Type: kind, Start: from, End: to, PID: pid}
}

// TestRecordLocks compares with a model that has a lock for each byte.
func TestRecordLocks(t *testing.T) {
	const size = 12
	tr := newTree(t).make("f")
	rapid.Check(t, func(rt *rapid.T) {
		f := tr.open(root, "f", unix.O_RDWR)
		defer f.DecRef()
		var owners [3]vfs.LockOwner
		var model [3][size]int16
		for o := range model {
			for i := range model[o] {
				model[o][i] = unix.F_UNLCK
			}
		}
		for range 40 {
			o := rapid.IntRange(0, 2).Draw(rt, "owner")
			kind := rapid.SampledFrom([]int16{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK, unix.F_UNLCK}).Draw(rt, "kind")
			from := rapid.IntRange(0, size-1).Draw(rt, "from")
			to := rapid.IntRange(from+1, size).Draw(rt, "to")
			want := unix.Errno(0)
			for other := range model {
				for i := from; i < to; i++ {
					has := model[other][i]
					if other != o && kind != unix.F_UNLCK && has != unix.F_UNLCK && (kind == unix.F_WRLCK || has == unix.F_WRLCK) {
						want = unix.EAGAIN
					}
				}
			}
			l := lock(kind, int64(from), int64(to), int32(o))
			if kind != unix.F_UNLCK {
				if free := f.TestLock(&owners[o], l).Type == unix.F_UNLCK; free != (want == 0) {
					rt.Fatalf("test says %v", free)
				}
			}
			if _, err := f.SetLock(&owners[o], l, false); errno(err) != want {
				rt.Fatalf("%d locks [%d,%d) for %d: %v, want %v", o, from, to, kind, err, want)
			}
			if want == 0 {
				for i := from; i < to; i++ {
					model[o][i] = kind
				}
			}
		}
		for o := range owners {
			f.DropRecordLocks(&owners[o])
		}
	})
}

func TestRecordLockErrors(t *testing.T) {
	tr := newTree(t).make("f")
	r, w := tr.open(root, "f", unix.O_RDONLY), tr.open(root, "f", unix.O_WRONLY)
	defer r.DecRef()
	defer w.DecRef()
	var a, b vfs.LockOwner
	_, err := r.SetLock(&a, lock(unix.F_WRLCK, 0, 1, 1), false)
	wantErr(t, "write lock on a read-only file", err, unix.EBADF)
	_, err = w.SetLock(&a, lock(unix.F_RDLCK, 0, 1, 1), false)
	wantErr(t, "read lock on a write-only file", err, unix.EBADF)
	_, err = w.SetLock(&a, lock(unix.F_WRLCK, 5, forever, 77), false)
	wantErr(t, "lock", err, 0)
	if got := r.TestLock(&b, lock(unix.F_RDLCK, 0, 6, 2)); got.PID != 77 || got.Start != 5 || got.Type != unix.F_WRLCK {
		t.Errorf("F_GETLK says %+v", got)
	}
	// Locks of an open file conflict with those of processes, and go with the last reference.
	o := tr.open(root, "f", unix.O_RDWR)
	_, err = o.SetLock(nil, lock(unix.F_WRLCK, 0, 10, 0), false)
	wantErr(t, "OFD against POSIX", err, unix.EAGAIN)
	_, err = o.SetLock(nil, lock(unix.F_WRLCK, 0, 5, 0), false)
	wantErr(t, "OFD", err, 0)
	if got := w.TestLock(&a, lock(unix.F_WRLCK, 0, 2, 0)); got.PID != -1 {
		t.Errorf("an OFD lock shows pid %d", got.PID)
	}
	o.DecRef()
	if got := w.TestLock(&a, lock(unix.F_WRLCK, 0, 2, 0)); got.Type != unix.F_UNLCK {
		t.Error("an OFD lock outlives its file")
	}
	for _, tc := range []struct {
		whence   int16
		start, n int64
		from, to int64
		want     unix.Errno
	}{
		{unix.SEEK_SET, 3, 0, 3, forever, 0}, {unix.SEEK_END, 0, -1, 0, 1, 0}, {unix.SEEK_SET, 5, -5, 0, 5, 0},
		{unix.SEEK_SET, 5, -6, 0, 0, unix.EINVAL}, {unix.SEEK_SET, -1, 0, 0, 0, unix.EINVAL},
		{unix.SEEK_SET, forever, 2, 0, 0, unix.EOVERFLOW}, {7, 0, 0, 0, 0, unix.EINVAL},
	} {
		from, to, err := w.LockRange(tc.whence, tc.start, tc.n)
		wantErr(t, "range", err, tc.want)
		if err == nil && (from != tc.from || to != tc.to) {
			t.Errorf("%+v gives [%d,%d)", tc, from, to)
		}
	}
}

// TestDeadlock finds circles of waiting processes.
func TestDeadlock(t *testing.T) {
	tr := newTree(t).make("f", "g")
	f, g := tr.open(root, "f", unix.O_RDWR), tr.open(root, "g", unix.O_RDWR)
	defer f.DecRef()
	defer g.DecRef()
	var a, b, c vfs.LockOwner
	take := func(f *vfs.File, o *vfs.LockOwner, at int64) (*vfs.LockWait, error) {
		return f.SetLock(o, lock(unix.F_WRLCK, at, at+1, 0), true)
	}
	for i, o := range []*vfs.LockOwner{&a, &b, &c} {
		if _, err := take(f, o, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := take(g, &a, 0); err != nil {
		t.Fatal(err)
	}
	wa, err := take(f, &a, 1)
	wantErr(t, "a waits for b", err, 0)
	wb, err := take(f, &b, 2)
	wantErr(t, "b waits for c", err, 0)
	_, err = take(g, &c, 0)
	wantErr(t, "c for a, in another file", err, unix.EDEADLK)
	wb.Cancel()
	wc, err := take(g, &c, 0)
	wantErr(t, "c for a, when b gave up", err, 0)
	wc.Cancel()
	f.DropRecordLocks(&b)
	<-wa.C
	if w, err := take(f, &a, 1); w != nil || err != nil {
		t.Errorf("after the wait: %v, %v", w, err)
	}
	wa.Cancel()
}

func TestFlock(t *testing.T) {
	tr := newTree(t).make("f")
	a, b := tr.open(root, "f", unix.O_RDONLY), tr.open(root, "f", unix.O_RDONLY)
	defer b.DecRef()
	flock := func(f *vfs.File, op int) error {
		_, err := f.Flock(op | unix.LOCK_NB)
		return err
	}
	wantErr(t, "shared", flock(a, unix.LOCK_SH), 0)
	wantErr(t, "shared too", flock(b, unix.LOCK_SH), 0)
	wantErr(t, "exclusive", flock(b, unix.LOCK_EX), unix.EAGAIN)
	wantErr(t, "upgrade, since the failed one gave up its lock", flock(a, unix.LOCK_EX), 0)
	wantErr(t, "nonsense", flock(a, 7), unix.EINVAL)
	w, err := b.Flock(unix.LOCK_EX)
	if w == nil {
		t.Fatal(err)
	}
	a.DecRef()
	<-w.C
	wantErr(t, "after the other's close", flock(b, unix.LOCK_EX), 0)
}

// TestLockExclusion lets waiting lockers race.
func TestLockExclusion(t *testing.T) {
	tr := newTree(t).make("f")
	var holders atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			f := tr.open(root, "f", unix.O_RDWR)
			defer f.DecRef()
			var owner vfs.LockOwner
			for range 100 {
				for {
					var w *vfs.LockWait
					var err error
					if i%2 == 0 {
						w, err = f.Flock(unix.LOCK_EX)
					} else {
						w, err = f.SetLock(&owner, lock(unix.F_WRLCK, 0, forever, 0), true)
					}
					if err != nil {
						t.Error(err)
						return
					}
					if w == nil {
						break
					}
					<-w.C
				}
				one := int32(1) << (16 * (i % 2))
				if n := holders.Add(one); n>>(16*(i%2))&0xffff != 1 {
					t.Errorf("%#x hold it", n)
				}
				holders.Add(-one)
				if i%2 == 0 {
					_, _ = f.Flock(unix.LOCK_UN)
				} else {
					f.DropRecordLocks(&owner)
				}
			}
		})
	}
	wg.Wait()
}
