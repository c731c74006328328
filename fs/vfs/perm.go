package vfs

import (
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// What PermissionCheck is asked for, as in access(2).
const (
	MayExec  = 1
	MayWrite = 2
	MayRead  = 4
)

// PermissionCheck tells whether c may do what want says with an inode that has the attributes: the
// owner's, the group's or the others' bits, overridden by CAP_DAC_OVERRIDE
// and CAP_DAC_READ_SEARCH. EACCES if not.
func PermissionCheck(c Caller, attr *Attr, want uint32) error {
	return checkBits(c.Creds(), attr, want)
}

func checkBits(creds *cred.Credentials, attr *Attr, want uint32) error {
	bits := attr.Mode
	switch {
	case creds.FSUID == attr.UID:
		bits >>= 6
	case creds.InGroup(attr.GID):
		bits >>= 3
	}
	if bits&want == want {
		return nil
	}
	if attr.IsDir() {
		if want&MayWrite == 0 && capable(creds, attr, unix.CAP_DAC_READ_SEARCH) {
			return nil
		}
		if capable(creds, attr, unix.CAP_DAC_OVERRIDE) {
			return nil
		}
		return unix.EACCES
	}
	if want == MayRead && capable(creds, attr, unix.CAP_DAC_READ_SEARCH) {
		return nil
	}
	if (want&MayExec == 0 || attr.Mode&0o111 != 0) && capable(creds, attr, unix.CAP_DAC_OVERRIDE) {
		return nil
	}
	return unix.EACCES
}

// capable tells whether creds have a capability over an inode: one held in a user
// namespace says nothing about inodes whose owners have no ids there.
func capable(creds *cred.Credentials, attr *Attr, capability int) bool {
	return creds.Has(capability) && creds.UserNS.Has(attr.UID, attr.GID)
}

// searchesAll tells whether creds may search every directory, whoever owns it.
func searchesAll(creds *cred.Credentials) bool {
	const both = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	return creds.Effective&both != 0 && creds.UserNS.Initial()
}

// owns tells whether creds may do what only a file's owner may.
func owns(creds *cred.Credentials, attr *Attr) bool {
	if creds.FSUID == attr.UID {
		return true
	}
	_, known := creds.UserNS.FromUID(attr.UID)
	return known && creds.Has(unix.CAP_FOWNER)
}

// permit checks want on d, which is not an absence.
func permit(c Caller, d *Dentry, want uint32) error {
	if d.perm != nil {
		return d.perm.Permission(c, want)
	}
	attr, err := d.inode.Attr()
	if err != nil {
		return err
	}
	if want&MayWrite != 0 && attr.Flags&FlagImmutable != 0 {
		return unix.EPERM
	}
	return checkBits(c.Creds(), &attr, want)
}

// Access is access(2) for an existing file: want is made of MayRead, MayWrite and
// MayExec, or 0. EACCES, or EROFS for writing to a read-only mount.
func Access(c Caller, p Path, want uint32) error {
	flags := p.Mount.Flags()
	d := p.Dentry
	if want&MayExec != 0 && d.kind == unix.S_IFREG && flags&NoExec != 0 {
		return unix.EACCES
	}
	if want&MayWrite != 0 && p.Mount.writable() != nil {
		switch d.kind {
		case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
			return unix.EROFS
		}
	}
	if want == 0 {
		return nil
	}
	return permit(c, d, want)
}

// mayCreate checks that a name may be made in dir, whose lock is held.
func mayCreate(c Caller, dir Path) error {
	if dir.Dentry.state.dead {
		return unix.ENOENT
	}
	if err := dir.Mount.writable(); err != nil {
		return err
	}
	return permit(c, dir.Dentry, MayWrite|MayExec)
}

// mayDelete checks that child may be taken out of dir, whose lock is held: EPERM by
// another's file in a sticky directory and by what flags keep, ENOTDIR and EISDIR by type, EBUSY on a mount point.
func mayDelete(c Caller, dir Path, child *Dentry, wantDir bool) error {
	if err := dir.Mount.writable(); err != nil {
		return err
	}
	if err := permit(c, dir.Dentry, MayWrite|MayExec); err != nil {
		return err
	}
	if dir.Dentry.flags()&FlagAppend != 0 || child.fixed() {
		return unix.EPERM
	}
	if err := sticky(c, dir.Dentry, child); err != nil {
		return err
	}
	isDir := child.kind == unix.S_IFDIR
	switch {
	case wantDir && !isDir:
		return unix.ENOTDIR
	case !wantDir && isDir:
		return unix.EISDIR
	case child.mounts.Load() != 0:
		return unix.EBUSY
	}
	return nil
}

// sticky is EPERM when dir is sticky and neither it nor child is the caller's.
func sticky(c Caller, dir, child *Dentry) error {
	creds := c.Creds()
	if creds.Has(unix.CAP_FOWNER) && searchesAll(creds) {
		return nil
	}
	dirAttr, err := dir.inode.Attr()
	if err != nil || dirAttr.Mode&unix.S_ISVTX == 0 || dirAttr.UID == creds.FSUID {
		return err
	}
	attr, err := child.inode.Attr()
	if err != nil {
		return err
	}
	if !owns(creds, &attr) {
		return unix.EPERM
	}
	return nil
}

// newAttr is what a new inode in dir begins with: the caller's ids, or the
// directory's group when that is set-gid; mode has the type, umask is applied.
func newAttr(c Caller, dir *Dentry, mode, umask uint32) (NewAttr, error) {
	creds := c.Creds()
	a := NewAttr{Mode: mode &^ (umask & 0o777), UID: creds.FSUID, GID: creds.FSGID}
	attr, err := dir.inode.Attr()
	if err != nil {
		return a, err
	}
	a.Flags = attr.Flags & inheritedFlags
	if attr.Mode&unix.S_ISGID != 0 {
		a.GID = attr.GID
		if mode&unix.S_IFMT == unix.S_IFDIR {
			a.Mode |= unix.S_ISGID
		} else if a.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP &&
			!creds.InGroup(a.GID) && !capable(creds, &attr, unix.CAP_FSETID) {
			a.Mode &^= unix.S_ISGID
		}
	}
	return a, nil
}
