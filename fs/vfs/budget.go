package vfs

import "sync/atomic"

// Budget bounds kernel memory that guests make use of: the buffers of pipes. The zero Budget
// has nothing to give.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes, or of limit things of another kind.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take takes n bytes, if there are so many left. A negative n gives back.
func (b *Budget) Take(n int64) bool {
	if b.used.Add(n) > b.limit && n > 0 {
		b.used.Add(-n)
		return false
	}
	return true
}

// PipeBytes is what the buffers of a System's pipes may take, but for a little that each has anyway.
const PipeBytes = 64 << 20

// OpenFiles is how many open files there are.
func (s *System) OpenFiles() int64 { return s.files.Load() }

// Pipes is the budget of pipes.
func (s *System) Pipes() *Budget { return &s.pipeBytes }
