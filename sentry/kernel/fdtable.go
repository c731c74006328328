package kernel

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// FDTable is a descriptor table, shared by the tasks that hold a reference.
type FDTable struct {
	refs  atomic.Int32
	owner vfs.LockOwner // of POSIX record locks

	// Guarded by mu.
	mu    sync.RWMutex
	files []descriptor
	used  []uint64 // a bit for each descriptor in use
}

type descriptor struct {
	file    *vfs.File
	cloexec bool
}

// NewFDTable returns an empty table with one reference.
func NewFDTable() *FDTable {
	f := new(FDTable)
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
	for fd := range int32(len(f.files)) {
		f.Close(t, fd) //nolint:errcheck // nobody to tell
	}
}

// fork returns a copy for a child; descriptors close-on-exec are copied too.
func (f *FDTable) fork() *FDTable {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := NewFDTable()
	n.files = append([]descriptor(nil), f.files...)
	n.used = append([]uint64(nil), f.used...)
	for fd, d := range n.files {
		if d.file != nil {
			d.file.IncRef()
		} else {
			n.used[fd/64] &^= 1 << (fd % 64) // reserved by another thread, maybe
		}
	}
	return n
}

// Get returns the file of a descriptor with a reference that the caller drops;
// EBADF if there is none.
func (f *FDTable) Get(fd int32) (*vfs.File, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if fd < 0 || int(fd) >= len(f.files) || f.files[fd].file == nil {
		return nil, unix.EBADF
	}
	file := f.files[fd].file
	file.IncRef()
	return file, nil
}

// CloseOnExec returns and SetCloseOnExec sets a descriptor's FD_CLOEXEC.
func (f *FDTable) CloseOnExec(fd int32) (bool, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if fd < 0 || int(fd) >= len(f.files) || f.files[fd].file == nil {
		return false, unix.EBADF
	}
	return f.files[fd].cloexec, nil
}

// SetCloseOnExec sets or clears FD_CLOEXEC.
func (f *FDTable) SetCloseOnExec(fd int32, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fd < 0 || int(fd) >= len(f.files) || f.files[fd].file == nil {
		return unix.EBADF
	}
	f.files[fd].cloexec = on
	return nil
}

// NewFD gives file the lowest free number from least on; the table takes over
// the caller's reference only when there is no error. EMFILE at RLIMIT_NOFILE.
func (f *FDTable) NewFD(lim *limits.Set, least int32, file *vfs.File, cloexec bool) (int32, error) {
	maxFD := min(lim.Soft(limits.NoFile), limits.MaxNoFile)
	if least < 0 || least > 0 && uint64(least) >= maxFD {
		return -1, unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := f.lowestFreeLocked(int(least))
	if uint64(fd) >= maxFD {
		return -1, unix.EMFILE
	}
	f.putLocked(fd, descriptor{file, cloexec})
	return int32(fd), nil
}

// SetFD makes file the file of fd (dup2(2)) and returns what was there, with
// its reference. The table takes over the caller's reference when there is no error. EBUSY for a number
// that another thread has reserved.
func (f *FDTable) SetFD(lim *limits.Set, fd int32, file *vfs.File, cloexec bool) (*vfs.File, error) {
	if fd < 0 || uint64(fd) >= min(lim.Soft(limits.NoFile), limits.MaxNoFile) {
		return nil, unix.EBADF
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var old *vfs.File
	if int(fd) < len(f.files) {
		old = f.files[fd].file
		if old == nil && f.used[fd/64]&(1<<(fd%64)) != 0 {
			return nil, unix.EBUSY
		}
	}
	f.putLocked(int(fd), descriptor{file, cloexec})
	return old, nil
}

// Remove takes a descriptor out and returns its file with its reference.
func (f *FDTable) Remove(fd int32) (*vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fd < 0 || int(fd) >= len(f.files) || f.files[fd].file == nil {
		return nil, unix.EBADF
	}
	file := f.files[fd].file
	f.files[fd] = descriptor{}
	f.used[fd/64] &^= 1 << (fd % 64)
	return file, nil
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
	for fd := int32(0); ; fd++ {
		f.mu.RLock()
		for int(fd) < len(f.files) && f.files[fd].file == nil {
			fd++
		}
		if int(fd) >= len(f.files) {
			f.mu.RUnlock()
			return
		}
		d := f.files[fd]
		d.file.IncRef()
		f.mu.RUnlock()
		more := fn(fd, d.file, d.cloexec)
		d.file.DecRef()
		if !more {
			return
		}
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
	for fd := uint64(first); fd < uint64(len(f.files)) && fd <= uint64(last); fd++ {
		if d := &f.files[fd]; d.file != nil && which(d) {
			gone = append(gone, d.file)
			*d = descriptor{}
			f.used[fd/64] &^= 1 << (fd % 64)
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
	for fd := uint64(first); fd < uint64(len(f.files)) && fd <= uint64(last); fd++ {
		f.files[fd].cloexec = f.files[fd].file != nil
	}
}

func (f *FDTable) lowestFreeLocked(least int) int {
	for i := least / 64; i < len(f.used); i++ {
		free := ^f.used[i]
		if i == least/64 {
			free &= ^uint64(0) << (least % 64)
		}
		if free != 0 {
			return i*64 + bits.TrailingZeros64(free)
		}
	}
	return max(least, len(f.used)*64)
}

func (f *FDTable) putLocked(fd int, d descriptor) {
	for len(f.files) <= fd {
		f.files = append(f.files, descriptor{})
	}
	for len(f.used) <= fd/64 {
		f.used = append(f.used, 0)
	}
	f.files[fd] = d
	f.used[fd/64] |= 1 << (fd % 64)
}

// reserve takes the lowest free number without making it visible; install or
// unreserve follows.
func (f *FDTable) reserve(lim *limits.Set) (int32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := f.lowestFreeLocked(0)
	if uint64(fd) >= min(lim.Soft(limits.NoFile), limits.MaxNoFile) {
		return -1, unix.EMFILE
	}
	f.putLocked(fd, descriptor{})
	return int32(fd), nil
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
	f.putLocked(int(fd), descriptor{file, cloexec})
}

func (f *FDTable) unreserve(fd int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used[fd/64] &^= 1 << (fd % 64)
}

// CloseRange closes the descriptors first to last (close_range(2)).
func (f *FDTable) CloseRange(t *Task, first, last uint32) {
	f.closeRange(t, first, last, func(*descriptor) bool { return true })
}

// UnshareFiles gives the task a descriptor table of its own.
func (t *Task) UnshareFiles() {
	if fds := t.FDs(); fds.refs.Load() > 1 {
		t.fds.Store(fds.fork())
		fds.DecRef(t)
	}
}

// LockOwner returns the owner of POSIX record locks set through the table.
func (f *FDTable) LockOwner() *vfs.LockOwner { return &f.owner }

// size is the number of slots (FDSize in /proc/PID/status).
func (f *FDTable) size() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return max(64, len(f.used)*64)
}
