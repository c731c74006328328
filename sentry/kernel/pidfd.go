package kernel

import (
	"cmp"
	"slices"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// pidFile is what a pidfd refers to: a process that may have ended, or a single thread. It is by its number that a thread is known: who
// takes the number of the leader by exec is who the leader's pidfd refers to from then on.
type pidFile struct {
	tg     *ThreadGroup
	pid    *PID
	first  *Task // who had the number when the pidfd was made
	thread bool
}

// newPIDFile returns the file of a pidfd for t's process, or for the thread.
func newPIDFile(t *Task, thread bool) *vfs.File {
	flags := unix.O_RDWR
	if thread {
		flags |= unix.PIDFD_THREAD
	}
	return t.k.VFS().NewAnonFile(&pidFile{t.tg, t.pid, t, thread}, "[pidfd]", flags)
}

// pidFileOf returns what a pidfd refers to; EBADF if file is none.
func pidFileOf(file *vfs.File) (*pidFile, error) {
	if p, ok := file.Ops().(*pidFile); ok {
		return p, nil
	}
	return nil, unix.EBADF
}

// ofProcess tells whether the pidfd has the number of the process, and so of its leader.
func (p *pidFile) ofProcess() bool { return !p.thread || p.pid == p.tg.pid }

// threadLocked is the thread that the pidfd refers to, nil once it has gone; of a process the leader, which stays.
func (p *pidFile) threadLocked() *Task {
	if p.thread {
		return p.pid.task
	}
	return p.tg.leader
}

// ChildOf returns the process of a pidfd, for who would wait for it. EBADF, ECHILD for a thread: nobody waits for threads.
func ChildOf(file *vfs.File) (*ThreadGroup, error) {
	p, err := pidFileOf(file)
	switch {
	case err != nil:
		return nil, err
	case !p.ofProcess():
		return nil, unix.ECHILD
	}
	return p.tg, nil
}

// FileOf returns the file behind descriptor fd of the process of a pidfd, with a reference for
// the caller (pidfd_getfd(2)). EBADF, EPERM, ESRCH.
func (t *Task) FileOf(pidfd *vfs.File, fd int32) (*vfs.File, error) {
	p, err := pidFileOf(pidfd)
	if err != nil {
		return nil, err
	}
	// Until it has the file, the process does not become another program, whose files may be secret.
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o := p.threadLocked()
	if o == nil {
		return nil, unix.ESRCH
	}
	if !t.mayInspect(o) {
		return nil, unix.EPERM
	}
	fds := o.FDs()
	if fds == nil {
		return nil, unix.ESRCH
	}
	return fds.Get(fd)
}

// OpenPIDFD returns a new pidfd's file for the process pid, or for the thread (pidfd_open(2)). ESRCH, ENOENT for a thread that is no process.
func (t *Task) OpenPIDFD(pid int32, thread bool) (*vfs.File, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[pid]
	switch {
	case p == nil || p.task == nil && (thread || p.tg == nil):
		return nil, unix.ESRCH
	case thread:
		return newPIDFile(p.task, true), nil
	case p.tg == nil:
		return nil, unix.ENOENT
	}
	return newPIDFile(p.tg.leader, false), nil
}

// ReleaseMemory is process_mrelease(2): the memory of a process that is dying goes anyway, as soon as its threads have left it. EBADF,
// EINVAL for one that lives on, ESRCH when it has no memory any more.
func (t *Task) ReleaseMemory(pidfd *vfs.File) error {
	p, err := pidFileOf(pidfd)
	if err != nil {
		return err
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if !slices.ContainsFunc(p.tg.tasks, func(o *Task) bool { return o.MM() != nil }) {
		return unix.ESRCH
	}
	p.tg.sigMu.Lock()
	defer p.tg.sigMu.Unlock()
	if !p.tg.exiting {
		return unix.EINVAL
	}
	return nil
}

// PIDFDOf returns a new pidfd's file for the process with an identity; ESRCH when it is gone and was not watched.
func (t *Task) PIDFDOf(p *PID) (*vfs.File, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	tg := cmp.Or(p.tg, p.was)
	if tg == nil {
		return nil, unix.ESRCH
	}
	return newPIDFile(tg.leader, false), nil
}

func (*pidFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EINVAL }
func (*pidFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Release implements vfs.FileOps.
func (*pidFile) Release() {}

// Readiness implements waiter.Waitable: a pidfd is readable once the process has ended, or the thread; it hangs up once nobody has the
// number any more.
func (p *pidFile) Readiness(wanted waiter.EventMask) waiter.EventMask {
	if p.pid.gone.Load() {
		return wanted&(waiter.In|waiter.RdNorm) | waiter.HUp
	}
	if !p.ofProcess() {
		return 0
	}
	select {
	case <-p.tg.dead:
		return wanted & (waiter.In | waiter.RdNorm)
	default:
		return 0
	}
}

// Register implements waiter.Waitable.
func (p *pidFile) Register(e *waiter.Entry) { p.tg.exitQueue.Register(e) }

// Unregister implements waiter.Waitable.
func (p *pidFile) Unregister(e *waiter.Entry) { p.tg.exitQueue.Unregister(e) }
