package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Limits on extended attributes, in bytes.
const (
	XattrNameMax = 255
	XattrSizeMax = 65536
	XattrListMax = 65536
)

// xattrRights checks who may use an attribute of that name. writing is for set and remove.
func xattrRights(c Caller, p Path, name string, writing bool) error {
	if name == "" || len(name) > XattrNameMax {
		return unix.ERANGE
	}
	if writing {
		if err := p.Mount.writable(); err != nil {
			return err
		}
		if p.Dentry.fixed() {
			return unix.EPERM
		}
	}
	creds := c.Creds()
	admin := creds.HasGlobal(unix.CAP_SYS_ADMIN)
	space, rest, _ := strings.Cut(name, ".")
	if rest == "" {
		return unix.EOPNOTSUPP
	}
	switch space {
	case "system":
		return unix.EOPNOTSUPP
	case "security":
		if !writing || admin || name == capsXattr && creds.HasGlobal(unix.CAP_SETFCAP) {
			return nil
		}
		return unix.EPERM
	case "trusted":
		if admin {
			return nil
		}
		if writing {
			return unix.EPERM
		}
		return unix.ENODATA
	case "user":
		return userXattrRights(c, p.Dentry, writing)
	}
	return unix.EOPNOTSUPP
}

func userXattrRights(c Caller, d *Dentry, writing bool) error {
	want := uint32(MayRead)
	refusal := error(unix.ENODATA)
	if writing {
		want, refusal = MayWrite, unix.EPERM
	}
	switch d.kind {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		attr, err := d.inode.Attr()
		if err != nil {
			return err
		}
		if writing && attr.Mode&unix.S_ISVTX != 0 && !owns(c.Creds(), &attr) {
			return unix.EPERM
		}
	default:
		return refusal
	}
	return permit(c, d, want)
}

// GetXattr is getxattr(2).
func GetXattr(c Caller, p Path, name string) ([]byte, error) {
	if err := xattrRights(c, p, name, false); err != nil {
		return nil, err
	}
	return p.Dentry.inode.GetXattr(c, name)
}

// SetXattr is setxattr(2); flags are XATTR_CREATE and XATTR_REPLACE.
func SetXattr(c Caller, p Path, name string, value []byte, flags int) error {
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	if len(value) > XattrSizeMax {
		return unix.E2BIG
	}
	if err := xattrRights(c, p, name, true); err != nil {
		return err
	}
	err := p.Dentry.inode.SetXattr(c, name, value, flags)
	if name == capsXattr {
		p.Dentry.fs.sys.privileged.Add(1)
	}
	if err == nil {
		p.Dentry.notify(unix.IN_ATTRIB)
	}
	return err
}

// RemoveXattr is removexattr(2).
func RemoveXattr(c Caller, p Path, name string) error {
	if err := xattrRights(c, p, name, true); err != nil {
		return err
	}
	err := p.Dentry.inode.RemoveXattr(c, name)
	if err == nil {
		p.Dentry.notify(unix.IN_ATTRIB)
	}
	return err
}

// ListXattr is listxattr(2), without the trusted attributes that c may not see.
func ListXattr(c Caller, p Path) ([]string, error) {
	names, err := p.Dentry.inode.ListXattr(c)
	if err != nil {
		return nil, err
	}
	seen := names[:0:0]
	for _, n := range names {
		if !strings.HasPrefix(n, "trusted.") || c.Creds().HasGlobal(unix.CAP_SYS_ADMIN) {
			seen = append(seen, n)
		}
	}
	return seen, nil
}
