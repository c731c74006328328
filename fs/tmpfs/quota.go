package tmpfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Quota bounds the pages of a set of files. A nil Quota bounds nothing.
type Quota struct {
	limit int64 // pages
	used  atomic.Int64
}

// NewQuota returns a quota of so many bytes.
func NewQuota(bytes uint64) *Quota { return &Quota{limit: int64(min(bytes/pageSize, 1<<50))} }

// charge takes n pages: ENOSPC when there are not so many.
func (q *Quota) charge(n int64) error {
	if q == nil {
		return nil
	}
	if q.used.Add(n) > q.limit {
		q.used.Add(-n)
		return unix.ENOSPC
	}
	return nil
}

func (q *Quota) uncharge(n int64) {
	if q != nil {
		q.used.Add(-n)
	}
}
