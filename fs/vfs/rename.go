package vfs

import "golang.org/x/sys/unix"

// rename is one rename(2) under way, its directories locked.
type rename struct {
	c                Caller
	from, to         Path
	name, newName    string
	slash, newSlash  bool
	child, target    *Dentry // target is nil for an absence
	exchange, noRepl bool
}

// RenameAt is renameat2(2); flags are RENAME_NOREPLACE and RENAME_EXCHANGE.
func RenameAt(c Caller, a1 WalkArgs, old string, a2 WalkArgs, name string, flags uint32) error {
	const known = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE
	if flags&^known != 0 || flags == known {
		return unix.EINVAL
	}
	var w1, w2 walker
	if err := w1.begin(c, &a1, old); err != nil {
		return err
	}
	if err := w2.begin(c, &a2, name); err != nil {
		return err
	}
	r := rename{
		c: c, from: w1.cur, to: w2.cur, name: w1.last, newName: w2.last, slash: w1.slash, newSlash: w2.slash,
		exchange: flags&unix.RENAME_EXCHANGE != 0, noRepl: flags&unix.RENAME_NOREPLACE != 0,
	}
	if r.from.Mount != r.to.Mount {
		return unix.EXDEV
	}
	if special(r.name) {
		return unix.EBUSY
	}
	if special(r.newName) {
		if r.noRepl {
			return unix.EEXIST
		}
		return unix.EBUSY
	}
	defer lockTwo(r.from.Dentry, r.to.Dentry)()
	return r.run()
}

func special(name string) bool { return name == "" || name == "." || name == ".." }

// lockTwo locks two directories of one file system, ancestors first, and returns
// what unlocks them. Renames between directories exclude each other, so the
// tree holds still meanwhile.
func lockTwo(a, b *Dentry) (unlock func()) {
	if a == b {
		a.state.dir.Lock()
		return a.state.dir.Unlock
	}
	fs := a.fs
	fs.renameMu.Lock()
	first, second := a, b
	if a.isUnder(b) {
		first, second = b, a
	}
	first.state.dir.Lock()
	if second.state != first.state {
		second.state.dir.Lock()
	}
	return func() {
		if second.state != first.state {
			second.state.dir.Unlock()
		}
		first.state.dir.Unlock()
		fs.renameMu.Unlock()
	}
}

// run checks and carries out the rename with both directories locked.
func (r *rename) run() error {
	var err error
	if r.child, err = existing(r.c, r.from.Dentry, r.name); err != nil {
		return err
	}
	if r.target, err = lookupLocked(r.c, r.to.Dentry, r.newName); err != nil {
		return err
	}
	if r.target.inode == nil {
		r.target = nil
	}
	if err := r.checkTree(); err != nil {
		return err
	}
	if r.target != nil && r.child.state == r.target.state {
		return nil
	}
	if err := r.checkRights(); err != nil {
		return err
	}
	return r.move()
}

// checkTree checks existence, loops and trailing slashes.
func (r *rename) checkTree() error {
	switch {
	case r.target != nil && r.noRepl:
		return unix.EEXIST
	case r.target == nil && r.exchange:
		return unix.ENOENT
	case r.child.kind != unix.S_IFDIR && (r.slash || !r.exchange && r.newSlash):
		return unix.ENOTDIR
	case r.exchange && r.newSlash && r.target.kind != unix.S_IFDIR:
		return unix.ENOTDIR
	case r.to.Dentry.isUnder(r.child):
		return unix.EINVAL
	case r.target != nil && r.from.Dentry.isUnder(r.target):
		if r.exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	}
	return nil
}

// checkRights checks permissions, types and mounts.
func (r *rename) checkRights() error {
	if err := mayDelete(r.c, r.from, r.child, r.child.kind == unix.S_IFDIR); err != nil {
		return err
	}
	if r.target == nil {
		if err := mayCreate(r.c, r.to); err != nil {
			return err
		}
	} else {
		asDir := r.child.kind == unix.S_IFDIR
		if r.exchange {
			asDir = r.target.kind == unix.S_IFDIR
		}
		if err := mayDelete(r.c, r.to, r.target, asDir); err != nil {
			return err
		}
	}
	if r.from.Dentry == r.to.Dentry {
		return nil
	}
	// A directory's ".." changes with its parent.
	if r.child.kind == unix.S_IFDIR {
		if err := permit(r.c, r.child, MayWrite); err != nil {
			return err
		}
	}
	if r.exchange && r.target.kind == unix.S_IFDIR {
		return permit(r.c, r.target, MayWrite)
	}
	return nil
}

func (r *rename) move() error {
	from, to := r.from.Dentry, r.to.Dentry
	var target Inode
	if r.target != nil {
		target = r.target.inode
		if !r.exchange && r.target.kind == unix.S_IFDIR {
			r.target.state.dir.Lock()
			defer r.target.state.dir.Unlock()
		}
	}
	if err := from.inode.Rename(r.c, r.name, r.child.inode, to.inode, r.newName, target, r.exchange); err != nil {
		return err
	}
	from.fs.sys.renames.Add(1)
	defer from.fs.sys.renames.Add(1)
	from.forget(r.name, r.child)
	if r.target != nil {
		to.forget(r.newName, r.target)
		if r.exchange {
			r.target.place.Store(&place{parent: from, name: r.name})
			from.add(r.name, r.target)
		} else {
			r.target.deleted.Store(true)
			r.target.state.dead = r.target.kind == unix.S_IFDIR
		}
	}
	r.child.place.Store(&place{parent: to, name: r.newName})
	to.add(r.newName, r.child)
	if r.exchange {
		notifyMoved(r.child, from, r.name, to, r.newName, nil)
		notifyMoved(r.target, to, r.newName, from, r.name, nil)
	} else {
		notifyMoved(r.child, from, r.name, to, r.newName, r.target)
	}
	return nil
}
