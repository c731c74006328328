package host

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// handle is a descriptor of a directory or of a regular file. Directories'
// handles stay in the tree's ring until they are evicted; files' handles live
// while somebody refers to them.
type handle struct {
	t        *tree
	owner    *inode
	fd       int
	id       uint32 // of what fd is open to; files
	dev      uint64 // directories, and the root: as deviceOf has it
	pathOnly bool   // O_PATH: the host lets us search but not list
	access   int    // files: O_RDONLY, O_WRONLY or O_RDWR
	private  bool   // files: not to be shared (O_SYNC and the like)

	// guarded by tree.mu
	refs       int
	prev, next *handle // the ring of directories, or a file's other handles (next only)
	mapped     uint64  // bytes of a file that are mapped; they hold one reference
	collected  runtime.Cleanup

	listMu  sync.Mutex
	listPos int64 // the descriptor's position
	listed  bool  // something was listed since it was opened
}

// closeWithTree has the descriptor of a directory, or of the root, closed when the whole tree is collected, unless it
// is forgotten before.
func (h *handle) closeWithTree() { h.collected = runtime.AddCleanup(h, closeFD, h.fd) }

// link puts h in front of the ring. Caller holds t.mu.
func (t *tree) link(h *handle) {
	h.next, h.prev = t.lru.next, &t.lru
	h.next.prev, t.lru.next = h, h
}

// unlink takes h out of the ring. Caller holds t.mu.
func (t *tree) unlink(h *handle) {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}

// step is one directory on the way down to one that is wanted.
type step struct {
	n    *inode
	name string
}

// acquire returns a descriptor of directory n, which the caller gives back with release.
func (t *tree) acquire(n *inode) (*handle, error) {
	t.mu.Lock()
	if h := n.open; h != nil {
		t.hold(h)
		t.mu.Unlock()
		return h, nil
	}
	var way []step
	p := n
	for ; p.open == nil; p = p.parent {
		if p.parent == nil {
			t.mu.Unlock()
			return nil, unix.ENOENT // removed
		}
		way = append(way, step{p, p.name})
	}
	h := p.open
	t.hold(h)
	t.mu.Unlock()
	for i := len(way) - 1; i >= 0; i-- {
		below, err := t.openDir(h, way[i])
		t.release(h)
		if err != nil {
			return nil, err
		}
		h = below
	}
	return h, nil
}

// hold adds a reference. Caller holds t.mu.
func (t *tree) hold(h *handle) {
	h.refs++
	if h.next != nil && t.lru.next != h {
		t.unlink(h)
		t.link(h)
	}
}

// release gives back a handle of a directory.
func (t *tree) release(h *handle) {
	t.mu.Lock()
	h.refs--
	fd := -1
	if h.refs == 0 && (h.next == nil || t.dirs > t.cfg.MaxDirs) {
		fd = h.fd
		t.forget(h)
	}
	t.mu.Unlock()
	if fd >= 0 {
		closeFD(fd)
	}
}

// forget takes an unused handle of a directory out of the ring, if it is there. Caller holds t.mu.
func (t *tree) forget(h *handle) {
	if h.next != nil {
		t.unlink(h)
		t.dirs--
	}
	if h.owner.open == h {
		h.owner.open = nil
	}
	h.collected.Stop()
}

// openDir opens the directory s below parent and returns a held handle.
func (t *tree) openDir(parent *handle, s step) (*handle, error) {
	pathOnly := false
	var st unix.Statx_t
	fd, err := t.openBelow(parent, s.name, unix.O_RDONLY|unix.O_DIRECTORY, &st)
	if err == unix.EACCES {
		pathOnly = true
		fd, err = t.openBelow(parent, s.name, unix.O_PATH|unix.O_DIRECTORY, &st)
	}
	if err != nil {
		return nil, err
	}
	if !t.cfg.Cache && !s.n.is(&st) {
		closeFD(fd)
		return nil, unix.ESTALE
	}
	h := &handle{t: t, owner: s.n, fd: fd, dev: deviceOf(&st), pathOnly: pathOnly, refs: 1}
	var evicted []int
	t.mu.Lock()
	if other := s.n.open; other != nil {
		t.hold(other)
		t.mu.Unlock()
		closeFD(fd)
		return other, nil
	}
	s.n.open = h
	h.closeWithTree()
	t.link(h)
	t.dirs++
	evicted = t.evict(t.cfg.MaxDirs, evicted)
	t.mu.Unlock()
	for _, fd := range evicted {
		closeFD(fd)
	}
	return h, nil
}

// evict forgets idle directories, the least recently used first, until at most
// keep are left, and returns their descriptors. Caller holds t.mu.
func (t *tree) evict(keep int, fds []int) []int {
	for h := t.lru.prev; h != &t.lru && t.dirs > keep; {
		prev := h.prev
		if h.refs == 0 {
			fds = append(fds, h.fd)
			t.forget(h)
		}
		h = prev
	}
	return fds
}

// openFD is openAt; when descriptors run out, those of idle directories are
// given up for a second try.
func (t *tree) openFD(dirFD int, name string, flags int, mode uint32) (int, error) {
	fd, err := t.openSpare(dirFD, name, flags, mode)
	if err != unix.EMFILE && err != unix.ENFILE {
		return fd, err
	}
	t.mu.Lock()
	evicted := t.evict(0, nil)
	t.mu.Unlock()
	for _, fd := range evicted {
		closeFD(fd)
	}
	if fd, err = t.openSpare(dirFD, name, flags, mode); err == unix.EMFILE {
		err = unix.ENFILE
	}
	return fd, err
}

// openBelow opens a name below dir and fills in st; EACCES where that leads to what is hidden.
func (t *tree) openBelow(dir *handle, name string, flags int, st *unix.Statx_t) (int, error) {
	fd, err := t.openFD(dir.fd, name, flags, 0)
	if err != nil {
		return -1, err
	}
	if err := t.vet(dir, fd, st); err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// openSpare is openAt; EMFILE instead of a descriptor that is not for files. Those that are made do not stay open, but for a few.
func (t *tree) openSpare(dirFD int, name string, flags int, mode uint32) (int, error) {
	fd, err := openAt(dirFD, name, flags, mode)
	if err == nil && fd >= t.mostFD && flags&unix.O_CREAT == 0 {
		closeFD(fd)
		return -1, unix.EMFILE
	}
	return fd, err
}

// openFile returns a held handle of the regular file n, shared with others who opened it the same way.
func (t *tree) openFile(n *inode, access int, extra int) (*handle, error) {
	if n == t.root {
		return t.openRootFile(access)
	}
	if h := t.shared(n, access, extra); h != nil {
		return h, nil
	}
	var st unix.Statx_t
	fd, err := t.openName(n, access|extra, &st)
	if err != nil {
		return nil, err
	}
	if !n.is(&st) {
		closeFD(fd)
		return nil, unix.ESTALE
	}
	n.setAttr(&st)
	h := &handle{t: t, owner: n, fd: fd, id: t.nextID(), access: access, private: extra != 0, refs: 1}
	t.mu.Lock()
	h.next, n.open = n.open, h
	t.mu.Unlock()
	return h, nil
}

// openRootFile returns the handle of a tree that is one file: nothing leads to the file but the
// descriptor that the tree was made from. EACCES if that was not opened for access.
func (t *tree) openRootFile(access int) (*handle, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.root.open
	if h.pathOnly || h.access != unix.O_RDWR && h.access != access {
		return nil, unix.EACCES
	}
	h.refs++
	return h, nil
}

// shared returns a handle that is open already, or nil.
func (t *tree) shared(n *inode, access, extra int) *handle {
	if extra != 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for h := n.open; h != nil; h = h.next {
		if h.access == access && !h.private {
			h.refs++
			return h
		}
	}
	return nil
}

// openName opens n by its name, or takes the descriptor that its creation left, and fills in st.
func (t *tree) openName(n *inode, flags int, st *unix.Statx_t) (int, error) {
	if fd := t.unpark(n); fd >= 0 {
		if err := statAt(fd, "", st); err != nil {
			closeFD(fd)
			return -1, err
		}
		return fd, nil
	}
	fd := -1
	dir, name, err := n.at()
	if err == nil {
		fd, err = t.openBelow(dir, name, flags, st)
		t.release(dir)
	}
	if !t.cfg.Cache {
		err = lostName(err)
	}
	return fd, err
}

// releaseFile drops a reference to a file's handle and closes it with the last.
func (t *tree) releaseFile(h *handle) {
	t.mu.Lock()
	h.refs--
	last := h.refs == 0
	if last {
		for p := &h.owner.open; *p != nil; p = &(*p).next {
			if *p == h {
				*p = h.next
				break
			}
		}
	}
	t.mu.Unlock()
	if last {
		closeFD(h.fd)
	}
}

// park keeps the descriptor of a file just created for its first open.
func (t *tree) park(n *inode, fd int) {
	t.mu.Lock()
	slot := &t.parked[t.nextPark%parkSlots]
	t.nextPark++
	old := slot.fd
	*slot = parkedFile{n, fd}
	t.mu.Unlock()
	if old >= 0 {
		closeFD(old)
	}
}

// unpark returns the descriptor left for n, or -1.
func (t *tree) unpark(n *inode) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.parked {
		if t.parked[i].n == n {
			fd := t.parked[i].fd
			t.parked[i] = parkedFile{fd: -1}
			return fd
		}
	}
	return -1
}
