package vfs

import (
	"encoding/binary"
	"math"
	"sync"

	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// eventFD is the counter of eventfd(2).
type eventFD struct {
	waiter.Queue
	semaphore bool

	mu    sync.Mutex
	count uint64
}

// NewEventFD makes an eventfd(2). flags may have O_NONBLOCK.
func (s *System) NewEventFD(initial uint64, semaphore bool, flags int) *File {
	return s.NewAnonFile(&eventFD{count: initial, semaphore: semaphore}, "[eventfd]", flags|unix.O_RDWR)
}

// IsStream implements StreamOps.
func (*eventFD) IsStream() {}

// Seek implements SeekOps: it goes nowhere.
func (*eventFD) Seek(Caller, int64, int64, int) (int64, error) { return 0, nil }

// Release implements FileOps.
func (*eventFD) Release() {}

// Read takes the count, or one of it.
func (e *eventFD) Read(_ Caller, dst *mm.Buffer, _ int64) (int, error) {
	if dst.Len() < 8 {
		return 0, unix.EINVAL
	}
	e.mu.Lock()
	n := e.count
	if n == 0 {
		e.mu.Unlock()
		return 0, unix.EAGAIN
	}
	if e.semaphore {
		n = 1
	}
	e.count -= n
	e.mu.Unlock()
	e.Notify(waiter.Out | waiter.WrNorm)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return dst.CopyOut(b[:])
}

// Write adds to the count.
func (e *eventFD) Write(_ Caller, src *mm.Buffer, _ int64) (int, error) {
	if src.Len() < 8 {
		return 0, unix.EINVAL
	}
	var b [8]byte
	if _, err := src.CopyIn(b[:]); err != nil {
		return 0, err
	}
	if err := e.Signal(binary.LittleEndian.Uint64(b[:])); err != nil {
		return 0, err
	}
	return 8, nil
}

// Signal adds n to the count: EAGAIN when it has no room.
func (e *eventFD) Signal(n uint64) error {
	if n == math.MaxUint64 {
		return unix.EINVAL
	}
	e.mu.Lock()
	if n > math.MaxUint64-1-e.count {
		e.mu.Unlock()
		return unix.EAGAIN
	}
	e.count += n
	e.mu.Unlock()
	e.Notify(waiter.In | waiter.RdNorm)
	return nil
}

// Readiness implements waiter.Waitable.
func (e *eventFD) Readiness(wanted waiter.EventMask) waiter.EventMask {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ready waiter.EventMask
	if e.count > 0 {
		ready |= waiter.In
	}
	if e.count < math.MaxUint64-1 {
		ready |= waiter.Out
	}
	if e.count == math.MaxUint64 {
		ready |= waiter.Err
	}
	return ready & (wanted | waiter.Err)
}
