package vfs

import "testing"

// TestAsyncBurst: one call tells of a part of a burst of events, and the rest is not forgotten.
func TestAsyncBurst(t *testing.T) {
	const burst = 3 * mostTold
	sys := NewSystem()
	a := &sys.async
	told := 0
	sys.OnAsync(func(AsyncEvent) { told++ })
	for range burst {
		f := &File{}
		f.armed = &asyncWatch{file: f, due: 1}
		a.due = append(a.due, f.armed)
	}
	a.waiting.Store(burst)
	sys.TellAsync()
	if told != mostTold {
		t.Errorf("one call told of %d events, want %d", told, mostTold)
	}
	a.tellAll()
	if told != burst || a.waiting.Load() != 0 || len(a.due) != 0 {
		t.Errorf("%d told of %d, %d wait", told, burst, a.waiting.Load())
	}
}
