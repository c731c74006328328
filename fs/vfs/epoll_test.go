package vfs_test

import (
	"sync"
	"testing"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

func poller(f *vfs.File) *vfs.EventPoll { return f.Ops().(*vfs.EventPoll) }

func add(t *testing.T, ep, f *vfs.File, fd int32, events uint32) {
	t.Helper()
	if err := poller(ep).Ctl(unix.EPOLL_CTL_ADD, fd, f, vfs.EpollEvent{Events: events, Data: uint64(fd)}); err != nil {
		t.Fatal(err)
	}
}

func collect(ep *vfs.File) int {
	var out [16]vfs.EpollEvent
	return poller(ep).Collect(out[:])
}

// TestEpollClose takes closed files out.
func TestEpollClose(t *testing.T) {
	sys := vfs.NewSystem()
	ep, outer := sys.NewEventPoll(), sys.NewEventPoll()
	e := sys.NewEventFD(1, false, 0)
	add(t, ep, e, 1, unix.EPOLLIN)
	add(t, ep, e, 2, unix.EPOLLIN) // a duplicate descriptor
	add(t, outer, ep, 3, unix.EPOLLIN)
	if n := collect(ep); n != 2 {
		t.Errorf("%d events", n)
	}
	e.DecRef()
	if n := collect(ep); n != 0 {
		t.Errorf("%d events of a closed file", n)
	}
	if n := collect(outer); n != 0 {
		t.Errorf("%d events of an instance with nothing in it", n)
	}
	ep.DecRef()
	outer.DecRef()
}

// TestEpollRotates gives every ready file a turn.
func TestEpollRotates(t *testing.T) {
	sys := vfs.NewSystem()
	ep := sys.NewEventPoll()
	defer ep.DecRef()
	for fd := range int32(4) {
		e := sys.NewEventFD(1, false, 0)
		defer e.DecRef()
		add(t, ep, e, fd, unix.EPOLLIN)
	}
	seen := map[uint64]int{}
	for range 8 {
		var out [1]vfs.EpollEvent
		if poller(ep).Collect(out[:]) != 1 {
			t.Fatal("nothing ready")
		}
		seen[out[0].Data]++
	}
	for fd, n := range seen {
		if n != 2 || len(seen) != 4 {
			t.Errorf("file %d came %d times of %d files", fd, n, len(seen))
		}
	}
}

func TestEpollErrors(t *testing.T) {
	tr := newTree(t).make("f")
	f := tr.open(root, "f", unix.O_RDONLY)
	defer f.DecRef()
	ep := tr.sys.NewEventPoll()
	defer ep.DecRef()
	ctl := func(op int, f *vfs.File) error {
		return poller(ep).Ctl(op, 1, f, vfs.EpollEvent{Events: unix.EPOLLIN})
	}
	wantErr(t, "a regular file", ctl(unix.EPOLL_CTL_ADD, f), unix.EPERM)
	wantErr(t, "itself", ctl(unix.EPOLL_CTL_ADD, ep), unix.EINVAL)
	// One event must not become a storm of notifications.
	inner := tr.sys.NewEventPoll()
	defer inner.DecRef()
	layer := []*vfs.File{inner}
	var err error
	for depth := 0; depth < 3 && err == nil; depth++ {
		var above []*vfs.File
		for range 12 {
			o := tr.sys.NewEventPoll()
			defer o.DecRef()
			for i, below := range layer {
				if e := poller(o).Ctl(unix.EPOLL_CTL_ADD, int32(i), below, vfs.EpollEvent{}); e != nil {
					err = e
				}
			}
			above = append(above, o)
		}
		layer = above
	}
	wantErr(t, "too many paths", err, unix.EINVAL)
}

// TestEpollConcurrent runs changes, events and closing side by side.
func TestEpollConcurrent(t *testing.T) {
	sys := vfs.NewSystem()
	ep, outer := sys.NewEventPoll(), sys.NewEventPoll()
	add(t, outer, ep, 1, unix.EPOLLIN)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for i := range 3 {
		writers.Go(func() {
			for range 300 {
				r, w := pipe.New(sys, root, 0)
				add(t, ep, r, int32(i), unix.EPOLLIN|1<<31)
				_, _ = w.Write(root, mm.BytesBuffer([]byte("x")))
				_ = poller(ep).Ctl(unix.EPOLL_CTL_MOD, int32(i), r, vfs.EpollEvent{Events: unix.EPOLLIN})
				w.DecRef()
				r.DecRef()
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			entry, ready := waiter.NewChannelEntry(waiter.In)
			outer.Register(entry)
			defer outer.Unregister(entry)
			for {
				collect(outer)
				collect(ep)
				select {
				case <-stop:
					return
				case <-ready:
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if n := collect(ep); n != 0 {
		t.Errorf("%d events are left", n)
	}
	ep.DecRef()
	outer.DecRef()
}

func TestEventFD(t *testing.T) {
	sys := vfs.NewSystem()
	e := sys.NewEventFD(2, true, 0)
	defer e.DecRef()
	var b [8]byte
	for range 2 {
		if n, err := e.Read(root, mm.BytesBuffer(b[:])); n != 8 || err != nil || b[0] != 1 {
			t.Errorf("semaphore: %d, %v, %v", n, err, b)
		}
	}
	_, err := e.Read(root, mm.BytesBuffer(b[:]))
	wantErr(t, "empty", err, unix.EAGAIN)
	_, err = e.Read(root, mm.BytesBuffer(b[:7]))
	wantErr(t, "short read", err, unix.EINVAL)
	full := mm.BytesBuffer([]byte{0xfe, 255, 255, 255, 255, 255, 255, 255})
	if _, err := e.Write(root, full); err != nil {
		t.Error(err)
	}
	_, err = e.Write(root, mm.BytesBuffer([]byte{1, 0, 0, 0, 0, 0, 0, 0}))
	wantErr(t, "full", err, unix.EAGAIN)
	_, err = e.Write(root, mm.BytesBuffer([]byte{255, 255, 255, 255, 255, 255, 255, 255}))
	wantErr(t, "the forbidden value", err, unix.EINVAL)
	if got := e.Readiness(waiter.In | waiter.Out); got != waiter.In {
		t.Errorf("full: ready for %#x", got)
	}
	_, err = e.PRead(root, mm.BytesBuffer(b[:]), 0)
	wantErr(t, "pread", err, unix.ESPIPE)
}

// TestEpollExclusive: an event goes to one instance with a sleeper; one that is only polled, or watched by another, keeps it from nobody.
func TestEpollExclusive(t *testing.T) {
	sys := vfs.NewSystem()
	polled, outer, first, second := sys.NewEventPoll(), sys.NewEventPoll(), sys.NewEventPoll(), sys.NewEventPoll()
	e := sys.NewEventFD(0, false, 0)
	for _, f := range []*vfs.File{polled, outer, first, second, e} {
		defer f.DecRef()
	}
	add(t, outer, polled, 1, unix.EPOLLIN)
	for i, ep := range []*vfs.File{polled, first, second} {
		add(t, ep, e, int32(i), unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	}
	entry, told := waiter.NewChannelEntry(waiter.In)
	polled.Register(entry)
	defer polled.Unregister(entry)
	sleepers := map[*vfs.File]<-chan struct{}{}
	for _, ep := range []*vfs.File{first, second} {
		entry, woken := waiter.NewChannelEntry(waiter.In)
		poller(ep).Sleep(entry)
		defer poller(ep).Wake(entry)
		sleepers[ep] = woken
	}
	if _, err := e.Write(root, mm.BytesBuffer([]byte{1, 0, 0, 0, 0, 0, 0, 0})); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || len(sleepers[first]) != 1 || len(sleepers[second]) != 0 {
		t.Errorf("told: %d who polls, %d and %d who sleep", len(told), len(sleepers[first]), len(sleepers[second]))
	}
}
