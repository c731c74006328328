package kernel

import (
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// mayInspect tells whether t's real ids and capabilities let it look into o, as ptrace(2) has it.
func (t *Task) mayInspect(o *Task) bool {
	if t.tg == o.tg {
		return true
	}
	a := t.Creds()
	return o.opensTo(a, a.RUID, a.RGID, a.Permitted)
}

// opensTo tells whether somebody with the credentials a, of which uid, gid and caps count, may look into o.
func (o *Task) opensTo(a *cred.Credentials, uid cred.UID, gid cred.GID, caps cred.CapSet) bool {
	b := o.Creds()
	if a.HasIn(unix.CAP_SYS_PTRACE, b.UserNS) {
		return true
	}
	sameUser := uid == b.EUID && uid == b.SUID && uid == b.RUID && gid == b.EGID && gid == b.SGID && gid == b.RGID
	return sameUser && o.tg.Dumpable() && a.UserNS == b.UserNS && caps.Contains(b.Permitted)
}

// inspected finds thread id; ESRCH, EPERM when t may not look into it.
func (t *Task) inspected(id int32) (*Task, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.inspectedLocked(id)
}

func (t *Task) inspectedLocked(id int32) (*Task, error) {
	o := t
	if id != t.pid.In(t.pidns) {
		var err error
		if o, err = t.threadLocked(id); err != nil || id == 0 {
			return nil, unix.ESRCH
		}
	}
	if !t.mayInspect(o) {
		return nil, unix.EPERM
	}
	return o, nil
}

// MemoryOf returns the memory of thread id, to be released with DecUsers; ESRCH, EPERM.
func (t *Task) MemoryOf(id int32) (*mm.MemoryManager, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o, err := t.inspectedLocked(id)
	if err != nil {
		return nil, err
	}
	if m := o.MM(); m != nil && m.IncUsers() {
		return m, nil
	}
	return nil, unix.ESRCH
}

// What Same compares, with the numbers of kcmp(2).
const (
	SameFile = iota
	SameMemory
	SameFiles
	SameFS
	SameHandlers
	SameIO
	SameSemaphores
)

// Same tells whether threads a and b share what kind says; for SameFile whether their descriptors
// fdA and fdB are one open file. Adjustments of semaphores and I/O contexts that neither has are shared. ESRCH, EPERM, EBADF, and EINVAL for another kind.
func (t *Task) Same(a, b int32, kind int, fdA, fdB int32) (bool, error) {
	x, err := t.inspected(a)
	if err != nil {
		return false, err
	}
	y, err := t.inspected(b)
	if err != nil {
		return false, err
	}
	switch kind {
	case SameFile:
		return sameFile(x, y, fdA, fdB)
	case SameMemory:
		return x.MM() == y.MM(), nil
	case SameFiles:
		return x.FDs() == y.FDs(), nil
	case SameFS:
		return x.FS() == y.FS(), nil
	case SameHandlers:
		return x.tg.signalHandlers() == y.tg.signalHandlers(), nil
	case SameSemaphores:
		return x.semUndo.Load() == y.semUndo.Load(), nil
	case SameIO:
		return x.ioPriority == y.ioPriority || x.ioPriority.Load() == 0 && y.ioPriority.Load() == 0, nil
	}
	return false, unix.EINVAL
}

func (tg *ThreadGroup) signalHandlers() *signal.Handlers {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tg.handlers
}

func sameFile(x, y *Task, fdX, fdY int32) (bool, error) {
	a, b := x.FDs(), y.FDs()
	if a == nil || b == nil {
		return false, unix.EBADF
	}
	f, err := a.Get(fdX)
	if err != nil {
		return false, err
	}
	defer f.DecRef()
	g, err := b.Get(fdY)
	if err != nil {
		return false, err
	}
	defer g.DecRef()
	return f == g, nil
}
