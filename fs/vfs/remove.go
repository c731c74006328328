package vfs

import "golang.org/x/sys/unix"

// UnlinkAt is unlinkat(2) without AT_REMOVEDIR.
func UnlinkAt(c Caller, a WalkArgs, name string) error {
	var w walker
	if err := w.begin(c, &a, name); err != nil {
		return err
	}
	switch w.last {
	case "", ".", "..":
		return unix.EISDIR
	}
	dir := w.cur
	dir.Dentry.state.dir.Lock()
	defer dir.Dentry.state.dir.Unlock()
	child, err := existing(c, dir.Dentry, w.last)
	if err != nil {
		return err
	}
	if w.slash {
		if child.kind == unix.S_IFDIR {
			return unix.EISDIR
		}
		return unix.ENOTDIR
	}
	if err := mayDelete(c, dir, child, false); err != nil {
		return err
	}
	if err := dir.Dentry.inode.Unlink(c, w.last, child.inode); err != nil {
		return err
	}
	dir.Dentry.uproot(w.last, child)
	dir.Dentry.notifyUnlinked(w.last, child)
	return nil
}

// RmdirAt is rmdir(2) and unlinkat(2) with AT_REMOVEDIR.
func RmdirAt(c Caller, a WalkArgs, name string) error {
	var w walker
	if err := w.begin(c, &a, name); err != nil {
		return err
	}
	switch w.last {
	case "":
		return unix.EBUSY
	case ".":
		return unix.EINVAL
	case "..":
		return unix.ENOTEMPTY
	}
	dir := w.cur
	dir.Dentry.state.dir.Lock()
	defer dir.Dentry.state.dir.Unlock()
	child, err := existing(c, dir.Dentry, w.last)
	if err != nil {
		return err
	}
	if err := mayDelete(c, dir, child, true); err != nil {
		return err
	}
	child.state.dir.Lock()
	defer child.state.dir.Unlock()
	if err := dir.Dentry.inode.Rmdir(c, w.last, child.inode); err != nil {
		return err
	}
	child.state.dead = true
	dir.Dentry.uproot(w.last, child)
	dir.Dentry.notifyUnlinked(w.last, child)
	return nil
}

// existing is lookupLocked without absences.
func existing(c Caller, dir *Dentry, name string) (*Dentry, error) {
	d, err := lookupLocked(c, dir, name)
	if err != nil {
		return nil, err
	}
	if d.inode == nil {
		return nil, unix.ENOENT
	}
	return d, nil
}

// uproot marks child's name as gone. Its place stays, for PathName.
func (d *Dentry) uproot(name string, child *Dentry) {
	d.forget(name, child)
	child.deleted.Store(true)
}
