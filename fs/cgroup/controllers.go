package cgroup

import (
	"slices"
	"strings"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// controllers is a set of them.
type controllers uint32

const (
	memory controllers = 1 << iota
	pids
)

// controllerNames are in the order of the bits, as the files show them.
var controllerNames = [...]string{"memory", "pids"}

func (c controllers) has(o controllers) bool { return c&o == o }

// line is what cgroup.controllers shows.
func (c controllers) line() string {
	var names []string
	for i, name := range controllerNames {
		if c.has(1 << i) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ") + "\n"
}

// haveLocked returns the controllers that work in g.
func (g *Group) haveLocked() controllers {
	var have controllers
	if g.parent != nil {
		have = g.parent.below & pids
	}
	if g.memory.file != nil {
		have |= memory
	}
	return have
}

// mayGiveLocked returns the controllers that can be given to g's children.
func (g *Group) mayGiveLocked() controllers {
	if g.parent == nil {
		return g.haveLocked() | pids
	}
	return g.haveLocked()
}

// works is ENODEV where the files of controllers are of no use any more.
func (g *Group) works(c controllers) error {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	if g.removed || !g.haveLocked().has(c) {
		return unix.ENODEV
	}
	return nil
}

// storeControl takes words as "+pids -memory", of which the last for each controller counts.
func storeControl(g *Group, _ vfs.Caller, text string) error {
	var on, off controllers
	for _, w := range strings.Fields(text) {
		i := slices.Index(controllerNames[:], w[1:])
		switch {
		case i < 0 || w[0] != '+' && w[0] != '-':
			return unix.EINVAL
		case w[0] == '+':
			on, off = on|1<<i, off&^(1<<i)
		default:
			on, off = on&^(1<<i), off|1<<i
		}
	}
	changed, err := g.control(on, off)
	if changed.has(memory) {
		g.tree.tasks.Charge(g)
	}
	return err
}

// control gives controllers to g's children, or takes them away: all, or none. It returns which it has.
func (g *Group) control(on, off controllers) (changed controllers, err error) {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	if g.removed {
		return 0, unix.ENODEV
	}
	on, off = on&^g.below, off&g.below
	for _, child := range g.children {
		if child.below&off != 0 {
			return 0, unix.EBUSY
		}
	}
	if err := g.mayControlLocked(on); err != nil {
		return 0, err
	}
	g.below = g.below&^off | on
	for _, child := range g.children {
		child.changeLocked(on, off)
	}
	return on | off, nil
}

// mayControlLocked says what hinders new controllers of the children (cgroups(7), "no internal processes"): memory is one that tasks and
// groups below do not compete for, and pids is one for which they may, in one process.
func (g *Group) mayControlLocked(on controllers) error {
	switch {
	case on == 0:
		return nil
	case !g.mayGiveLocked().has(on):
		return unix.ENOENT
	case !g.takesTasksLocked():
		return unix.EOPNOTSUPP
	case g.parent == nil:
		return nil
	case on.has(memory) && g.threadRootLocked():
		return unix.EOPNOTSUPP
	case g.own > 0 && (on.has(memory) || g.populatedChildrenLocked()):
		return unix.EBUSY
	}
	return nil
}

// changeLocked begins and ends what controllers do in g.
func (g *Group) changeLocked(on, off controllers) {
	if off.has(pids) {
		g.pids.reset()
	}
	if on.has(memory) {
		g.memory.begin(g.parent.memory.file)
	}
	if off.has(memory) {
		g.memory.end()
	}
}
