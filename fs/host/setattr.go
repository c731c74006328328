package host

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// SetAttr implements vfs.Inode. What the host refuses is refused.
func (n *inode) SetAttr(_ vfs.Caller, s vfs.SetAttr) error {
	if n.tree.cfg.ReadOnly {
		return unix.EROFS
	}
	if s.Set&vfs.SetSize != 0 {
		if err := n.truncate(s.Size); err != nil {
			return err
		}
	}
	if s.Set&(vfs.SetUID|vfs.SetGID) != 0 {
		if err := n.chown(s); err != nil {
			return err
		}
	}
	if s.Set&vfs.SetMode != 0 {
		if err := n.chmod(s.Mode & 0o7777); err != nil {
			return err
		}
	}
	if s.Set&(vfs.SetAtime|vfs.SetMtime) != 0 {
		return n.utimes(s)
	}
	return nil
}

// held calls fn with a descriptor of n itself, of any kind, for calls that take an empty name with AT_EMPTY_PATH. A name could lead to
// another file by the time that it is used: who may change n would then have changed that.
func (n *inode) held(fn func(fd int) error) error {
	t := n.tree
	t.mu.Lock()
	h := n.open
	if h != nil {
		h.refs++
	}
	t.mu.Unlock()
	if h != nil {
		defer n.drop(h)
		return fn(h.fd)
	}
	fd, err := n.openPath()
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return fn(fd)
}

// openPath opens n by its name for nothing but to have it. ESTALE where it has none any more, and where another file has taken it.
func (n *inode) openPath() (int, error) {
	t := n.tree
	t.naming.RLock()
	defer t.naming.RUnlock()
	dir, name, err := n.at()
	if err != nil {
		return -1, lostName(err)
	}
	defer t.release(dir)
	// Not one of those that guests keep, so it may be among the last that there are.
	fd, err := openAt(dir.fd, name, unix.O_PATH, 0)
	if err != nil {
		return -1, lostName(err)
	}
	var st unix.Statx_t
	if err = t.vet(dir, fd, &st); err == nil && !n.is(&st) {
		err = unix.ESTALE
	}
	if err == nil && n.isRemoved() {
		err = unix.ESTALE // what has the name now may have its inode number, too
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// lostName is the error about a name that led to the file a moment ago, when it was looked up.
func lostName(err error) error {
	if err == unix.ENOENT {
		return unix.ESTALE
	}
	return err
}

func (n *inode) isRemoved() bool {
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	return n.parent == nil
}

func (n *inode) chown(s vfs.SetAttr) error {
	uid, gid := -1, -1
	if s.Set&vfs.SetUID != 0 {
		uid = int(s.UID)
	}
	if s.Set&vfs.SetGID != 0 {
		gid = int(s.GID)
	}
	return n.held(func(fd int) error {
		return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
	})
}

// chmod needs fchmodat2 (Linux 6.6) for what it cannot open.
func (n *inode) chmod(mode uint32) error {
	return n.held(func(fd int) error { return n.chmodBy(fd, mode) })
}

// chmodBy is chmod by a descriptor of n.
func (n *inode) chmodBy(fd int, mode uint32) error {
	err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH)
	if err != unix.EOPNOTSUPP || n.kind() == unix.S_IFLNK {
		return err
	}
	return n.withFD(func(fd int) error { return unix.Fchmod(fd, mode) })
}

func (n *inode) utimes(s vfs.SetAttr) error {
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	if s.Set&vfs.SetAtime != 0 {
		ts[0] = s.Atime
	}
	if s.Set&vfs.SetMtime != 0 {
		ts[1] = s.Mtime
	}
	return n.held(func(fd int) error { return unix.UtimesNanoAt(fd, "", ts[:], unix.AT_EMPTY_PATH) })
}

func (n *inode) truncate(size int64) error {
	if n.kind() != unix.S_IFREG {
		return unix.EINVAL
	}
	h := n.writable()
	if h == nil {
		var err error
		if h, err = n.tree.openFile(n, unix.O_WRONLY, 0); err != nil {
			return err
		}
	}
	defer n.tree.releaseFile(h)
	for {
		if err := unix.Ftruncate(h.fd, size); err != unix.EINTR {
			return err
		}
	}
}

// writable returns a held handle that is open for writing, or nil.
func (n *inode) writable() *handle {
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	for h := n.open; h != nil; h = h.next {
		if h.access != unix.O_RDONLY {
			h.refs++
			return h
		}
	}
	return nil
}

// withFD calls fn with a descriptor of n open for reading. EOPNOTSUPP for what is never opened.
func (n *inode) withFD(fn func(fd int) error) error {
	t := n.tree
	switch n.kind() {
	case unix.S_IFDIR:
		h, err := t.acquire(n)
		if err != nil {
			return err
		}
		defer t.release(h)
		if h.pathOnly {
			return unix.EACCES
		}
		return fn(h.fd)
	case unix.S_IFREG:
		h, err := t.openFile(n, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer t.releaseFile(h)
		return fn(h.fd)
	}
	return unix.EOPNOTSUPP
}
