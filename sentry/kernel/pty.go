package kernel

import (
	"gosentry/fs/tty"
	"gosentry/fs/vfs"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// NewTerminals makes a file system of pseudo-terminals; options are those of mount(2), EINVAL.
func (k *Kernel) NewTerminals(options string) (*tty.FileSystem, error) {
	return tty.New(tty.Config{Count: &k.terminals, NewJob: func(t *tty.Terminal) tty.Job {
		return &TTY{k: k, device: slaveDevice(t.Number()), open: t.Open, hangUp: t.HangUp}
	}}, options)
}

// slaveDevice is the number of the device /dev/pts/n.
func slaveDevice(n int) uint32 {
	const major = 136
	return major<<8 | uint32(n)&0xff | uint32(n)&^0xff<<12
}

// Signal implements tty.Job.
func (t *TTY) Signal(sig signal.Signal) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if t.foreground != nil {
		t.foreground.sendLocked(sig)
	}
}

// HungUp implements tty.Job: the session's leader hears of it, its foreground group when the leader ends.
func (t *TTY) HungUp() {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	s := t.session
	if s == nil {
		return
	}
	if tg := s.leader; tg != nil {
		for _, sig := range []signal.Signal{unix.SIGHUP, unix.SIGCONT} {
			info := signal.KernelInfo(sig)
			tg.SendSignal(&info) //nolint:errcheck // standard signals cannot fail
		}
	}
	s.hungUp = t.foreground
	s.tty, t.session, t.foreground = nil, nil, nil
}

// HangUp is vhangup(2): the caller's controlling terminal, if it has one, is hung up; EPERM.
func (t *Task) HangUp() error {
	if !t.Creds().HasGlobal(unix.CAP_SYS_TTY_CONFIG) {
		return unix.EPERM
	}
	tty := t.ControllingTTY()
	if tty == nil {
		return nil
	}
	tty.HungUp()
	if tty.hangUp != nil {
		tty.hangUp()
	}
	return nil
}

// OpenedTerminal makes a terminal that the caller has opened its controlling one, where it leads a session without
// one and the terminal has none either (open(2) without O_NOCTTY).
func (t *Task) OpenedTerminal(f *vfs.File) {
	if tty, master := t.k.TTYOf(f); tty != nil && !master && f.Readable() {
		t.SetControllingTTY(tty, f, false) //nolint:errcheck // then it is not
	}
}

// OpenPeer opens the slave of a master by its name, as TIOCGPTPEER; EIO for another terminal, or when it is not at its place.
func (t *Task) OpenPeer(f *vfs.File, flags int) (*vfs.File, error) {
	m, ok := f.Ops().(*tty.Master)
	if !ok {
		return nil, unix.EIO
	}
	root := t.FS().Root()
	p, err := vfs.Walk(t, vfs.WalkArgs{Root: root, Start: root}, m.Terminal().Name())
	if err != nil || !m.Terminal().IsSlave(p.Inode()) {
		return nil, unix.EIO
	}
	return vfs.OpenPath(t, p, flags)
}
