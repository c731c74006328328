package kernel

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// FDTable is a descriptor table, shared by the tasks that hold a reference.
type FDTable struct {
	k     *Kernel
	refs  atomic.Int32
	owner vfs.LockOwner // of POSIX record locks

	// Guarded by mu.
	mu    sync.RWMutex
	slots fdSlots
	// charged is how many bytes of the slots are counted among what is kept for guests.
	charged int64
}

const (
	// freeSlots is how many bytes of slots each table may have without a count: about 1000 descriptors.
	freeSlots = 20 << 10
	// fileCost is about what an open file costs the sentry, in bytes, with what it is of.
	fileCost = 1 << 10
)

// newFDTable returns an empty table with one reference.
func newFDTable(k *Kernel) *FDTable {
	f := &FDTable{k: k}
	f.refs.Store(1)
	return f
}

// incRef adds a task that shares the table.
func (f *FDTable) incRef() *FDTable {
	f.refs.Add(1)
	return f
}

// DecRef drops a task's share; the last one closes everything.
func (f *FDTable) DecRef(t *Task) {
	if f.refs.Add(-1) != 0 {
		return
	}
	f.CloseRange(t, 0, ^uint32(0))
	f.k.memory.TakeAside(-f.charged)
}

// chargeLocked counts the slots and more bytes of them; false when too much is kept for guests.
func (f *FDTable) chargeLocked(more int64) bool {
	n := f.slots.bytes() + more - freeSlots - f.charged
	if n <= 0 {
		return true
	}
	if !f.k.memory.TakeAside(n) {
		return false
	}
	f.charged += n
	return true
}

// fork returns a copy for a child without the descriptors of hole; those close-on-exec are copied too. EMFILE when
// the table is larger than fs.nr_open lets one become now, ENOMEM.
func (f *FDTable) fork(hole fdRange) (*FDTable, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if room := f.slots.roomBelow(hole); room > 64 && int64(room) > (f.k.knobs.openFiles.Load()+63)&^63 {
		return nil, unix.EMFILE
	}
	n := f.copyLocked(hole)
	if !n.chargeLocked(0) {
		for fd, d := n.slots.next(0); d != nil; fd, d = n.slots.next(fd + 1) {
			d.file.DecRef()
		}
		return nil, unix.ENOMEM
	}
	return n, nil
}

// copy returns a copy however large the table is, for an exec that cannot fail any more; ok is false where the sentry should not keep it.
func (f *FDTable) copy() (n *FDTable, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n = f.copyLocked(noFDs)
	return n, n.chargeLocked(0)
}

func (f *FDTable) copyLocked(hole fdRange) *FDTable {
	n := newFDTable(f.k)
	for fd, d := f.slots.next(0); d != nil; fd, d = f.slots.next(fd + 1) {
		if !hole.has(fd) {
			d.file.IncRef()
			n.slots.put(fd, *d)
		}
	}
	return n
}

// Get returns the file of a descriptor with a reference that the caller drops;
// EBADF if there is none.
func (f *FDTable) Get(fd int32) (*vfs.File, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.slots.open(fd)
	if d == nil {
		return nil, unix.EBADF
	}
	d.file.IncRef()
	return d.file, nil
}

// CloseOnExec returns and SetCloseOnExec sets a descriptor's FD_CLOEXEC.
func (f *FDTable) CloseOnExec(fd int32) (bool, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.slots.open(fd)
	if d == nil {
		return false, unix.EBADF
	}
	return d.cloexec, nil
}

// SetCloseOnExec sets or clears FD_CLOEXEC.
func (f *FDTable) SetCloseOnExec(fd int32, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.slots.open(fd)
	if d == nil {
		return unix.EBADF
	}
	d.cloexec = on
	return nil
}

// NewFD gives file, which was just made, the lowest free number; the table takes over
// the caller's reference only when there is no error. EMFILE at RLIMIT_NOFILE and fs.nr_open, ENFILE
// and ENOMEM where the sentry cannot hold as many files, or such a table.
func (f *FDTable) NewFD(lim *limits.Set, file *vfs.File, cloexec bool) (int32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeNewLocked(lim, descriptor{file, cloexec})
}

// Dup is NewFD for a file that is open already, and from least on: EINVAL where that is past the limits, and never ENFILE.
func (f *FDTable) Dup(lim *limits.Set, least int32, file *vfs.File, cloexec bool) (int32, error) {
	if least < 0 || least > 0 && uint64(least) >= lim.Soft(limits.NoFile) {
		return -1, unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeLocked(lim, int(least), descriptor{file, cloexec})
}

// takeLocked gives d the lowest free number from least on.
func (f *FDTable) takeLocked(lim *limits.Set, least int, d descriptor) (int32, error) {
	fd := f.slots.lowestFree(least)
	if uint64(fd) >= lim.Soft(limits.NoFile) {
		return -1, unix.EMFILE
	}
	if err := f.growLocked(fd); err != nil {
		return -1, err
	}
	f.slots.put(fd, d)
	return int32(fd), nil
}

// takeNewLocked is takeLocked for a file that was just made, or that is to be made where d has none.
func (f *FDTable) takeNewLocked(lim *limits.Set, d descriptor) (int32, error) {
	files := f.k.VFS().OpenFiles()
	if d.file == nil {
		files++
	}
	fd, err := f.takeLocked(lim, 0, d)
	if err == nil && files*fileCost > f.k.memory.MostAside() {
		f.slots.free(int(fd))
		return -1, unix.ENFILE
	}
	return fd, err
}

// growLocked tells whether the table may have a descriptor fd: EMFILE, ENOMEM.
func (f *FDTable) growLocked(fd int) error {
	switch {
	case fd < f.slots.room():
	case int64(fd) >= f.k.knobs.openFiles.Load():
		return unix.EMFILE
	case fd >= maxSlots:
		return unix.ENOMEM
	}
	if need := f.slots.need(fd); need > 0 && !f.chargeLocked(need) {
		return unix.ENOMEM
	}
	return nil
}

// SetFD makes file the file of fd (dup2(2)) and returns what was there, with
// its reference. The table takes over the caller's reference when there is no error. EBUSY for a number
// that another thread has reserved, EBADF past the limits, ENOMEM.
func (f *FDTable) SetFD(lim *limits.Set, fd int32, file *vfs.File, cloexec bool) (*vfs.File, error) {
	if fd < 0 || uint64(fd) >= lim.Soft(limits.NoFile) {
		return nil, unix.EBADF
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.growLocked(int(fd)); err == unix.EMFILE {
		return nil, unix.EBADF
	} else if err != nil {
		return nil, err
	}
	var old *vfs.File
	if d := f.slots.open(fd); d != nil {
		old = d.file
	} else if f.slots.taken(int(fd)) {
		return nil, unix.EBUSY
	}
	f.slots.put(int(fd), descriptor{file, cloexec})
	return old, nil
}

// Remove takes a descriptor out and returns its file with its reference.
func (f *FDTable) Remove(fd int32) (*vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slots.open(fd) == nil {
		return nil, unix.EBADF
	}
	return f.slots.free(int(fd)).file, nil
}

// Close closes a descriptor: record locks of the table on the file go, as POSIX
// wants it, and the file itself with the last reference.
func (f *FDTable) Close(t *Task, fd int32) error {
	file, err := f.Remove(fd)
	if err != nil {
		return err
	}
	return f.Drop(t, file)
}

// Drop ends a descriptor's use of a file that has left the table.
func (f *FDTable) Drop(t *Task, file *vfs.File) error {
	err := file.Flush(t)
	file.DropRecordLocks(&f.owner)
	file.DecRef()
	return err
}

// Each calls fn for every descriptor in order, holding no lock, with a reference
// on the file for the time of the call.
func (f *FDTable) Each(fn func(fd int32, file *vfs.File, cloexec bool) bool) {
	for fd, more := 0, true; more; fd++ {
		f.mu.RLock()
		n, slot := f.slots.next(fd)
		if slot == nil {
			f.mu.RUnlock()
			return
		}
		d := *slot
		d.file.IncRef()
		f.mu.RUnlock()
		more = fn(int32(n), d.file, d.cloexec)
		d.file.DecRef()
		fd = n
	}
}

// closeOnExec closes what execve(2) closes.
func (f *FDTable) closeOnExec(t *Task) {
	f.closeRange(t, 0, ^uint32(0), func(d *descriptor) bool { return d.cloexec })
}

// closeRange closes those of the descriptors first to last that which picks.
func (f *FDTable) closeRange(t *Task, first, last uint32, which func(*descriptor) bool) {
	f.mu.Lock()
	var gone []*vfs.File
	for fd, d := f.slots.next(int(first)); d != nil && fd <= int(last); fd, d = f.slots.next(fd + 1) {
		if which(d) {
			gone = append(gone, f.slots.free(fd).file)
		}
	}
	f.mu.Unlock()
	for _, file := range gone {
		f.Drop(t, file) //nolint:errcheck // nobody to tell
	}
}

// MarkRange sets close-on-exec on the descriptors first to last.
func (f *FDTable) MarkRange(first, last uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for fd, d := f.slots.next(int(first)); d != nil && fd <= int(last); fd, d = f.slots.next(fd + 1) {
		d.cloexec = true
	}
}

// reserve takes the lowest free number without making it visible; install or
// unreserve follows.
func (f *FDTable) reserve(lim *limits.Set) (int32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeNewLocked(lim, descriptor{})
}

// Open gives the file that open returns the lowest free number, which is taken before: EMFILE comes
// first, and open may wait.
func (f *FDTable) Open(lim *limits.Set, cloexec bool, open func() (*vfs.File, error)) (int32, error) {
	fd, err := f.reserve(lim)
	if err != nil {
		return -1, err
	}
	file, err := open()
	if err != nil {
		f.unreserve(fd)
		return -1, err
	}
	f.install(fd, file, cloexec)
	return fd, nil
}

func (f *FDTable) install(fd int32, file *vfs.File, cloexec bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots.put(int(fd), descriptor{file, cloexec})
}

func (f *FDTable) unreserve(fd int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots.free(int(fd))
}

// CloseRange closes the descriptors first to last (close_range(2)).
func (f *FDTable) CloseRange(t *Task, first, last uint32) {
	f.closeRange(t, first, last, func(*descriptor) bool { return true })
}

// UnshareFiles gives the task a descriptor table of its own; EMFILE for one that is larger than fs.nr_open.
func (t *Task) UnshareFiles() error {
	return t.unshareFiles(noFDs)
}

// UnshareFilesWithout is UnshareFiles that leaves out the descriptors first to last, which close_range(2) would
// close at once.
func (t *Task) UnshareFilesWithout(first, last uint32) error {
	return t.unshareFiles(fdRange{int(first), int(last)})
}

func (t *Task) unshareFiles(hole fdRange) error {
	own, err := t.FDs().unshared(hole)
	if err == nil {
		t.setFiles(own)
	}
	return err
}

// unshared returns a table that nobody else uses, with a reference for the caller: a copy, or the table itself.
func (f *FDTable) unshared(hole fdRange) (*FDTable, error) {
	if f.refs.Load() == 1 {
		return f.incRef(), nil
	}
	return f.fork(hole)
}

// setFiles makes f, whose reference it takes over, the task's table.
func (t *Task) setFiles(f *FDTable) {
	t.fds.Swap(f).DecRef(t)
}

// LockOwner returns the owner of POSIX record locks set through the table.
func (f *FDTable) LockOwner() *vfs.LockOwner { return &f.owner }

// size is the number of slots (FDSize in /proc/PID/status).
func (f *FDTable) size() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.slots.room()
}
