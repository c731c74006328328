package vfs

import "golang.org/x/sys/unix"

// lookup returns dir's entry name, which may be a known absence.
func lookup(c Caller, dir *Dentry, name string) (*Dentry, error) {
	d := dir.find(name)
	if d != nil && (dir.reval == nil || dir.reval.Revalidate(c, name, d.inode)) {
		return d, nil
	}
	dir.state.dir.RLock()
	defer dir.state.dir.RUnlock()
	return lookupSlow(c, dir, name, d)
}

// lookupLocked is lookup with dir's lock held, shared or not.
func lookupLocked(c Caller, dir *Dentry, name string) (*Dentry, error) {
	return lookupSlow(c, dir, name, nil)
}

// lookupSlow asks the file system for what is not cached. stale is what was found
// in the cache and not valid. dir's lock is held.
func lookupSlow(c Caller, dir *Dentry, name string, stale *Dentry) (*Dentry, error) {
	if len(name) > NameMax {
		return nil, unix.ENAMETOOLONG
	}
	if d := dir.find(name); d != stale && d != nil {
		if dir.reval == nil || dir.reval.Revalidate(c, name, d.inode) {
			return d, nil
		}
		stale = d
	}
	if stale != nil && stale.mounts.Load() != 0 {
		return stale, nil // a name must not vanish under a mount
	}
	if dir.state.dead {
		return nil, unix.ENOENT
	}
	inode, err := dir.inode.Lookup(c, name)
	if err == unix.ENOENT {
		inode, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if stale != nil {
		if stale.inode == inode && !stale.deleted.Load() {
			return dir.add(name, stale), nil
		}
		dir.forget(name, stale)
		if inode == nil {
			stale.deleted.Store(true)
		}
	}
	d, err := newDentry(dir.fs, dir, name, inode)
	if err != nil {
		return nil, err
	}
	return dir.add(name, d), nil
}
