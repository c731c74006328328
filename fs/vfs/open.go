package vfs

import "golang.org/x/sys/unix"

// OpenArgs are the flags and the mode of open(2).
type OpenArgs struct {
	Flags int    // O_*; O_CLOEXEC is the caller's
	Mode  uint32 // of a file to be made
	Umask uint32
}

// Bits of open flags.
const (
	tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY
	// passed are the flags that an inode and a File see.
	passed = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK | unix.O_ASYNC | unix.O_DIRECT |
		unix.O_NOATIME | unix.O_DSYNC | unix.O_SYNC | unix.O_DIRECTORY | unix.O_PATH | unix.O_LARGEFILE | LargeFile
	// shown are those that F_GETFL gives besides.
	shown = passed | unix.O_NOFOLLOW
	// LargeFile is O_LARGEFILE, which every open on a 64-bit system implies; there it is not 0 to the kernel.
	LargeFile = 0o100000
)

// check refuses flags that contradict each other, and drops those that O_PATH ignores.
func (o *OpenArgs) check() error {
	if o.Flags&unix.O_PATH != 0 {
		o.Flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
		return nil
	}
	switch {
	case o.Flags&tmpfileBit != 0:
		if o.Flags&unix.O_DIRECTORY == 0 || o.Flags&unix.O_CREAT != 0 || o.Flags&unix.O_ACCMODE == unix.O_RDONLY {
			return unix.EINVAL
		}
	case o.Flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY:
		return unix.EINVAL
	}
	return nil
}

// Open is openat2(2). Where a FIFO has to wait for its other end, the file comes
// back at once and says so by Opened. EAGAIN for lookups is as of RESOLVE_*.
func Open(c Caller, a WalkArgs, name string, o OpenArgs) (*File, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	// A name that another file takes meanwhile is looked up again.
	const most = 16
	for n := 1; ; n++ {
		f, err := openOnce(c, a, name, o)
		if err != unix.ESTALE || n == most || o.Flags&unix.O_EXCL != 0 {
			return f, err
		}
	}
}

// openOnce is Open; ESTALE where what was found has lost its name by the time that it is to be opened.
func openOnce(c Caller, a WalkArgs, name string, o OpenArgs) (*File, error) {
	if o.Flags&(unix.O_NOFOLLOW) != 0 || o.Flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		a.NoFollow = true
	}
	switch {
	case o.Flags&tmpfileBit != 0:
		return openUnnamed(c, a, name, o)
	case o.Flags&unix.O_CREAT != 0:
		return openCreate(c, a, name, o)
	}
	a.Directory = a.Directory || o.Flags&unix.O_DIRECTORY != 0
	p, err := Walk(c, a, name)
	if err != nil {
		return nil, err
	}
	return OpenPath(c, p, o.Flags)
}

// OpenPath opens a file that was found, as /proc/self/fd/N is opened. ELOOP for a symbolic
// link without O_PATH.
func OpenPath(c Caller, p Path, flags int) (*File, error) {
	if flags&unix.O_PATH != 0 {
		return newPathFile(p, flags&shown), nil
	}
	if err := mayOpen(c, p, flags); err != nil {
		return nil, err
	}
	return openInode(c, p, flags)
}

// accessWanted turns open flags into what permission they need.
func accessWanted(flags int) uint32 {
	want := uint32(MayRead)
	switch flags & unix.O_ACCMODE {
	case unix.O_WRONLY:
		want = MayWrite
	case unix.O_RDWR, unix.O_ACCMODE:
		want = MayRead | MayWrite
	}
	if flags&unix.O_TRUNC != 0 {
		want |= MayWrite
	}
	return want
}

// mayOpen checks type, mount flags and permissions of an existing file.
func mayOpen(c Caller, p Path, flags int) error {
	d := p.Dentry
	want := accessWanted(flags)
	mount := p.Mount.Flags()
	switch d.kind {
	case unix.S_IFLNK:
		return unix.ELOOP
	case unix.S_IFDIR:
		if want&MayWrite != 0 {
			return unix.EISDIR
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if mount&NoDev != 0 {
			return unix.EACCES
		}
	case unix.S_IFREG:
		if want&MayWrite != 0 && p.Mount.writable() != nil {
			return unix.EROFS
		}
	}
	if err := permit(c, d, want); err != nil {
		return err
	}
	if flags&unix.O_NOATIME != 0 {
		attr, err := d.inode.Attr()
		if err != nil {
			return err
		}
		if !owns(c.Creds(), &attr) {
			return unix.EPERM
		}
	}
	return d.mayOpenFlagged(flags)
}

// openInode opens p, permissions being checked.
func openInode(c Caller, p Path, flags int) (*File, error) {
	d := p.Dentry
	writes := d.kind == unix.S_IFREG && accessWanted(flags)&MayWrite != 0
	reads := d.kind == unix.S_IFREG && !writes
	if writes {
		if err := d.state.addWriter(); err != nil {
			return nil, err
		}
	}
	if reads {
		d.state.readers.Add(1)
	}
	ops, err := openOps(c, p, flags)
	if err != nil {
		if writes {
			d.state.dropWriter()
		}
		if reads {
			d.state.readers.Add(-1)
		}
		return nil, err
	}
	f := NewFile(ops, p, flags&shown)
	f.counted, f.reader = writes, reads
	d.notify(unix.IN_OPEN)
	return f, nil
}

func openOps(c Caller, p Path, flags int) (FileOps, error) {
	d := p.Dentry
	if err := d.breakLeases(c, accessWanted(flags)&MayWrite != 0, flags&unix.O_NONBLOCK != 0); err != nil {
		return nil, err
	}
	if flags&unix.O_TRUNC != 0 && d.kind == unix.S_IFREG {
		if err := truncate(c, p, 0); err != nil {
			return nil, err
		}
	}
	if d.kind == unix.S_IFSOCK {
		return nil, unix.ENXIO
	}
	ops, err := d.inode.Open(c, flags&passed)
	if p.Mount.Flags()&NoAtime != 0 || d.flags()&FlagNoAtime != 0 {
		if o, ok := ops.(AtimeOps); ok {
			o.KeepNoAtime()
		}
	}
	return ops, err
}

// notToCreate is the error for O_CREAT of "." or "..": first of all that of going there.
func (w *walker) notToCreate(flags int) error {
	if w.last == ".." {
		if _, err := w.parent(); err != nil {
			return err
		}
	}
	if flags&unix.O_EXCL != 0 {
		return unix.EEXIST
	}
	return unix.EISDIR
}

// openCreate is open(2) with O_CREAT.
func openCreate(c Caller, a WalkArgs, name string, o OpenArgs) (*File, error) {
	var w walker
	if err := w.begin(c, &a, name); err != nil {
		return nil, err
	}
	for {
		if special(w.last) {
			return nil, w.notToCreate(o.Flags)
		}
		if w.slash {
			return nil, unix.EISDIR
		}
		p, made, err := findOrCreate(c, w.cur, w.last, o)
		if err != nil {
			return nil, err
		}
		if made {
			return openMade(c, p, o.Flags&^unix.O_TRUNC)
		}
		if p, err = w.cross(p); err != nil {
			return nil, err
		}
		switch {
		case o.Flags&unix.O_EXCL != 0:
			return nil, unix.EEXIST
		case p.Dentry.kind == unix.S_IFLNK && !a.NoFollow:
			jumped, err := w.follow(p)
			if err != nil {
				return nil, err
			}
			if !jumped {
				continue
			}
			p = w.cur
		}
		if p.IsDir() {
			return nil, unix.EISDIR
		}
		return OpenPath(c, p, o.Flags)
	}
}

// openMade opens the file that this open(2) made under its name.
func openMade(c Caller, p Path, flags int) (*File, error) {
	f, err := openInode(c, p, flags)
	if err == nil {
		f.created = true
	}
	return f, err
}

// findOrCreate looks name up in dir and makes a regular file where there is none.
func findOrCreate(c Caller, dir Path, name string, o OpenArgs) (p Path, made bool, err error) {
	d, err := lookup(c, dir.Dentry, name)
	if err != nil {
		return Path{}, false, err
	}
	if d.inode != nil {
		return Path{dir.Mount, d}, false, nil
	}
	st := dir.Dentry.state
	st.dir.Lock()
	defer st.dir.Unlock()
	if d, err = lookupLocked(c, dir.Dentry, name); err != nil {
		return Path{}, false, err
	}
	if d.inode != nil {
		return Path{dir.Mount, d}, false, nil
	}
	if err := mayCreate(c, dir); err != nil {
		return Path{}, false, err
	}
	at, err := newAttr(c, dir.Dentry, o.Mode&modeBits|unix.S_IFREG, o.Umask)
	if err != nil {
		return Path{}, false, err
	}
	inode, err := dir.Dentry.inode.Create(c, name, at)
	if err != nil {
		return Path{}, false, err
	}
	p, err = plant(dir, name, inode)
	return p, true, err
}

// openUnnamed is open(2) with O_TMPFILE.
func openUnnamed(c Caller, a WalkArgs, name string, o OpenArgs) (*File, error) {
	a.Directory = true
	dir, err := Walk(c, a, name)
	if err != nil {
		return nil, err
	}
	maker, ok := dir.Dentry.inode.(TmpfileOps)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	dir.Dentry.state.dir.RLock()
	defer dir.Dentry.state.dir.RUnlock()
	if err := mayCreate(c, dir); err != nil {
		return nil, err
	}
	at, err := newAttr(c, dir.Dentry, o.Mode&modeBits|unix.S_IFREG, o.Umask)
	if err != nil {
		return nil, err
	}
	inode, err := maker.Tmpfile(c, at)
	if err != nil {
		return nil, err
	}
	return openOrphan(c, dir, inode, o.Flags)
}

func openOrphan(c Caller, dir Path, inode Inode, flags int) (*File, error) {
	attr, err := inode.Attr()
	if err != nil {
		return nil, err
	}
	d, err := newDentry(dir.Dentry.fs, dir.Dentry, orphanName(attr.Ino), inode)
	if err != nil {
		return nil, err
	}
	d.deleted.Store(true)
	d.state.linkable.Store(flags&unix.O_EXCL == 0)
	f, err := openInode(c, Path{dir.Mount, d}, flags&^(tmpfileBit|unix.O_DIRECTORY|unix.O_TRUNC))
	if err == nil {
		f.flags.Store(uint32(flags & (shown | tmpfileBit)))
	}
	return f, err
}
