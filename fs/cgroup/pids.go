package cgroup

import (
	"math"

	"golang.org/x/sys/unix"
)

// pidsController counts tasks, those that have ended and are not waited for too. It counts in
// every group, so that it is right when it is switched on, but binds only where it is.
type pidsController struct {
	file, localFile watched // pids.events and pids.events.local

	// Guarded by Tree.mu.
	current, peak int64
	max           int64
	events, local uint64 // forks that max made fail, of the subtree and of the group
}

// reset forgets what was set, as with the controller that is switched off.
func (p *pidsController) reset() {
	p.max, p.peak, p.events, p.local = unlimited, p.current, 0, 0
}

// chargeLocked counts a task that is to be born in g. EAGAIN where that is one too many for a group
// above it.
func (g *Group) chargeLocked() error {
	for a := g; a != nil; a = a.parent {
		if a.haveLocked().has(pids) && a.pids.current >= a.pids.max {
			a.overLimitLocked()
			return unix.EAGAIN
		}
	}
	g.countLocked(1)
	return nil
}

// Uncharge takes out a task that nothing is left of, or that went elsewhere.
func (g *Group) Uncharge() {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	g.countLocked(-1)
	for n := g; n != nil && n.removed && n.pids.current == 0; n = n.parent {
		for a := n.parent; a != nil; a = a.parent {
			a.dying--
		}
	}
}

func (g *Group) countLocked(n int64) {
	for a := g; a != nil; a = a.parent {
		a.pids.current += n
		a.pids.peak = max(a.pids.peak, a.pids.current)
	}
}

func (g *Group) overLimitLocked() {
	g.pids.local++
	g.pids.localFile.changed()
	for a := g; a != nil && a.parent != nil; a = a.parent {
		a.pids.events++
		a.pids.file.changed()
	}
}

// Tasks returns how many tasks are charged to g and below.
func (g *Group) Tasks() int64 {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	return g.pids.current
}

// maxPIDs is the largest limit that is a number; as Linux's PIDS_MAX it is a little over the largest pid.
const maxPIDs = math.MaxInt32
