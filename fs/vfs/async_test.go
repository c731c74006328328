package vfs_test

import (
	"sync"
	"testing"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// TestAsyncFlagRace: O_ASYNC is set and cleared at once; whatever came of it, a closed file is in no queue.
func TestAsyncFlagRace(t *testing.T) {
	sys := vfs.NewSystem()
	for range 3000 {
		r, w := pipe.New(sys, root, 0)
		var both sync.WaitGroup
		for _, flags := range []int{unix.O_ASYNC, 0, unix.O_ASYNC, 0} {
			both.Go(func() {
				if err := r.SetFlags(root, flags, 3); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		q := r.Ops().(vfs.AsyncOps).AsyncQueue()
		if q.Empty() == (r.Flags()&unix.O_ASYNC != 0) {
			t.Fatalf("flags %#o, but nobody told: %v", r.Flags(), q.Empty())
		}
		r.DecRef()
		if !q.Empty() {
			t.Fatal("a closed file is told of what happens")
		}
		w.DecRef()
	}
}

// TestAsyncCloseRace closes a file while something that happened to it is being told; it is for the race detector.
func TestAsyncCloseRace(t *testing.T) {
	sys := vfs.NewSystem()
	sys.OnAsync(func(vfs.AsyncEvent) {})
	for range 1000 {
		r, w := pipe.New(sys, root, 0)
		if err := r.SetFlags(root, unix.O_ASYNC, 3); err != nil {
			t.Fatal(err)
		}
		r.Ops().(vfs.AsyncOps).AsyncQueue().Notify(waiter.In)
		r.DecRef()
		sys.TellAsync()
		w.DecRef()
	}
}

// TestAsyncOnce: what happens twice before it is told is told once, each kind of it.
func TestAsyncOnce(t *testing.T) {
	sys := vfs.NewSystem()
	r, w := pipe.New(sys, root, 0)
	defer w.DecRef()
	defer r.DecRef()
	var mu sync.Mutex
	var told waiter.EventMask
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	sys.OnAsync(func(e vfs.AsyncEvent) {
		entered <- struct{}{}
		<-leave
		mu.Lock()
		told |= e.What
		mu.Unlock()
	})
	if err := r.SetFlags(root, unix.O_ASYNC, 3); err != nil {
		t.Fatal(err)
	}
	q := r.Ops().(vfs.AsyncOps).AsyncQueue()
	q.Notify(waiter.In)
	<-entered
	for range 3 {
		q.Notify(waiter.In)
		q.Notify(waiter.HUp)
	}
	close(leave)
	sys.TellAsync()
	if mu.Lock(); told != waiter.In|waiter.HUp {
		t.Errorf("told of %#x", told)
	}
	mu.Unlock()
	if n := 1 + len(entered); n != 2 {
		t.Errorf("told %d times, want twice", n)
	}
}
