package kernel

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// adoptTerminal makes the first terminal among the program's standard streams the
// controlling one of its session.
func (t *Task) adoptTerminal(stdio []*vfs.File) error {
	for _, f := range stdio {
		if f == nil || !isTerminal(f) {
			continue
		}
		t.k.terminal, t.k.terminalInode = new(TTY), f.Inode()
		return t.SetControllingTTY(t.k.terminal)
	}
	return nil
}

func isTerminal(f *vfs.File) bool {
	tty, ok := f.Ops().(interface{ IsTerminal() bool })
	return ok && tty.IsTerminal()
}

// TTYOf returns the terminal that file is, or nil.
func (k *Kernel) TTYOf(f *vfs.File) *TTY {
	if k.terminal == nil || !isTerminal(f) {
		return nil
	}
	return k.terminal
}

// OpenTerminal opens the caller's controlling terminal, as /dev/tty does; ENXIO
// when it has none.
func (k *Kernel) OpenTerminal(c vfs.Caller, flags int) (vfs.FileOps, error) {
	if t := taskOf(c); t == nil || t.ControllingTTY() == nil {
		return nil, unix.ENXIO
	}
	return k.terminalInode.Open(c, flags)
}

// SetControllingTTY makes tty the controlling terminal of the caller's session
// (ioctl_tty(2), TIOCSCTTY): EPERM unless the caller leads a session without one.
func (t *Task) SetControllingTTY(tty *TTY) error {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	s := t.tg.group.session
	if s.tty == tty {
		return nil
	}
	if s.leader != t.tg || s.tty != nil || tty.session != nil {
		return unix.EPERM
	}
	s.tty = tty
	tty.session, tty.foreground = s, t.tg.group
	return nil
}

// DropControllingTTY gives the controlling terminal up (TIOCNOTTY).
func (t *Task) DropControllingTTY(tty *TTY) error {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	if t.tg.group.session.tty != tty {
		return unix.ENOTTY
	}
	t.tg.leaveTerminalLocked()
	return nil
}

// ControllingTTY returns the terminal of the caller's session, or nil.
func (t *Task) ControllingTTY() *TTY {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.tg.group.session.tty
}

// Foreground returns the foreground process group of tty (tcgetpgrp(3)).
func (t *Task) Foreground(tty *TTY) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if tty.session == nil || tty.session != t.tg.group.session {
		return 0, unix.ENOTTY
	}
	if tty.foreground == nil {
		return 0, nil
	}
	return tty.foreground.pid.In(t.pidns), nil
}

// TTYSession returns the session that tty controls (tcgetsid(3)).
func (t *Task) TTYSession(tty *TTY) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if tty.session == nil || tty.session != t.tg.group.session {
		return 0, unix.ENOTTY
	}
	return tty.session.pid.In(t.pidns), nil
}

// SetForeground makes group pgid the foreground one (tcsetpgrp(3)). A caller in
// the background gets SIGTTOU first, unless it blocks or ignores it.
func (t *Task) SetForeground(tty *TTY, pgid int32) error {
	if err := t.CheckTTYChange(tty); err != nil {
		return err
	}
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	s := t.tg.group.session
	if tty.session != s || s == nil {
		return unix.ENOTTY
	}
	if pgid < 0 {
		return unix.EINVAL
	}
	p := t.pidns.ids[pgid]
	switch {
	case p == nil || p.group == nil:
		return unix.ESRCH
	case p.group.session != s:
		return unix.EPERM
	}
	tty.foreground = p.group
	return nil
}

// CheckTTYChange stops a background caller that changes or, with TOSTOP, writes
// to its terminal: SIGTTOU to its group and ERESTARTSYS.
func (t *Task) CheckTTYChange(tty *TTY) error { return t.checkTTY(tty, unix.SIGTTOU) }

// CheckTTYRead stops a background caller that reads its terminal: SIGTTIN, or
// EIO where that would have no effect.
func (t *Task) CheckTTYRead(tty *TTY) error { return t.checkTTY(tty, unix.SIGTTIN) }

func (t *Task) checkTTY(tty *TTY, sig signal.Signal) error {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	g := t.tg.group
	if tty.session != g.session || tty.foreground == nil || tty.foreground == g {
		return nil
	}
	without := t.SignalMask().Has(sig) || t.tg.handlers.Get(sig).Handler == signal.HandlerIgnore
	switch {
	case without && sig == unix.SIGTTOU:
		return nil
	case without || g.orphanedLocked(nil):
		return unix.EIO
	}
	g.sendLocked(sig)
	return ERESTARTSYS
}
