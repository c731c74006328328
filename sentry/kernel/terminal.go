package kernel

import (
	"gosentry/fs/tty"
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
		tty, _ := t.k.TTYOf(f)
		if tty == nil {
			tty = &TTY{k: t.k, device: slaveDevice(0), open: f.Inode().Open}
			t.k.terminal = tty
		}
		return t.SetControllingTTY(tty, f, false)
	}
	return nil
}

func isTerminal(f *vfs.File) bool {
	tty, ok := f.Ops().(interface{ IsTerminal() bool })
	return ok && tty.IsTerminal()
}

// TTYOf returns the terminal that file is, or whose master it is; nil for other files.
func (k *Kernel) TTYOf(f *vfs.File) (t *TTY, master bool) {
	switch o := f.Ops().(type) {
	case *tty.Slave:
		return o.Terminal().Job().(*TTY), false
	case *tty.Master:
		return o.Terminal().Job().(*TTY), true
	}
	if k.terminal == nil || !isTerminal(f) {
		return nil, false
	}
	return k.terminal, false
}

// OpenTerminal opens the caller's controlling terminal, as /dev/tty does; ENXIO
// when it has none.
func (k *Kernel) OpenTerminal(c vfs.Caller, flags int) (vfs.FileOps, error) {
	t := taskOf(c)
	if t == nil {
		return nil, unix.ENXIO
	}
	tty := t.ControllingTTY()
	if tty == nil {
		return nil, unix.ENXIO
	}
	return tty.open(c, flags)
}

// SetControllingTTY makes tty, open as f, the controlling terminal of the caller's session
// (ioctl_tty(2), TIOCSCTTY): EPERM unless the caller leads a session without one. A privileged caller may
// steal it from another session.
func (t *Task) SetControllingTTY(tty *TTY, f *vfs.File, steal bool) error {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	s := t.tg.group.session
	if s.tty == tty {
		return nil
	}
	may := t.Creds().Has(unix.CAP_SYS_ADMIN)
	if s.leader != t.tg || s.tty != nil || tty.session != nil && !(steal && may) || !f.Readable() && !may {
		return unix.EPERM
	}
	if tty.session != nil {
		tty.session.tty = nil
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

// Foreground returns the foreground process group of tty (tcgetpgrp(3)). Who has the master need not be in its session.
func (t *Task) Foreground(tty *TTY, master bool) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if !master && (tty.session == nil || tty.session != t.tg.group.session) {
		return 0, unix.ENOTTY
	}
	if tty.foreground == nil {
		return 0, nil
	}
	return tty.foreground.pid.In(t.pidns), nil
}

// TTYSession returns the session that tty controls (tcgetsid(3)).
func (t *Task) TTYSession(tty *TTY, master bool) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if tty.session == nil || !master && tty.session != t.tg.group.session {
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
