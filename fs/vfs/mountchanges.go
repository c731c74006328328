package vfs

import (
	"sync/atomic"

	"gosentry/sentry/waiter"
)

// MountChanges tells of what changes in the tree of a namespace.
type MountChanges struct {
	waiter.Queue
	count atomic.Uint64
}

// Count returns how many changes there were.
func (c *MountChanges) Count() uint64 { return c.count.Load() }

// Changes returns what tells of ns's changes.
func (ns *Namespace) Changes() *MountChanges { return &ns.changes }

// changed tells of a change. System.mountMu may be held.
func (ns *Namespace) changed() {
	ns.changes.count.Add(1)
	ns.changes.Notify(waiter.Pri | waiter.Err)
}
