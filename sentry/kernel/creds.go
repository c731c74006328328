package kernel

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// SetCreds replaces the credentials, and moves the task to its new user's count.
// Only the task itself calls it.
func (t *Task) SetCreds(c *cred.Credentials) {
	old := t.creds.Load()
	if to := keyOf(c); to != keyOf(old) {
		if c.UserNS == old.UserNS {
			t.overNProc = !isRootOfAll(c) && t.k.users.over(to, t.Limits().Soft(limits.NProc))
		}
		t.k.users.move(keyOf(old), to)
	}
	if t.creds.Swap(c).NoNewPrivs {
		t.keepNoNewPrivs() // another thread may have set it meanwhile
	}
	if c.UserNS != old.UserNS {
		c.UserNS.Hold()
		old.UserNS.Drop()
	}
	if old.EUID != c.EUID || old.EGID != c.EGID || old.FSUID != c.FSUID || old.FSGID != c.FSGID ||
		!old.Covers(c) {
		t.pdeath.Store(0)
		t.tg.dumpable.Store(0)
	}
}

// credsForExec returns the credentials with which file would run; untraced tells that no tracer forbids to gain any.
func (t *Task) credsForExec(file *vfs.File, untraced bool) (*cred.Credentials, bool, error) {
	attr, err := file.Attr()
	if err != nil {
		return nil, false, err
	}
	f := cred.ExecFile{Mode: attr.Mode, UID: attr.UID, GID: attr.GID}
	if m := file.Path().Mount; m.Flags()&vfs.NoSuid != 0 || !t.MountsOf().Has(m) {
		f.Mode &^= unix.S_ISUID | unix.S_ISGID
	} else if b, err := vfs.GetXattr(t, file.Path(), "security.capability"); err == nil {
		if f.Caps, err = cred.ParseFileCaps(b); err != nil {
			return nil, false, err
		}
	}
	shared := t.FS().refs.Load() > int32(t.tg.threads())
	return t.Creds().Exec(f, shared || !untraced)
}

func (tg *ThreadGroup) threads() int {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.live
}

// Dumpable returns and SetDumpable sets whether others of the user may look into
// the process (prctl(2), PR_SET_DUMPABLE).
func (tg *ThreadGroup) Dumpable() bool { return tg.dumpable.Load() == 1 }

// SetDumpable sets it.
func (tg *ThreadGroup) SetDumpable(on bool) {
	v := int32(0)
	if on {
		v = 1
	}
	tg.dumpable.Store(v)
}

// Subreaper tells whether orphans among the descendants become children of the
// process (prctl(2), PR_SET_CHILD_SUBREAPER).
func (tg *ThreadGroup) Subreaper() bool {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.subreaper
}

// SetSubreaper sets it.
func (tg *ThreadGroup) SetSubreaper(on bool) {
	tg.k.tree.Lock()
	defer tg.k.tree.Unlock()
	tg.subreaper = on
}

// CredsOf returns the credentials of thread id, 0 meaning the caller; ESRCH.
func (t *Task) CredsOf(id int32) (*cred.Credentials, error) {
	if id == 0 {
		return t.Creds(), nil
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	p := t.pidns.ids[id]
	if p == nil || p.task == nil {
		return nil, unix.ESRCH
	}
	return p.task.Creds(), nil
}

// TimerSlack returns the timer slack in ns (prctl(2)).
func (t *Task) TimerSlack() uint64 { return t.slackNS.Load() }

// SetTimerSlack sets it; 0 means what the thread started with. Timers here have none.
func (t *Task) SetTimerSlack(ns uint64) {
	if ns == 0 {
		ns = t.slackAtStart
	}
	t.slackNS.Store(ns)
}

// THPDisabled tells whether huge pages are switched off (PR_SET_THP_DISABLE).
func (tg *ThreadGroup) THPDisabled() bool { return tg.thpDisabled.Load() }

// SetTHPDisabled remembers the switch; memory here has no huge pages of its own.
func (tg *ThreadGroup) SetTHPDisabled(off bool) { tg.thpDisabled.Store(off) }
