package overlay

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// own returns the node behind i; EXDEV for one of another file system.
func (fs *filesystem) own(i vfs.Inode) (*node, error) {
	n, ok := i.(*node)
	if !ok || n.fs != fs {
		return nil, unix.EXDEV
	}
	return n, nil
}

// add makes a node and enters it under name.
func (n *node) add(name string, a vfs.NewAttr, fill func(m *node)) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if err := n.pin(); err != nil {
		return nil, err
	}
	m, err := n.fs.newNode(a)
	if err != nil {
		return nil, err
	}
	if fill != nil {
		fill(m)
	}
	n.fs.mu.Lock()
	n.place(name, m)
	n.fs.mu.Unlock()
	n.touched()
	return m, nil
}

// Create implements vfs.Inode.
func (n *node) Create(_ vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	return n.add(name, a, func(m *node) {
		m.content.Store(n.fs.newContent(m.ino))
	})
}

// Tmpfile implements vfs.TmpfileOps.
func (n *node) Tmpfile(_ vfs.Caller, a vfs.NewAttr) (vfs.Inode, error) {
	if n.kind != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	m, err := n.fs.newNode(a)
	if err != nil {
		return nil, err
	}
	m.content.Store(n.fs.newContent(m.ino))
	m.meta.attr.Nlink, m.names = 0, 0
	return m, nil
}

// Mkdir implements vfs.Inode.
func (n *node) Mkdir(_ vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	return n.add(name, a, nil)
}

// Mknod implements vfs.Inode.
func (n *node) Mknod(_ vfs.Caller, name string, a vfs.NewAttr, major, minor uint32) (vfs.Inode, error) {
	return n.add(name, a, func(m *node) {
		m.meta.attr.RdevMajor, m.meta.attr.RdevMinor = major, minor
	})
}

// Symlink implements vfs.Inode.
func (n *node) Symlink(_ vfs.Caller, name, target string, a vfs.NewAttr) (vfs.Inode, error) {
	if err := n.fs.reserve(len(target)); err != nil {
		return nil, err
	}
	i, err := n.add(name, a, func(m *node) {
		m.meta.target, m.meta.attr.Size = target, int64(len(target))
	})
	if err != nil {
		_ = n.fs.reserve(-len(target))
	}
	return i, err
}

// maxLinks is how many names a file may have, as on ext4.
const maxLinks = 65000

// Link implements vfs.Inode.
func (n *node) Link(_ vfs.Caller, name string, target vfs.Inode) error {
	m, err := n.fs.own(target)
	if err != nil {
		return err
	}
	if m.kind == unix.S_IFDIR {
		return unix.EPERM
	}
	if err := n.pin(); err != nil {
		return err
	}
	if err := m.pin(); err != nil {
		return err
	}
	if err := m.relink(1); err != nil {
		return err
	}
	n.fs.mu.Lock()
	n.place(name, m)
	n.fs.mu.Unlock()
	n.touched()
	return nil
}

// relink changes the link count of what is not a directory. EMLINK when there are too many, ENOENT
// when the last name and with it the content is gone already.
func (n *node) relink(by int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return unix.ENOENT
	}
	m, err := n.own()
	if err != nil {
		return err
	}
	if by > 0 && m.attr.Nlink >= maxLinks {
		return unix.EMLINK
	}
	if err := n.countNames(by); err != nil {
		return err
	}
	if by > 0 || m.attr.Nlink > 0 {
		m.attr.Nlink += uint32(by)
	}
	m.attr.Ctime = vfs.Now()
	n.settle()
	return nil
}

// countNames adds to the names of n; all but one are charged like files.
func (n *node) countNames(by int) error {
	switch {
	case by > 0 && n.names > 0:
		if err := n.fs.charge(); err != nil {
			return err
		}
	case by < 0 && n.names > 1:
		n.fs.uncharge()
	}
	n.names += int32(by)
	return nil
}

// Unlink implements vfs.Inode.
func (n *node) Unlink(_ vfs.Caller, name string, child vfs.Inode) error {
	m, err := n.fs.own(child)
	if err != nil {
		return err
	}
	if err := n.pin(); err != nil {
		return err
	}
	n.fs.mu.Lock()
	n.displace(name, m)
	n.fs.mu.Unlock()
	n.touched()
	return m.relink(-1)
}

// Rmdir implements vfs.Inode.
func (n *node) Rmdir(c vfs.Caller, name string, child vfs.Inode) error {
	m, err := n.fs.own(child)
	if err != nil {
		return err
	}
	if err := m.checkEmpty(c); err != nil {
		return err
	}
	if err := n.pin(); err != nil {
		return err
	}
	n.fs.mu.Lock()
	n.displace(name, m)
	n.fs.mu.Unlock()
	n.touched()
	return m.unmade()
}

// unmade notes that the directory n was removed.
func (n *node) unmade() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, err := n.own()
	if err != nil {
		return err
	}
	m.attr.Nlink, n.names = 0, 0
	n.settle()
	return nil
}

// Rename implements vfs.Inode.
func (n *node) Rename(
	c vfs.Caller, name string, child, newDir vfs.Inode, newName string, target vfs.Inode, exchange bool,
) error {
	m, err := n.fs.own(child)
	if err != nil {
		return err
	}
	to, err := n.fs.own(newDir)
	if err != nil {
		return err
	}
	pins := []*node{m, n, to}
	var t *node
	if target != nil {
		if t, err = n.fs.own(target); err != nil {
			return err
		}
		if exchange {
			pins = append(pins, t)
		} else if t.kind == unix.S_IFDIR {
			if err := t.checkEmpty(c); err != nil {
				return err
			}
		}
	}
	for _, p := range pins {
		if err := p.pin(); err != nil {
			return err
		}
	}
	n.move(name, m, to, newName, t, exchange)
	return n.renamed(m, to, t, exchange)
}

// move enters m, and with exchange the target, in their new places.
func (n *node) move(name string, m, to *node, newName string, target *node, exchange bool) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.displace(name, m)
	if target != nil {
		to.displace(newName, target)
	}
	to.place(newName, m)
	if exchange {
		n.place(name, target)
	}
}

// renamed brings times and link counts up to date.
func (n *node) renamed(m, to, target *node, exchange bool) error {
	n.touched()
	if to != n {
		to.touched()
	}
	m.moved()
	switch {
	case target == nil:
		return nil
	case exchange:
		target.moved()
		return nil
	case target.kind == unix.S_IFDIR:
		return target.unmade()
	}
	return target.relink(-1)
}

// moved notes that n has another name.
func (n *node) moved() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m, err := n.own(); err == nil {
		m.attr.Ctime = vfs.Now()
	}
}
