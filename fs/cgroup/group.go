package cgroup

import (
	"slices"
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// maxGroups and maxDepth bound the tree, which is the sentry's memory.
	maxGroups = 2048
	maxDepth  = 64
	// unlimited is "max" in a file.
	unlimited = 1<<63 - 1
)

// Tasks is what the tree asks of the kernel. No lock of the tree is held.
type Tasks interface {
	// IDs lists the processes in g, or its threads, by their ids as the caller sees them; 0 for those that it does not see.
	IDs(c vfs.Caller, g *Group, threads bool) []int32
	// Move puts the process with the caller's id, or the thread, into g; 0 is the caller itself. ESRCH, and what Tree.MayMove says.
	Move(c vfs.Caller, g *Group, id int32, thread bool) error
	// Kill sends SIGKILL to all processes in g and below.
	Kill(g *Group)
	// Freeze makes all processes in g and below stop or go on, as Group.Freezing says.
	Freeze(g *Group)
	// Charge has the memory of all processes in g and below charged as Group.Memory says, from now on.
	Charge(g *Group)
}

// Tree is a hierarchy of groups.
type Tree struct {
	fs    pseudo.FS
	tasks Tasks
	root  *Group

	// mu guards what changes in groups, and groups, the number of those that are not removed.
	mu     sync.Mutex
	groups int
}

// Group is one cgroup.
type Group struct {
	tree   *Tree
	parent *Group // nil for the root
	name   string
	level  int
	dir    *directory
	events watched // cgroup.events
	pids   pidsController
	memory memoryController

	// Guarded by Tree.mu.
	children map[string]*Group
	order    []*Group // children as they were made
	last     int64    // position of the last child made
	position int64    // among the parent's children
	removed  bool
	// below are the controllers that the children have.
	below          controllers
	freeze         bool
	own            int // tasks in the group itself that have not ended
	live, frozen   int // tasks in the subtree that have not ended, and those of them that stand still
	descendants    int
	dying          int // removed ones that zombies are charged to
	maxDescendants int64
	maxDepth       int64
}

// New returns a tree of one group, the root.
func New(tasks Tasks) *Tree {
	t := &Tree{tasks: tasks, groups: 1}
	t.fs.Magic, t.fs.Mutable = unix.CGROUP2_SUPER_MAGIC, true
	t.root = t.newGroup(nil, "")
	t.root.dir = newDirectory(t.root, 0o755)
	return t
}

func (t *Tree) newGroup(parent *Group, name string) *Group {
	g := &Group{
		tree: t, parent: parent, name: name, children: map[string]*Group{},
		maxDescendants: unlimited, maxDepth: unlimited,
	}
	g.pids.max = unlimited
	if parent != nil {
		g.level = parent.level + 1
	}
	return g
}

// Root returns the root of the tree.
func (t *Tree) Root() *Group { return t.root }

// Inode returns the group's directory.
func (g *Group) Inode() vfs.Inode { return g.dir }

// GroupOf returns the group that an inode is the directory of; EBADF for any other, ENOENT for one that was removed.
func GroupOf(in vfs.Inode) (*Group, error) {
	d, ok := in.(*directory)
	if !ok {
		return nil, unix.EBADF
	}
	if d.group.Removed() {
		return nil, unix.ENOENT
	}
	return d.group, nil
}

// Removed tells whether the group's directory is gone.
func (g *Group) Removed() bool {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	return g.removed
}

// Within tells whether g is root or below it.
func (g *Group) Within(root *Group) bool {
	for g != nil && g.level > root.level {
		g = g.parent
	}
	return g == root
}

// PathFrom returns the name of g as one sees it whose root is root: with "/.." for each step out of that,
// and " (deleted)" for a group that was removed (cgroup_namespaces(7)).
func (g *Group) PathFrom(root *Group) string {
	common := commonAncestor(g, root)
	path := ""
	for n := g; n != common; n = n.parent {
		path = "/" + n.name + path
	}
	for n := root; n != common; n = n.parent {
		path = "/.." + path
	}
	if path == "" {
		path = "/"
	}
	if g.Removed() {
		path += " (deleted)"
	}
	return path
}

func commonAncestor(a, b *Group) *Group {
	for a.level > b.level {
		a = a.parent
	}
	for b.level > a.level {
		b = b.parent
	}
	for a != b {
		a, b = a.parent, b.parent
	}
	return a
}

// Admit counts a task that is about to be born in the group, which cannot be removed from then on. ENODEV
// if it has been, EAGAIN where the pids controller of a group above has no room; nothing is counted then.
func (g *Group) Admit() error {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	if g.removed {
		return unix.ENODEV
	}
	if err := g.chargeLocked(); err != nil {
		return err
	}
	g.changeLiveLocked(1)
	return nil
}

// AdmitAnyway is Admit for a task that no limit can refuse: one that was moved, or that the sandbox itself starts.
func (g *Group) AdmitAnyway() error {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	if g.removed {
		return unix.ENODEV
	}
	g.countLocked(1)
	g.changeLiveLocked(1)
	return nil
}

// Leave says that a task has ended; Uncharge follows when nothing is left of it.
func (g *Group) Leave() {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	g.changeLiveLocked(-1)
}

func (g *Group) changeLiveLocked(n int) {
	g.own += n
	for a := g; a != nil; a = a.parent {
		before := a.stateLocked()
		a.live += n
		a.tellLocked(before)
	}
}

// CountFrozen adds n to the tasks that stand still because of Freezing.
func (g *Group) CountFrozen(n int) {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	for a := g; a != nil; a = a.parent {
		before := a.stateLocked()
		a.frozen += n
		a.tellLocked(before)
	}
}

// Freezing tells whether tasks in the group have to stand still.
func (g *Group) Freezing() bool {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	return g.freezingLocked()
}

func (g *Group) freezingLocked() bool {
	for ; g != nil; g = g.parent {
		if g.freeze {
			return true
		}
	}
	return false
}

// state is what cgroup.events shows.
type state struct{ populated, frozen bool }

func (g *Group) stateLocked() state {
	return state{g.live > 0, g.frozen == g.live && g.freezingLocked()}
}

// tellLocked tells who waits for cgroup.events if they are others than before.
func (g *Group) tellLocked(before state) {
	if g.stateLocked() != before {
		g.events.changed()
	}
}

// make makes a group below g, with its directory. EAGAIN over a limit.
func (g *Group) make(name string, a vfs.NewAttr) (*Group, error) {
	t := g.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case g.removed:
		return nil, unix.ENODEV
	case g.children[name] != nil:
		return nil, unix.EEXIST
	case t.groups >= maxGroups || g.level+1 > maxDepth || !g.roomLocked():
		return nil, unix.EAGAIN
	}
	n := t.newGroup(g, name)
	n.dir = newDirectory(n, a.Mode)
	n.dir.setOwner(a)
	g.last++
	n.position = g.last
	g.children[name] = n
	if g.below.has(memory) {
		n.memory.begin(g.memory.file)
	}
	g.order = append(g.order, n)
	t.groups++
	for a := g; a != nil; a = a.parent {
		a.descendants++
	}
	return n, nil
}

// roomLocked tells whether the limits of g and above let it have one more child.
func (g *Group) roomLocked() bool {
	level := int64(1)
	for a := g; a != nil; a, level = a.parent, level+1 {
		if int64(a.descendants) >= a.maxDescendants || level > a.maxDepth {
			return false
		}
	}
	return true
}

// RemoveAll removes the group and those below it, as far as they are empty.
func (g *Group) RemoveAll() {
	g.tree.mu.Lock()
	below := slices.Clone(g.order)
	g.tree.mu.Unlock()
	for _, o := range below {
		o.RemoveAll()
	}
	g.remove() //nolint:errcheck // what is not empty stays
}

// remove removes an empty group; EBUSY for others.
func (g *Group) remove() error {
	t := g.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case g.removed:
		return unix.ENOENT
	case g.live > 0 || len(g.children) > 0 || g.parent == nil:
		return unix.EBUSY
	}
	g.removed = true
	g.memory.end()
	delete(g.parent.children, g.name)
	for i, o := range g.parent.order {
		if o == g {
			g.parent.order = append(g.parent.order[:i:i], g.parent.order[i+1:]...)
			break
		}
	}
	t.groups--
	for a := g.parent; a != nil; a = a.parent {
		a.descendants--
		if g.pids.current > 0 {
			a.dying++
		}
	}
	g.events.changed()
	return nil
}

// child returns the child called name, nil if there is none.
func (g *Group) child(name string) *Group {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	return g.children[name]
}

// watched is a file that poll(2) tells of when it changes.
type watched struct {
	queue waiter.Queue

	// changes counts; guarded by Tree.mu.
	changes uint64
}

func (w *watched) changed() {
	w.changes++
	w.queue.Notify(waiter.Pri | waiter.Err)
}
