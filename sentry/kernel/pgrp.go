package kernel

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// Session is a session as of credentials(7), and its controlling terminal.
type Session struct {
	pid *PID

	// Guarded by Kernel.tree.
	leader *ThreadGroup
	tty    *TTY
	// hungUp was the foreground group of the terminal that the session lost by a hang-up.
	hungUp *ProcessGroup
	groups int
}

// ProcessGroup is a process group of one session.
type ProcessGroup struct {
	pid     *PID
	session *Session

	// Guarded by Kernel.tree.
	members map[*ThreadGroup]struct{}
}

// TTY is a terminal as job control sees it.
type TTY struct {
	k      *Kernel
	device uint32 // number, as /proc/PID/stat shows it
	open   func(c vfs.Caller, flags int) (vfs.FileOps, error)
	hangUp func() // ends its open files; nil for the sandbox's own, which the host has

	// Guarded by Kernel.tree.
	session    *Session
	foreground *ProcessGroup
}

func newSessionLocked(tg *ThreadGroup) *Session {
	s := &Session{pid: tg.pid, leader: tg}
	tg.pid.session = s
	return s
}

func newProcessGroupLocked(pid *PID, s *Session) *ProcessGroup {
	g := &ProcessGroup{pid: pid, session: s, members: make(map[*ThreadGroup]struct{})}
	pid.group = g
	s.groups++
	return g
}

// leadSessionLocked puts a new process into a session and a group of its own.
func (tg *ThreadGroup) leadSessionLocked() {
	newProcessGroupLocked(tg.pid, newSessionLocked(tg)).joinLocked(tg)
}

// joinLocked moves tg into g.
func (g *ProcessGroup) joinLocked(tg *ThreadGroup) {
	if tg.group == g {
		return
	}
	old := tg.group
	tg.group = g
	g.members[tg] = struct{}{}
	if old != nil {
		old.leaveLocked(tg)
	}
}

func (g *ProcessGroup) leaveLocked(tg *ThreadGroup) {
	delete(g.members, tg)
	if len(g.members) > 0 {
		return
	}
	g.pid.group = nil
	g.pid.dropLocked()
	s := g.session
	if s.tty != nil && s.tty.foreground == g {
		s.tty.foreground = nil
	}
	if s.groups--; s.groups == 0 {
		s.pid.session = nil
		s.pid.dropLocked()
	}
}

// orphanedLocked tells whether no member has a parent in another group of the
// same session (setpgid(2)); ignoring is a process that is about to end.
func (g *ProcessGroup) orphanedLocked(ignoring *ThreadGroup) bool {
	for tg := range g.members {
		if tg == ignoring || tg.exited || tg.parent == nil || tg.parent == ignoring {
			continue
		}
		p := tg.parent
		if p.group != g && p.group.session == g.session {
			return false
		}
	}
	return true
}

func (g *ProcessGroup) hasStoppedLocked() bool {
	for tg := range g.members {
		tg.sigMu.Lock()
		stopped := tg.stop.complete
		tg.sigMu.Unlock()
		if stopped {
			return true
		}
	}
	return false
}

// SetSID makes the caller the leader of a new session and group (setsid(2)).
func (t *Task) SetSID() (int32, error) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	tg := t.tg
	if tg.pid.group != nil {
		return 0, unix.EPERM
	}
	s := newSessionLocked(tg)
	newProcessGroupLocked(tg.pid, s).joinLocked(tg)
	return tg.pid.In(t.pidns), nil
}

// SetPGID moves process pid into group pgid, 0 meaning the caller and the
// process itself (setpgid(2)).
func (t *Task) SetPGID(pid, pgid int32) error {
	if pgid < 0 {
		return unix.EINVAL
	}
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	tg := t.tg
	if pid != 0 {
		p := t.pidns.ids[pid]
		switch {
		case p == nil || p.tg == nil && p.task == nil:
			return unix.ESRCH
		case p.tg == nil:
			return unix.EINVAL
		}
		tg = p.tg
	}
	if err := t.maySetPGIDLocked(tg); err != nil {
		return err
	}
	if pgid == 0 || pgid == tg.pid.In(t.pidns) {
		if tg.pid.group == nil {
			newProcessGroupLocked(tg.pid, tg.group.session)
		}
		if tg.pid.group.session != tg.group.session {
			return unix.EPERM
		}
		tg.pid.group.joinLocked(tg)
		return nil
	}
	p := t.pidns.ids[pgid]
	if p == nil || p.group == nil || p.group.session != tg.group.session {
		return unix.EPERM
	}
	p.group.joinLocked(tg)
	return nil
}

func (t *Task) maySetPGIDLocked(tg *ThreadGroup) error {
	switch {
	case tg != t.tg && tg.parent != t.tg:
		return unix.ESRCH
	case tg != t.tg && tg.group.session != t.tg.group.session:
		return unix.EPERM
	case tg != t.tg && tg.execs > 0:
		return unix.EACCES
	case tg.group.session.leader == tg:
		return unix.EPERM
	}
	return nil
}

// GetPGID returns the process group of pid, 0 meaning the caller (getpgid(2)).
func (t *Task) GetPGID(pid int32) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	tg, err := t.processLocked(pid)
	if err != nil {
		return 0, err
	}
	return tg.group.pid.In(t.pidns), nil
}

// GetSID returns the session of pid, 0 meaning the caller (getsid(2)).
func (t *Task) GetSID(pid int32) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	tg, err := t.processLocked(pid)
	if err != nil {
		return 0, err
	}
	return tg.group.session.pid.In(t.pidns), nil
}

// processLocked finds the thread group of the thread or process pid, 0 meaning
// the caller's.
func (t *Task) processLocked(pid int32) (*ThreadGroup, error) {
	if pid == 0 {
		return t.tg, nil
	}
	p := t.pidns.ids[pid]
	switch {
	case p == nil:
		return nil, unix.ESRCH
	case p.tg != nil:
		return p.tg, nil
	case p.task != nil:
		return p.task.tg, nil
	}
	return nil, unix.ESRCH
}
