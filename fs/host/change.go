package host

import (
	"cmp"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// renameAt falls back to a plain rename where the host's file system lacks the flag.
func renameAt(oldFD int, oldName string, newFD int, newName string, flags uint) error {
	err := unix.Renameat2(oldFD, oldName, newFD, newName, flags)
	if err == unix.EINVAL && flags == unix.RENAME_NOREPLACE {
		err = unix.Renameat2(oldFD, oldName, newFD, newName, 0)
	}
	return err
}

// within calls fn with the handle of directory n, for a change of what is in it.
func (n *inode) within(name string, fn func(dir *handle) error) error {
	if n.kind() != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	if n.tree.cfg.ReadOnly {
		return unix.EROFS
	}
	if err := checkName(name); err != nil {
		return err
	}
	dir, err := n.tree.acquire(n)
	if err != nil {
		return err
	}
	defer n.tree.release(dir)
	return fn(dir)
}

// born makes the inode of what was just made under name in n, whose handle is dir, with owner and mode
// as wanted as far as the host permits. fd is a descriptor of it.
func (n *inode) born(dir *handle, fd int, name string, a vfs.NewAttr) (vfs.Inode, *inode, error) {
	var st unix.Statx_t
	if err := n.tree.vet(dir, fd, &st); err != nil {
		return nil, nil, err
	}
	n.tree.learn(deviceOf(&st))
	if uint32(st.Mode)&unix.S_IFMT != a.Mode&unix.S_IFMT {
		return nil, nil, unix.ESTALE
	}
	i, m := n.tree.newInode(n, name, &st)
	changed := false
	if cred.UID(st.Uid) != a.UID || cred.GID(st.Gid) != a.GID {
		// Where the sentry may not give files away, the host's choice stands.
		changed = unix.Fchownat(fd, "", int(a.UID), int(a.GID), unix.AT_EMPTY_PATH) == nil
	}
	if a.Mode&unix.S_IFMT != unix.S_IFLNK && (changed || (uint32(st.Mode)^a.Mode)&0o7777 != 0) {
		changed = true
		if err := m.chmodBy(fd, a.Mode&0o7777); err != nil && err != unix.EPERM {
			return nil, nil, err
		}
	}
	if changed && statAt(fd, "", &st) == nil {
		m.setAttr(&st)
	}
	return i, m, nil
}

// made is born for what the host gives no descriptor of when it is made.
func (n *inode) made(dir *handle, name string, a vfs.NewAttr) (vfs.Inode, error) {
	fd, err := openAt(dir.fd, name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	i, _, err := n.born(dir, fd, name, a)
	return i, err
}

// Create implements vfs.Inode.
func (n *inode) Create(_ vfs.Caller, name string, a vfs.NewAttr) (made vfs.Inode, err error) {
	err = n.within(name, func(dir *handle) error {
		file, err := n.tree.openFD(dir.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, a.Mode&0o777)
		if err != nil {
			return err
		}
		i, m, err := n.born(dir, file, name, a)
		if made = i; err == nil && a.Mode&0o600 != 0o600 {
			n.tree.park(m, file)
			return nil
		}
		closeFD(file)
		return err
	})
	return made, err
}

// Mkdir implements vfs.Inode.
func (n *inode) Mkdir(_ vfs.Caller, name string, a vfs.NewAttr) (made vfs.Inode, err error) {
	err = n.within(name, func(dir *handle) error {
		if err := unix.Mkdirat(dir.fd, name, a.Mode&0o7777); err != nil {
			return err
		}
		made, err = n.made(dir, name, a)
		return err
	})
	return made, err
}

// Mknod implements vfs.Inode. Devices are EPERM.
func (n *inode) Mknod(_ vfs.Caller, name string, a vfs.NewAttr, _, _ uint32) (made vfs.Inode, err error) {
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return nil, unix.EPERM
	}
	err = n.within(name, func(dir *handle) error {
		if err := unix.Mknodat(dir.fd, name, a.Mode&(unix.S_IFMT|0o7777), 0); err != nil {
			return err
		}
		made, err = n.made(dir, name, a)
		return err
	})
	return made, err
}

// Symlink implements vfs.Inode.
func (n *inode) Symlink(_ vfs.Caller, name, target string, a vfs.NewAttr) (made vfs.Inode, err error) {
	a.Mode = unix.S_IFLNK | 0o777
	err = n.within(name, func(dir *handle) error {
		if err := unix.Symlinkat(target, dir.fd, name); err != nil {
			return err
		}
		made, err = n.made(dir, name, a)
		return err
	})
	return made, err
}

// Link implements vfs.Inode.
func (n *inode) Link(_ vfs.Caller, name string, target vfs.Inode) error {
	m, err := n.tree.own(target)
	if err != nil {
		return err
	}
	if err := n.tree.nameable(m, nil); err != nil {
		return err
	}
	return n.within(name, func(dir *handle) error {
		from, old, err := m.at()
		if err != nil {
			return err
		}
		defer n.tree.release(from)
		return unix.Linkat(from.fd, old, dir.fd, name, 0)
	})
}

// Unlink implements vfs.Inode.
func (n *inode) Unlink(_ vfs.Caller, name string, child vfs.Inode) error {
	return n.unlink(name, child, 0)
}

// Rmdir implements vfs.Inode.
func (n *inode) Rmdir(_ vfs.Caller, name string, child vfs.Inode) error {
	return n.unlink(name, child, unix.AT_REMOVEDIR)
}

func (n *inode) unlink(name string, child vfs.Inode, flags int) error {
	return n.within(name, func(dir *handle) error {
		err := dir.movable(name)
		if err == nil {
			err = unix.Unlinkat(dir.fd, name, flags)
		}
		if err != nil {
			return err
		}
		n.removed(name, child)
		return nil
	})
}

// removed makes child know that it has no name any more, if that was the one it went by.
func (n *inode) removed(name string, child vfs.Inode) {
	m, err := n.tree.own(child)
	if err != nil {
		return
	}
	t := n.tree
	fd := -1
	t.mu.Lock()
	if m.parent == n && m.name == name {
		m.parent = nil
		if h := m.open; h != nil && m.kind() == unix.S_IFDIR && h.refs == 0 {
			fd = h.fd
			t.forget(h)
		}
	}
	t.mu.Unlock()
	if fd >= 0 {
		closeFD(fd)
	}
}

// Rename implements vfs.Inode.
func (n *inode) Rename(
	_ vfs.Caller, name string, child, newDir vfs.Inode, newName string, target vfs.Inode, exchange bool,
) error {
	if _, ok := child.(*hidden); ok {
		return unix.EBUSY
	}
	t := n.tree
	to, err := t.own(newDir)
	if err != nil {
		return err
	}
	m, err := t.own(child)
	if err != nil {
		return err
	}
	if err := t.nameable(m, target); err != nil {
		return err
	}
	flags := uint(0)
	switch {
	case exchange:
		flags = unix.RENAME_EXCHANGE
	case target == nil:
		flags = unix.RENAME_NOREPLACE
	}
	return n.within(name, func(dir *handle) error {
		return to.within(newName, func(toDir *handle) error {
			if err := cmp.Or(dir.movable(name), toDir.movable(newName)); err != nil {
				return err
			}
			t.naming.Lock()
			defer t.naming.Unlock()
			if err := renameAt(dir.fd, name, toDir.fd, newName, flags); err != nil {
				return err
			}
			n.renamed(name, m, to, newName, target, exchange)
			return nil
		})
	})
}

// renamed notes what a rename did.
func (n *inode) renamed(name string, m, to *inode, newName string, target vfs.Inode, exchange bool) {
	if target != nil && !exchange {
		to.removed(newName, target)
	}
	t := n.tree
	t.mu.Lock()
	defer t.mu.Unlock()
	m.parent, m.name = to, newName
	if exchange {
		if o, err := t.own(target); err == nil {
			o.parent, o.name = n, name
		}
	}
}
