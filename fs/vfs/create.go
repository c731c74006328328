package vfs

import (
	"golang.org/x/sys/unix"
)

// modeBits are the permission bits of a mode.
const modeBits = 0o7777

// makeAt makes the entry that name stands for with fn, which checks the rights and gets
// the directory, locked, and the last component. trailing allows slashes behind it.
func makeAt(c Caller, a WalkArgs, name string, trailing bool, fn func(dir Path, last string) (Inode, error)) (Path, error) {
	var w walker
	if err := w.begin(c, &a, name); err != nil {
		return Path{}, err
	}
	switch w.last {
	case "", ".", "..":
		return Path{}, unix.EEXIST
	}
	dir := w.cur
	st := dir.Dentry.state
	st.dir.Lock()
	defer st.dir.Unlock()
	d, err := lookupLocked(c, dir.Dentry, w.last)
	if err != nil {
		return Path{}, err
	}
	if d.inode != nil {
		return Path{}, unix.EEXIST
	}
	if w.slash && !trailing {
		return Path{}, unix.ENOENT
	}
	inode, err := fn(dir, w.last)
	if err != nil {
		return Path{}, err
	}
	return plant(dir, w.last, inode)
}

// plant makes the name of a new inode known. dir's lock is held.
func plant(dir Path, name string, inode Inode) (Path, error) {
	d, err := newDentry(dir.Dentry.fs, dir.Dentry, name, inode)
	if err != nil {
		return Path{}, err
	}
	d = dir.Dentry.add(name, d)
	dir.Dentry.notifyEntry(unix.IN_CREATE, name, d, 0)
	return Path{dir.Mount, d}, nil
}

// MkdirAt is mkdirat(2).
func MkdirAt(c Caller, a WalkArgs, name string, mode, umask uint32) error {
	_, err := makeAt(c, a, name, true, func(dir Path, last string) (Inode, error) {
		if err := mayCreate(c, dir); err != nil {
			return nil, err
		}
		at, err := newAttr(c, dir.Dentry, mode&(0o777|unix.S_ISVTX)|unix.S_IFDIR, umask)
		if err != nil {
			return nil, err
		}
		return dir.Dentry.inode.Mkdir(c, last, at)
	})
	return err
}

// MknodAt is mknodat(2): mode has the type, 0 meaning a regular file. EPERM for
// devices without CAP_MKNOD, and for directories.
func MknodAt(c Caller, a WalkArgs, name string, mode, umask, major, minor uint32) error {
	_, err := Mknod(c, a, name, mode, umask, major, minor)
	return err
}

// Mknod is MknodAt that returns what it made, for binding sockets.
func Mknod(c Caller, a WalkArgs, name string, mode, umask, major, minor uint32) (Path, error) {
	kind := mode & unix.S_IFMT
	switch kind {
	case 0:
		kind = unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	case unix.S_IFDIR:
		return Path{}, unix.EPERM
	default:
		return Path{}, unix.EINVAL
	}
	return makeAt(c, a, name, false, func(dir Path, last string) (Inode, error) {
		if err := mayCreate(c, dir); err != nil {
			return nil, err
		}
		isDevice := kind == unix.S_IFCHR || kind == unix.S_IFBLK
		creds := c.Creds()
		if isDevice && !creds.HasGlobal(unix.CAP_MKNOD) {
			return nil, unix.EPERM
		}
		at, err := newAttr(c, dir.Dentry, mode&modeBits|kind, umask)
		if err != nil {
			return nil, err
		}
		if kind == unix.S_IFREG {
			return dir.Dentry.inode.Create(c, last, at)
		}
		if !isDevice {
			major, minor = 0, 0
		}
		return dir.Dentry.inode.Mknod(c, last, at, major, minor)
	})
}

// SymlinkAt is symlinkat(2).
func SymlinkAt(c Caller, target string, a WalkArgs, name string) error {
	if target == "" {
		return unix.ENOENT
	}
	if len(target) >= PathMax {
		return unix.ENAMETOOLONG
	}
	_, err := makeAt(c, a, name, false, func(dir Path, last string) (Inode, error) {
		if err := mayCreate(c, dir); err != nil {
			return nil, err
		}
		at, err := newAttr(c, dir.Dentry, unix.S_IFLNK|0o777, 0)
		if err != nil {
			return nil, err
		}
		return dir.Dentry.inode.Symlink(c, last, target, at)
	})
	return err
}

// LinkAt is linkat(2) for a file that was found: EXDEV across mounts, EPERM for directories and for others'
// files that the caller could not open for writing (the protected_hardlinks of
// proc_sys_fs(5)), ENOENT for a file whose last name is gone.
func LinkAt(c Caller, old Path, a WalkArgs, name string) error {
	_, err := makeAt(c, a, name, false, func(dir Path, last string) (Inode, error) {
		from := old.Dentry
		if old.Mount != dir.Mount {
			return nil, unix.EXDEV
		}
		attr, err := from.inode.Attr()
		if err != nil {
			return nil, err
		}
		if err := mayLink(c, from, &attr); err != nil {
			return nil, err
		}
		if err := mayCreate(c, dir); err != nil {
			return nil, err
		}
		if from.kind == unix.S_IFDIR || attr.fixed() {
			return nil, unix.EPERM
		}
		if attr.Nlink == 0 && !from.state.linkable.Load() {
			return nil, unix.ENOENT
		}
		if err := dir.Dentry.inode.Link(c, last, from.inode); err != nil {
			return nil, err
		}
		from.state.linkable.Store(false)
		from.notifySelf(unix.IN_ATTRIB)
		return from.inode, nil
	})
	return err
}

// mayLink is EPERM for files of others which it would be dangerous to pin: set-id programs, what is
// not a regular file, and what the caller may not read and write.
func mayLink(c Caller, d *Dentry, attr *Attr) error {
	if owns(c.Creds(), attr) {
		return nil
	}
	const setGroup = unix.S_ISGID | unix.S_IXGRP
	if d.kind != unix.S_IFREG || attr.Mode&unix.S_ISUID != 0 || attr.Mode&setGroup == setGroup ||
		permit(c, d, MayRead|MayWrite) != nil {
		return unix.EPERM
	}
	return nil
}

// ReadlinkAt is readlinkat(2): the text of a symbolic link. EINVAL for other
// files; with an empty name ENOENT for them.
func ReadlinkAt(c Caller, a WalkArgs, name string) (string, error) {
	a.NoFollow = true
	p, err := Walk(c, a, name)
	if err != nil {
		return "", err
	}
	if p.Dentry.kind != unix.S_IFLNK {
		if name == "" {
			return "", unix.ENOENT
		}
		return "", unix.EINVAL
	}
	return p.Dentry.inode.Readlink(c)
}
