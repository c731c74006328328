package vfs

import "golang.org/x/sys/unix"

// Flags of an inode (FS_IOC_SETFLAGS in ioctl_iflags(2)), those that a file system in memory keeps.
const (
	FlagImmutable = 0x10 // nobody changes the file or what is in the directory
	FlagAppend    = 0x20 // a file is written to at its end only; a directory keeps what is in it
	FlagNoDump    = 0x40 // kept for backup programs
	FlagNoAtime   = 0x80 // reading leaves the access time alone

	fileFlags      = FlagImmutable | FlagAppend | FlagNoDump | FlagNoAtime
	inheritedFlags = FlagNoDump | FlagNoAtime
)

// FlagKeeper is an inode whose SetAttr takes SetFlags, for a regular file or a directory. InodeFlags are those of Attr, at less cost.
type FlagKeeper interface{ InodeFlags() uint32 }

// fixed tells whether flags forbid to change what the file is, its name too.
func (a *Attr) fixed() bool { return a.Flags&(FlagImmutable|FlagAppend) != 0 }

func (d *Dentry) fixed() bool { return d.flags()&(FlagImmutable|FlagAppend) != 0 }

// checkFlags is ENOTTY for files that have no flags, EBADF for those that were not opened.
func (f *File) checkFlags() error {
	if f.IsPath() {
		return unix.EBADF
	}
	_, keeps := f.path.Dentry.inode.(FlagKeeper)
	if !keeps || f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR {
		return unix.ENOTTY
	}
	return nil
}

// InodeFlags is FS_IOC_GETFLAGS; ENOTTY where there are none.
func (f *File) InodeFlags() (uint32, error) {
	return f.path.Dentry.flags(), f.checkFlags()
}

// SetInodeFlags is FS_IOC_SETFLAGS: EPERM for those who do not own the file, or may not change what it protects it from,
// EOPNOTSUPP for other flags, EROFS.
func (f *File) SetInodeFlags(c Caller, flags uint32) error {
	if err := f.checkFlags(); err != nil {
		return err
	}
	if err := f.path.Mount.writable(); err != nil {
		return err
	}
	d := f.path.Dentry
	attr, err := d.inode.Attr()
	creds := c.Creds()
	switch {
	case err != nil:
		return err
	case !owns(creds, &attr):
		return unix.EPERM
	case (flags^attr.Flags)&(FlagImmutable|FlagAppend) != 0 && !creds.HasGlobal(unix.CAP_LINUX_IMMUTABLE):
		return unix.EPERM
	case flags&^fileFlags != 0:
		return unix.EOPNOTSUPP
	}
	return d.inode.SetAttr(c, SetAttr{Set: SetFlags, Flags: flags})
}

// WriteHint is F_GET_RW_HINT: how long what is written to the inode will stay, as somebody said (RWH_WRITE_LIFE_*).
func (f *File) WriteHint() uint32 { return f.state.hint.Load() }

// SetWriteHint is F_SET_RW_HINT: EPERM for those who do not own the file, EINVAL for what is no hint.
func (f *File) SetWriteHint(c Caller, hint uint64) error {
	attr, err := f.Attr()
	switch {
	case err != nil:
		return err
	case !owns(c.Creds(), &attr):
		return unix.EPERM
	case hint > 5: // RWH_WRITE_LIFE_EXTREME
		return unix.EINVAL
	}
	f.state.hint.Store(uint32(hint))
	return nil
}

// flags are those of the inode, none where it keeps none.
func (d *Dentry) flags() uint32 {
	if k, ok := d.inode.(FlagKeeper); ok {
		return k.InodeFlags()
	}
	return 0
}

// AppendOnly tells whether FlagAppend binds who writes to the file.
func (f *File) AppendOnly() bool { return f.path.Dentry.flags()&FlagAppend != 0 }

// Immutable tells whether FlagImmutable binds who asks for more than writes through a file that was open before.
func (f *File) Immutable() bool { return f.path.Dentry.flags()&FlagImmutable != 0 }

// mayOpenFlagged checks how a file for appending only may be opened.
func (d *Dentry) mayOpenFlagged(flags int) error {
	if d.flags()&FlagAppend == 0 {
		return nil
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_APPEND == 0 || flags&unix.O_TRUNC != 0 {
		return unix.EPERM
	}
	return nil
}
