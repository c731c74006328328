package overlay

import (
	"maps"
	"slices"
	"strings"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// xattrBytes bounds the names and values of a file's extended attributes.
const xattrBytes = 128 << 10

// xattrKnown tells whether names of this kind can be kept. Access control lists cannot: nobody would heed them.
func xattrKnown(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "security.")
}

// GetXattr implements vfs.Inode.
func (n *node) GetXattr(c vfs.Caller, name string) ([]byte, error) {
	n.mu.Lock()
	if n.lower == nil || n.meta != nil && n.meta.ownXattrs {
		defer n.mu.Unlock()
		value, ok := n.meta.xattrs[name]
		switch {
		case ok:
			return slices.Clone(value), nil
		case !xattrKnown(name):
			return nil, unix.EOPNOTSUPP
		}
		return nil, unix.ENODATA
	}
	n.mu.Unlock()
	value, err := n.lower.GetXattr(c, name)
	if err == unix.EOPNOTSUPP && xattrKnown(name) {
		err = unix.ENODATA
	}
	return value, err
}

// ListXattr implements vfs.Inode.
func (n *node) ListXattr(c vfs.Caller) ([]string, error) {
	n.mu.Lock()
	if n.lower == nil || n.meta != nil && n.meta.ownXattrs {
		defer n.mu.Unlock()
		return slices.Sorted(maps.Keys(n.meta.xattrs)), nil
	}
	n.mu.Unlock()
	return n.lower.ListXattr(c)
}

// lowerXattrs reads all that the lower file has.
func (n *node) lowerXattrs(c vfs.Caller) (map[string][]byte, error) {
	if n.lower == nil {
		return nil, nil
	}
	names, err := n.lower.ListXattr(c)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(names))
	for _, name := range names {
		value, err := n.lower.GetXattr(c, name)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[name] = value
	}
	return all, nil
}

// changeXattrs calls fn with n's own extended attributes, copied up where they were not.
func (n *node) changeXattrs(c vfs.Caller, fn func(all map[string][]byte) error) error {
	if err := n.pin(); err != nil {
		return err
	}
	lower, err := n.lowerXattrs(c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m, err := n.own()
	if err != nil {
		return err
	}
	all := m.xattrs
	if !m.ownXattrs && lower != nil {
		all = lower
	}
	if all == nil {
		all = make(map[string][]byte)
	}
	all = maps.Clone(all)
	if err := fn(all); err != nil {
		return err
	}
	if err := n.fs.reserve(bytesOf(all) - bytesOf(m.xattrs)); err != nil {
		return err
	}
	m.xattrs, m.ownXattrs = all, true
	m.attr.Ctime = vfs.Now()
	return nil
}

// bytesOf is what extended attributes take.
func bytesOf(all map[string][]byte) (n int) {
	for k, v := range all {
		n += len(k) + len(v)
	}
	return n
}

// SetXattr implements vfs.Inode.
func (n *node) SetXattr(c vfs.Caller, name string, value []byte, flags int) error {
	if !xattrKnown(name) {
		return unix.EOPNOTSUPP
	}
	return n.changeXattrs(c, func(all map[string][]byte) error {
		_, have := all[name]
		switch {
		case have && flags&unix.XATTR_CREATE != 0:
			return unix.EEXIST
		case !have && flags&unix.XATTR_REPLACE != 0:
			return unix.ENODATA
		}
		all[name] = slices.Clone(value)
		if bytesOf(all) > xattrBytes {
			return unix.ENOSPC
		}
		return nil
	})
}

// RemoveXattr implements vfs.Inode.
func (n *node) RemoveXattr(c vfs.Caller, name string) error {
	if !xattrKnown(name) {
		return unix.EOPNOTSUPP
	}
	return n.changeXattrs(c, func(all map[string][]byte) error {
		if _, have := all[name]; !have {
			return unix.ENODATA
		}
		delete(all, name)
		return nil
	})
}
