package host

import (
	"strings"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// What is known of a cached inode's extended attributes.
const (
	xattrsUnknown = iota
	xattrsNone
	xattrsSome
)

const xattrMax = 64 << 10 // XATTR_SIZE_MAX and XATTR_LIST_MAX

// xattrShown tells whether the guest may know of an attribute. The host's security labels, ACLs and trusted
// attributes mean nothing inside.
func xattrShown(name string) bool { return strings.HasPrefix(name, "user.") }

// GetXattr implements vfs.Inode.
func (n *inode) GetXattr(_ vfs.Caller, name string) (value []byte, err error) {
	if !xattrShown(name) {
		return nil, unix.EOPNOTSUPP
	}
	if n.noXattrs() {
		return nil, unix.ENODATA
	}
	err = n.withFD(func(fd int) error {
		value, err = grow(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
		return err
	})
	if err == unix.EOPNOTSUPP {
		err = unix.ENODATA
	}
	return value, err
}

// ListXattr implements vfs.Inode.
func (n *inode) ListXattr(vfs.Caller) (names []string, err error) {
	if n.noXattrs() {
		return nil, nil
	}
	var list []byte
	err = n.withFD(func(fd int) error {
		list, err = grow(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
		return err
	})
	if err == unix.EOPNOTSUPP {
		list, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(string(list), "\x00") {
		if name != "" && xattrShown(name) {
			names = append(names, name)
		}
	}
	if n.tree.cfg.Cache {
		n.mu.Lock()
		n.xattrs = xattrsSome
		if len(names) == 0 {
			n.xattrs = xattrsNone
		}
		n.mu.Unlock()
	}
	return names, nil
}

// noXattrs tells, at the cost of one look a cached inode, whether there is nothing to ask for.
func (n *inode) noXattrs() bool {
	n.mu.Lock()
	known := n.xattrs
	n.mu.Unlock()
	return known == xattrsNone
}

// SetXattr implements vfs.Inode.
func (n *inode) SetXattr(_ vfs.Caller, name string, value []byte, flags int) error {
	if n.tree.cfg.ReadOnly {
		return unix.EROFS
	}
	if !xattrShown(name) {
		return unix.EOPNOTSUPP
	}
	return n.withFD(func(fd int) error { return unix.Fsetxattr(fd, name, value, flags) })
}

// RemoveXattr implements vfs.Inode.
func (n *inode) RemoveXattr(_ vfs.Caller, name string) error {
	if n.tree.cfg.ReadOnly {
		return unix.EROFS
	}
	if !xattrShown(name) {
		return unix.EOPNOTSUPP
	}
	return n.withFD(func(fd int) error { return unix.Fremovexattr(fd, name) })
}

// grow calls fn with a buffer that is large enough.
func grow(fn func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, min(size, xattrMax))
		k, err := fn(b)
		if err == unix.ERANGE && len(b) < xattrMax {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:k], nil
	}
}
