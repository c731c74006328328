package kernel

import (
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Kinds of owners of files, as in struct f_owner_ex (fcntl(2)).
const (
	OwnerThread  = 0 // F_OWNER_TID
	OwnerProcess = 1 // F_OWNER_PID
	OwnerGroup   = 2 // F_OWNER_PGRP
)

// asyncKinds are what siginfo has of an event that a file tells of.
var asyncKinds = []struct {
	event waiter.EventMask
	code  int32
	band  waiter.EventMask
}{
	{waiter.In, signal.PollIn, waiter.In | waiter.RdNorm},
	{waiter.Out, signal.PollOut, waiter.Out | waiter.WrNorm | waiter.WrBand},
	{waiter.HUp, signal.PollHup, waiter.HUp | waiter.Err},
	{waiter.Msg, signal.PollMsg, waiter.In | waiter.RdNorm | waiter.Msg},
}

// AdoptAsync makes the foreground process group of a terminal, or else t's process, the owner of a file that has none and
// tells of what comes in.
func (t *Task) AdoptAsync(f *vfs.File) {
	tty, master := t.k.TTYOf(f)
	if tty == nil {
		return
	}
	t.k.tree.RLock()
	owner, kind := t.tg.pid, int32(OwnerProcess)
	if g := tty.foreground; g != nil && !master {
		owner, kind = g.pid, OwnerGroup
	}
	t.k.tree.RUnlock()
	t.adoptAsync(f, owner, kind)
}

func (t *Task) adoptAsync(f *vfs.File, owner *PID, kind int32) {
	creds := t.Creds()
	f.SetAsync(func(a *vfs.Async) {
		if a.Owner == nil {
			a.Owner, a.Kind, a.UID, a.EUID = owner, kind, creds.RUID, creds.EUID
		}
	})
}

// SetLease is F_SETLEASE: EACCES for others' files without CAP_LEASE, EINVAL for files that have no leases. The process owns the file
// if nobody does.
func (t *Task) SetLease(f *vfs.File, kind int16, fd int32) error {
	attr, err := f.Attr()
	if err != nil {
		return err
	}
	creds := t.Creds()
	switch {
	case creds.FSUID != attr.UID && !creds.HasGlobal(unix.CAP_LEASE):
		return unix.EACCES
	case !f.CanLease():
		return unix.EINVAL
	}
	if err := f.SetLease(kind, fd); err != nil {
		return err
	}
	if kind != unix.F_UNLCK {
		t.adoptAsync(f, t.tg.pid, OwnerProcess)
	}
	return nil
}

// WaitLease implements vfs.LeaseWaiter.
func (t *Task) WaitLease(c <-chan struct{}, d time.Duration) error {
	clock := t.k.clocks.Monotonic()
	return t.BlockUntilTime(c, clock, clock.Now()+int64(d))
}

// tellAsync sends the signals of an event to the owner of a file.
func (k *Kernel) tellAsync(e vfs.AsyncEvent) {
	for _, kind := range asyncKinds {
		if e.What&kind.event != 0 {
			k.sendAsync(&e.Async, e.FD, kind.code, int64(kind.band))
		}
	}
}

// sendAsync sends the signal that a names to its owner, as far as who set the owner may.
func (k *Kernel) sendAsync(a *vfs.Async, fd, code int32, band int64) {
	pid, ok := a.Owner.(*PID)
	if !ok {
		return
	}
	k.tree.RLock()
	defer k.tree.RUnlock()
	switch {
	case a.Kind != OwnerGroup && pid.task != nil:
		pid.task.sendAsyncLocked(a, fd, code, band)
	case a.Kind == OwnerGroup && pid.group != nil:
		for tg := range pid.group.members {
			if tg.leader != nil {
				tg.leader.sendAsyncLocked(a, fd, code, band)
			}
		}
	}
}

// sendAsyncLocked sends to t, or its process: the signal that was chosen with what happened, SIGIO without where none was
// or that one cannot be queued.
func (t *Task) sendAsyncLocked(a *vfs.Async, fd, code int32, band int64) {
	c := t.Creds()
	if a.EUID != 0 && a.EUID != c.SUID && a.EUID != c.RUID && a.UID != c.SUID && a.UID != c.RUID {
		return
	}
	send := t.tg.SendSignal
	if a.Kind == OwnerThread {
		send = t.SendSignal
	}
	if sig := signal.Signal(a.Signal); sig != 0 {
		if sig != unix.SIGIO && signal.HasCodes(sig) {
			code = signal.CodeSigIO
		}
		if send(&signal.Info{Signo: sig, Code: code, Band: band, FD: fd}) == nil {
			return
		}
	}
	info := signal.KernelInfo(unix.SIGIO)
	send(&info) //nolint:errcheck // a standard signal cannot fail
}
