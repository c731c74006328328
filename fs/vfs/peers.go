package vfs

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"
)

// A mount that is shared is in a peer group: what is mounted or unmounted on one member is so on the others, and on the
// slaves of the group, which pass nothing back (mount_namespaces(7)). All of it is guarded by System.mountMu.

// peerGroup is a group of shared mounts, in one namespace or several. It exists while it has members.
type peerGroup struct {
	id      int
	members map[*Mount]bool
	slaves  map[*Mount]bool // whose master the group is
}

// groupNumbers are the numbers of groups, the lowest free one for the next; 0 is none.
type groupNumbers []uint64

func (g *groupNumbers) take() int {
	for i, word := range *g {
		if word != ^uint64(0) {
			n := bits.TrailingZeros64(^word)
			(*g)[i] |= 1 << n
			return i*64 + n + 1
		}
	}
	*g = append(*g, 1)
	return len(*g)*64 - 63
}

func (g groupNumbers) free(id int) { g[(id-1)/64] &^= 1 << ((id - 1) % 64) }

// byAge returns mounts in the order in which they were made, so that what is done to all of them is
// done in the same order each time.
func byAge(set map[*Mount]bool) []*Mount {
	return slices.SortedFunc(maps.Keys(set), older)
}

// older compares by age.
func older(a, b *Mount) int { return cmp.Compare(a.id, b.id) }

// share makes m the first member of a new group, unless it is in one.
func (m *Mount) share() {
	if m.group == nil {
		g := &peerGroup{id: m.fs.sys.groups.take(), members: map[*Mount]bool{m: true}, slaves: map[*Mount]bool{}}
		m.group = g
	}
}

// join makes m, which is in no group, a member of g, which may be nil.
func (m *Mount) join(g *peerGroup) {
	if m.group = g; g != nil {
		g.members[m] = true
	}
}

// follow makes m a slave of g, or of nobody.
func (m *Mount) follow(g *peerGroup) {
	if m.master != nil {
		delete(m.master.slaves, m)
	}
	if m.master = g; g != nil {
		g.slaves[m] = true
	}
}

// leave takes m out of its group. The slaves of one that ends go to the master that m has.
func (m *Mount) leave() {
	g := m.group
	if g == nil {
		return
	}
	m.group = nil
	delete(g.members, m)
	if len(g.members) > 0 {
		return
	}
	for s := range g.slaves {
		s.follow(m.master)
	}
	m.fs.sys.groups.free(g.id)
}

// alone makes m private.
func (m *Mount) alone() {
	m.leave()
	m.follow(nil)
}

// setPropagation makes m shared, a slave, private or unbindable: kind is MS_SHARED...
func (m *Mount) setPropagation(kind int) {
	switch kind {
	case unix.MS_SHARED:
		m.share()
		m.unbindable = false
	case unix.MS_SLAVE: // of its own group, if others are in that
		if g := m.group; g != nil {
			m.leave()
			if len(g.members) > 0 {
				m.follow(g)
			}
		}
	default:
		m.alone()
		m.unbindable = kind == unix.MS_UNBINDABLE
	}
}

// Propagation is what /proc/PID/mountinfo tells of a mount: numbers of peer groups, 0 for none.
type Propagation struct {
	Shared, Master int
	// From is the nearest group above the master of which the process can see a member.
	From       int
	Unbindable bool
}

// Propagation returns how m passes on what is mounted, for somebody whose root directory is root.
func (m *Mount) Propagation(root Path) Propagation {
	sys := m.fs.sys
	sys.mountMu.Lock()
	defer sys.mountMu.Unlock()
	p := Propagation{Unbindable: m.unbindable}
	if m.group != nil {
		p.Shared = m.group.id
	}
	if m.master == nil {
		return p
	}
	p.Master = m.master.id
	for g := m.master; g != nil && p.From == 0; g = g.master() {
		if g.seenFrom(root, m.ns.Load()) {
			p.From = g.id
		}
	}
	if p.From == p.Master {
		p.From = 0
	}
	return p
}

// master is the group whose slaves the members are; all have the same.
func (g *peerGroup) master() *peerGroup {
	for m := range g.members {
		return m.master
	}
	return nil
}

// seenFrom tells whether a member of g is in ns below root.
func (g *peerGroup) seenFrom(root Path, ns *Namespace) bool {
	for m := range g.members {
		if m.ns.Load() == ns && below(m.Root(), root) {
			return true
		}
	}
	return false
}
