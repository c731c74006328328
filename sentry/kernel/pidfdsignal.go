package kernel

import (
	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// PIDFDScope says whom pidfd_send_signal(2) is to reach.
type PIDFDScope int

// Scopes, in the order of the flags' bits.
const (
	ScopeOfPIDFD PIDFDScope = iota // what the pidfd was opened for
	ScopeThread
	ScopeProcess
	ScopeGroup
)

// SignalPIDFD is pidfd_send_signal(2), which takes pidfds and directories of processes in /proc: info, unless nil, is what the signal
// carries. EBADF if file is neither, EINVAL out of sight, EPERM, ESRCH.
func (t *Task) SignalPIDFD(file *vfs.File, sig signal.Signal, info *signal.Info, scope PIDFDScope) error {
	p, err := signalTarget(file)
	if err != nil {
		return err
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	switch {
	case sig != 0 && !signal.Valid(sig), p.pid.In(t.pidns) == 0:
		return unix.EINVAL
	case info != nil && p.pid != t.pid && (info.Code >= 0 || info.Code == signal.CodeTkill):
		return unix.EPERM
	}
	if scope == ScopeOfPIDFD {
		scope = ScopeProcess
		if p.thread {
			scope = ScopeThread
		}
	}
	o := p.pid.task
	switch {
	case scope == ScopeGroup && p.pid.group == nil, scope != ScopeGroup && o == nil:
		return unix.ESRCH
	case scope == ScopeGroup:
		return t.killMembersLocked(p.pid.group, sig, info)
	case scope == ScopeThread:
		return t.killThreadLocked(o, sig, info)
	}
	return t.killGroupLocked(o.tg, sig, info)
}

// signalTarget is what file stands for to who sends signals.
func signalTarget(file *vfs.File) (*pidFile, error) {
	if d, ok := proc.ProcessOfDir(file.Inode()).(procTask); ok {
		return &pidFile{tg: d.t.tg, pid: d.t.tg.pid}, nil
	}
	return pidFileOf(file)
}
