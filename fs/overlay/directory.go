package overlay

import (
	"slices"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// directory is what is different in a directory from the lower one. All of it is guarded by fs.mu.
type directory struct {
	above map[string]*entry
	// order lists the entries that were made or moved here, by seq; those taken out
	// stay, marked, until there are as many as others.
	order   []*entry
	removed int
	seq     uint64
	subdirs int64 // more, or fewer, than in the lower directory
}

// entry is a name in a directory that is not simply the lower one's.
type entry struct {
	node    *node // nil: the lower name is deleted
	name    string
	seq     uint64 // 0: stands in the place of the lower name
	shadows bool   // the lower directory has the name
	removed bool
}

// entries returns n's directory, made when there is none. fs.mu is held.
func (n *node) entries() *directory {
	if n.dir == nil {
		n.dir = &directory{above: make(map[string]*entry)}
	}
	return n.dir
}

// place enters m under name, which stands for nothing above but perhaps a deletion. fs.mu is held.
func (n *node) place(name string, m *node) {
	d := n.entries()
	old := d.above[name]
	d.seq++
	e := &entry{node: m, name: name, seq: d.seq, shadows: old != nil && old.shadows}
	d.above[name] = e
	d.order = append(d.order, e)
	m.pinned, m.parent, m.name = true, n, name
	if m.kind == unix.S_IFDIR {
		d.subdirs++
	}
}

// displace takes m out of name. fs.mu is held.
func (n *node) displace(name string, m *node) {
	d := n.entries()
	old := d.above[name]
	if old != nil && old.seq != 0 {
		old.removed = true
		d.removed++
		d.compact()
	}
	if old == nil || old.shadows {
		d.above[name] = &entry{name: name, shadows: true}
	} else {
		delete(d.above, name)
	}
	m.pinned = true
	if m.kind == unix.S_IFDIR {
		d.subdirs--
	}
}

// compact drops the removed entries of order once they are the greater part.
func (d *directory) compact() {
	if d.removed < 32 || d.removed < len(d.order)/2 {
		return
	}
	d.order = slices.DeleteFunc(d.order, func(e *entry) bool { return e.removed })
	d.order = slices.Clip(d.order)
	d.removed = 0
}

// find returns what is known above of name.
func (n *node) find(name string) *entry {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if n.dir == nil {
		return nil
	}
	return n.dir.above[name]
}

// Lookup implements vfs.Inode.
func (n *node) Lookup(c vfs.Caller, name string) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if e := n.find(name); e != nil {
		if e.node == nil {
			return nil, unix.ENOENT
		}
		return e.node, nil
	}
	if n.lower == nil {
		return nil, unix.ENOENT
	}
	lower, err := n.lower.Lookup(c, name)
	if err != nil {
		return nil, err
	}
	m, err := n.fs.lowerNode(n, name, lower)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// checkEmpty is ENOTEMPTY if the directory n has entries.
func (n *node) checkEmpty(c vfs.Caller) error {
	n.fs.mu.RLock()
	if n.dir != nil {
		for _, e := range n.dir.above {
			if e.node != nil {
				n.fs.mu.RUnlock()
				return unix.ENOTEMPTY
			}
		}
	}
	n.fs.mu.RUnlock()
	if n.lower == nil {
		return nil
	}
	ops, err := n.lower.Open(c, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer ops.Release()
	list, ok := ops.(vfs.DirOps)
	if !ok {
		return unix.EIO
	}
	return n.checkLowerEmpty(c, list)
}

// checkLowerEmpty is ENOTEMPTY if the lower directory has a name that is not deleted above.
func (n *node) checkLowerEmpty(c vfs.Caller, list vfs.DirOps) error {
	var pos int64
	for {
		result, progress := error(nil), false
		err := list.ReadDir(c, pos, func(d vfs.Dirent) bool {
			pos, progress = d.Next, true
			if d.Name != "." && d.Name != ".." && n.find(d.Name) == nil {
				result = unix.ENOTEMPTY
			}
			return result == nil
		})
		if result != nil || err != nil || !progress {
			return firstOf(result, err)
		}
		if c != nil && c.Interrupted() {
			return unix.EINTR
		}
	}
}

// firstOf returns the first error that is one.
func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
