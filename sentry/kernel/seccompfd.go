package kernel

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Flags of struct seccomp_notif_addfd.
const (
	addAtNumber = 1 << 0
	addAndSend  = 1 << 1
)

// addition is a struct seccomp_notif_addfd.
type addition struct {
	id       uint64
	flags    uint32
	src, new uint32
	newFlags uint32
}

// additionSize is that of the first struct seccomp_notif_addfd.
const additionSize = 24

// addFD gives the thread whose call waits a descriptor of the caller's, and with addAndSend has it for the call's
// result. It returns the number there. EBADF, EMFILE, ENOENT, EINPROGRESS.
func (l *CallListener) addFD(t *Task, m *mm.MemoryManager, addr mm.Addr, size int) (int32, error) {
	a, err := loadAddition(m, addr, size)
	if err != nil {
		return -1, err
	}
	file, err := t.FDs().Get(int32(a.src))
	if err != nil {
		return -1, err
	}
	fd, old, table, err := l.install(a, file)
	if err != nil {
		file.DecRef()
		return -1, err
	}
	if old != nil {
		table.Drop(t, old) //nolint:errcheck // as dup2
	}
	return fd, nil
}

// install puts file into the table of the thread that waits, which stays while the lock is held.
func (l *CallListener) install(a addition, file *vfs.File) (fd int32, old *vfs.File, table *FDTable, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.toldLocked(a.id)
	if err != nil {
		return -1, nil, nil, err
	}
	fd, table = int32(a.new), n.task.FDs()
	cloexec := a.newFlags != 0
	if a.flags&addAtNumber != 0 {
		old, err = table.SetFD(n.task.Limits(), fd, file, cloexec)
	} else {
		fd, err = table.Dup(n.task.Limits(), 0, file, cloexec)
	}
	if err == nil && a.flags&addAndSend != 0 {
		n.answerLocked(uint64(fd), false)
	}
	return fd, old, table, err
}

func loadAddition(m *mm.MemoryManager, addr mm.Addr, size int) (a addition, err error) {
	if size < additionSize || size >= mm.PageSize {
		return a, unix.EINVAL
	}
	b := make([]byte, size)
	if _, err := m.CopyIn(addr, b); err != nil {
		return a, err
	}
	for _, tail := range b[additionSize:] {
		if tail != 0 {
			return a, unix.E2BIG
		}
	}
	le := binary.LittleEndian
	a = addition{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:])}
	if a.newFlags&^unix.O_CLOEXEC != 0 || a.flags&^(addAtNumber|addAndSend) != 0 || a.new != 0 && a.flags&addAtNumber == 0 {
		return a, unix.EINVAL
	}
	return a, nil
}
