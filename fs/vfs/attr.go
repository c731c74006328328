package vfs

import (
	"math"

	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// ErrFileTooBig is the EFBIG of RLIMIT_FSIZE: the caller gets SIGXFSZ too.
var ErrFileTooBig error = sizeLimitError{}

type sizeLimitError struct{}

func (sizeLimitError) Error() string { return "file size limit exceeded" }

// Unwrap makes it an EFBIG.
func (sizeLimitError) Unwrap() error { return unix.EFBIG }

// Stat returns the attributes of the file at p, with its device.
func Stat(_ Caller, p Path) (Attr, error) {
	attr, err := p.Dentry.inode.Attr()
	if err != nil {
		return attr, err
	}
	p.fill(&attr)
	return attr, nil
}

// fill adds what the mount knows, and its device to attributes that have none.
func (p Path) fill(attr *Attr) {
	if attr.Major == 0 && attr.Minor == 0 {
		attr.Minor = p.Mount.fs.minor
	}
	attr.MountID, attr.MountRoot = p.Mount.id, p.Dentry == p.Mount.root
}

// Statfs describes the file system that p is on, with the mount's flags.
func Statfs(_ Caller, p Path) (unix.Statfs_t, error) {
	s, err := p.Dentry.inode.Statfs()
	if err != nil {
		return s, err
	}
	const stValid = 0x20
	s.Flags |= stValid
	for _, f := range [...]struct {
		flag MountFlags
		bit  int64
	}{
		{ReadOnly, unix.ST_RDONLY}, {NoSuid, unix.ST_NOSUID}, {NoDev, unix.ST_NODEV},
		{NoExec, unix.ST_NOEXEC}, {NoAtime, unix.ST_NOATIME}, {NoSymFollow, 0x2000},
	} {
		if p.Mount.Flags()&f.flag != 0 {
			s.Flags |= f.bit
		}
	}
	return s, nil
}

// ChangeMode is chmod(2): mode is 07777 bits. EPERM for those who do not own the file.
func ChangeMode(c Caller, p Path, mode uint32) error {
	if err := p.Mount.writable(); err != nil {
		return err
	}
	d := p.Dentry
	if d.kind == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	attr, err := d.inode.Attr()
	if err != nil {
		return err
	}
	creds := c.Creds()
	if attr.fixed() || !owns(creds, &attr) {
		return unix.EPERM
	}
	mode &= modeBits
	if mode&unix.S_ISGID != 0 && !creds.InGroup(attr.GID) && !capable(creds, &attr, unix.CAP_FSETID) {
		mode &^= unix.S_ISGID
	}
	err = d.setAttr(c, SetAttr{Set: SetMode, Mode: mode})
	if mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		d.fs.sys.privileged.Add(1)
	}
	return err
}

// ChangeOwner is chown(2); cred.NoID leaves an id alone. What is not a directory loses its
// set-id bits and file capabilities.
func ChangeOwner(c Caller, p Path, uid, gid uint32) error {
	if err := p.Mount.writable(); err != nil {
		return err
	}
	d := p.Dentry
	attr, err := d.inode.Attr()
	if err != nil {
		return err
	}
	if attr.fixed() {
		return unix.EPERM
	}
	creds := c.Creds()
	mine := creds.FSUID == attr.UID
	var s SetAttr
	if uid != cred.NoID {
		if !(mine && cred.UID(uid) == attr.UID) && !capable(creds, &attr, unix.CAP_CHOWN) {
			return unix.EPERM
		}
		s.Set, s.UID = s.Set|SetUID, cred.UID(uid)
	}
	if gid != cred.NoID {
		inGroup := creds.InGroup(cred.GID(gid)) || cred.GID(gid) == attr.GID
		if !(mine && inGroup) && !capable(creds, &attr, unix.CAP_CHOWN) {
			return unix.EPERM
		}
		s.Set, s.GID = s.Set|SetGID, cred.GID(gid)
	}
	if d.kind != unix.S_IFDIR {
		if mode := withoutSetID(creds, &attr); mode != attr.Mode&modeBits {
			s.Set, s.Mode = s.Set|SetMode, mode
		}
		if err := dropFileCaps(c, d); err != nil {
			return err
		}
	}
	return d.setAttr(c, s)
}

// withoutSetID returns the permission bits that stay when a file changes hands or content.
func withoutSetID(creds *cred.Credentials, attr *Attr) uint32 {
	mode := attr.Mode & modeBits &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 ||
		!creds.InGroup(attr.GID) && !capable(creds, attr, unix.CAP_FSETID) {
		mode &^= unix.S_ISGID
	}
	return mode
}

const capsXattr = "security.capability"

// dropFileCaps removes file capabilities, if there are any.
func dropFileCaps(c Caller, d *Dentry) error {
	if _, err := d.inode.GetXattr(c, capsXattr); err != nil {
		return nil
	}
	return d.inode.RemoveXattr(c, capsXattr)
}

// dropPrivileges clears set-id bits and file capabilities before a regular file's content
// changes. The file's write lock is held.
func dropPrivileges(c Caller, d *Dentry) error {
	// Read before the look: whoever adds a bit meanwhile counts after that.
	seen := d.fs.sys.privileged.Load()
	if d.state.plain.Load() == seen {
		return nil
	}
	attr, err := d.inode.Attr()
	if err != nil {
		return err
	}
	bits := attr.Mode&(unix.S_ISUID|unix.S_ISGID) != 0
	if bits {
		creds := c.Creds()
		if mode := withoutSetID(creds, &attr); mode != attr.Mode&modeBits && !capable(creds, &attr, unix.CAP_FSETID) {
			if err := d.inode.SetAttr(c, SetAttr{Set: SetMode, Mode: mode}); err != nil {
				return err
			}
		}
	}
	if err := dropFileCaps(c, d); err != nil {
		return err
	}
	if !bits {
		d.state.plain.Store(seen)
	}
	return nil
}

// Nanoseconds with a meaning of their own in SetTimes.
const (
	TimeNow  = unix.UTIME_NOW
	TimeOmit = unix.UTIME_OMIT
)

// SetTimes is utimensat(2): access and modification time, TimeNow and TimeOmit in Nsec
// being special; nil means now for both. EPERM, or EACCES for now.
func SetTimes(c Caller, p Path, times *[2]unix.Timespec) error {
	now := Now()
	t := [2]unix.Timespec{{Nsec: TimeNow}, {Nsec: TimeNow}}
	if times != nil {
		t = *times
	}
	s := SetAttr{}
	allNow := true
	for i, field := range [2]uint32{SetAtime, SetMtime} {
		switch {
		case t[i].Nsec == TimeOmit:
			allNow = false
			continue
		case t[i].Nsec == TimeNow:
			t[i] = now
		case t[i].Nsec < 0 || t[i].Nsec > 999_999_999:
			return unix.EINVAL
		default:
			allNow = false
		}
		s.Set |= field
	}
	s.Atime, s.Mtime = t[0], t[1]
	if s.Set == 0 {
		return nil
	}
	if err := p.Mount.writable(); err != nil {
		return err
	}
	attr, err := p.Dentry.inode.Attr()
	if err != nil {
		return err
	}
	if attr.Flags&FlagImmutable != 0 || !allNow && attr.fixed() {
		return unix.EPERM
	}
	if !owns(c.Creds(), &attr) {
		if !allNow {
			return unix.EPERM
		}
		if err := permit(c, p.Dentry, MayWrite); err != nil {
			return err
		}
	}
	return p.Dentry.setAttr(c, s)
}

// Truncate is truncate(2) for a file that was found: EISDIR and EINVAL by type, ErrFileTooBig above RLIMIT_FSIZE.
func Truncate(c Caller, p Path, size int64) error {
	d := p.Dentry
	switch {
	case size < 0:
		return unix.EINVAL
	case d.kind == unix.S_IFDIR:
		return unix.EISDIR
	case d.kind != unix.S_IFREG:
		return unix.EINVAL
	}
	if err := p.Mount.writable(); err != nil {
		return err
	}
	if err := permit(c, d, MayWrite); err != nil {
		return err
	}
	if err := d.state.addWriter(); err != nil {
		return err
	}
	defer d.state.dropWriter()
	if err := d.breakLeases(c, true, false); err != nil {
		return err
	}
	return truncate(c, p, size)
}

// truncate sets the size of a regular file, permissions being checked.
func truncate(c Caller, p Path, size int64) error {
	d := p.Dentry
	if d.flags()&FlagAppend != 0 {
		return unix.EPERM
	}
	d.state.write.Lock()
	defer d.state.write.Unlock()
	if limit := c.FileSizeLimit(); limit < math.MaxInt64 && size > int64(limit) {
		attr, err := d.inode.Attr()
		if err != nil {
			return err
		}
		if size > attr.Size {
			return ErrFileTooBig
		}
	}
	if err := dropPrivileges(c, d); err != nil {
		return err
	}
	now := Now()
	return d.setAttr(c, SetAttr{Set: SetSize | SetMtime, Size: size, Mtime: now})
}
