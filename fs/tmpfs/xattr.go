package tmpfs

import (
	"sort"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// maxXattrs bounds the extended attributes of one inode, in number; their bytes are bounded for
// the file system.
const maxXattrs = 256

// GetXattr implements vfs.Inode.
func (i *inode) GetXattr(_ vfs.Caller, name string) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	v, ok := i.xattrs[name]
	if !ok {
		return nil, unix.ENODATA
	}
	return v, nil
}

// SetXattr implements vfs.Inode.
func (i *inode) SetXattr(_ vfs.Caller, name string, value []byte, flags int) error {
	now := vfs.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	old, ok := i.xattrs[name]
	switch {
	case ok && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case !ok && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	case !ok && len(i.xattrs) >= maxXattrs:
		return unix.ENOSPC
	}
	more := int64(len(value) - len(old))
	if !ok {
		more += int64(len(name))
	}
	if err := i.fs.takeXattr(more); err != nil {
		return err
	}
	if i.xattrs == nil {
		i.xattrs = map[string][]byte{}
	}
	i.xattrs[name] = append([]byte(nil), value...)
	i.attr.Ctime = now
	return nil
}

// ListXattr implements vfs.Inode.
func (i *inode) ListXattr(vfs.Caller) ([]string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	names := make([]string, 0, len(i.xattrs))
	for n := range i.xattrs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, nil
}

// RemoveXattr implements vfs.Inode.
func (i *inode) RemoveXattr(_ vfs.Caller, name string) error {
	now := vfs.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	old, ok := i.xattrs[name]
	if !ok {
		return unix.ENODATA
	}
	_ = i.fs.takeXattr(-int64(len(name) + len(old)))
	delete(i.xattrs, name)
	i.attr.Ctime = now
	return nil
}

// dropXattrs gives up the attributes of an inode that is gone.
func (i *inode) dropXattrs() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, value := range i.xattrs {
		_ = i.fs.takeXattr(-int64(len(name) + len(value)))
	}
	i.xattrs = nil
}
