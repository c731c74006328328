package kernel

import (
	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// pidFile is what a pidfd refers to: a process that may have ended.
type pidFile struct {
	tg   *ThreadGroup
	task *Task // for a pidfd of a single thread
}

// newPIDFile returns the file of a pidfd for t's process, or for the thread.
func newPIDFile(t *Task, thread bool) *vfs.File {
	p := &pidFile{tg: t.tg}
	if thread {
		p.task = t
	}
	return t.k.VFS().NewAnonFile(p, "[pidfd]", unix.O_RDWR)
}

// ProcessOf returns the process of a pidfd; EBADF if file is none.
func ProcessOf(file *vfs.File) (*ThreadGroup, error) {
	if p, ok := file.Ops().(*pidFile); ok {
		return p.tg, nil
	}
	return nil, unix.EBADF
}

// SignalTarget returns the process that file stands for in pidfd_send_signal(2), which takes
// pidfds and directories of processes in /proc; EBADF if file is neither.
func SignalTarget(file *vfs.File) (*ThreadGroup, error) {
	if p, ok := proc.ProcessOfDir(file.Inode()).(procTask); ok {
		return p.t.tg, nil
	}
	return ProcessOf(file)
}

// FileOf returns the file behind descriptor fd of the process of a pidfd, with a reference for
// the caller (pidfd_getfd(2)). EBADF, EPERM, ESRCH.
func (t *Task) FileOf(pidfd *vfs.File, fd int32) (*vfs.File, error) {
	tg, err := ProcessOf(pidfd)
	if err != nil {
		return nil, err
	}
	// Until it has the file, the process does not become another program, whose files may be secret.
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o := tg.leader
	if !t.mayInspect(o) {
		return nil, unix.EPERM
	}
	fds := o.FDs()
	if fds == nil {
		return nil, unix.ESRCH
	}
	return fds.Get(fd)
}

// OpenPIDFD returns a new pidfd's file for the process pid (pidfd_open(2)).
func (t *Task) OpenPIDFD(pid int32) (*vfs.File, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[pid]
	switch {
	case p == nil || p.task == nil && p.tg == nil:
		return nil, unix.ESRCH
	case p.tg == nil:
		return nil, unix.ENOENT
	}
	return newPIDFile(p.tg.leader, false), nil
}

func (*pidFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EINVAL }
func (*pidFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Release implements vfs.FileOps.
func (*pidFile) Release() {}

// Readiness implements waiter.Waitable: a pidfd is readable once the process has ended.
func (p *pidFile) Readiness(wanted waiter.EventMask) waiter.EventMask {
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
