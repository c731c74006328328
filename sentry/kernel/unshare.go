package kernel

import (
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Unshare says what unshare(2) separates.
type Unshare struct {
	Fresh     Fresh
	Files, FS bool
	SysVSem   bool
	// Thread, Actions and Memory ask for what only a task that shares none of it with another can be told.
	Thread, Actions, Memory bool
}

// Unshare gives the task its own of what u says, all or nothing. EINVAL for what cannot be separated any more,
// EPERM and ENOSPC for namespaces, EMFILE for a descriptor table larger than fs.nr_open.
func (t *Task) Unshare(u Unshare) error {
	if err := t.mayUnshare(&u); err != nil {
		return err
	}
	creds, err := t.freshCreds(u.Fresh)
	if err != nil {
		return err
	}
	defer creds.UserNS.Drop()
	files, err := t.filesFor(u.Files)
	if err != nil {
		return err
	}
	fs := t.FS().incRef()
	if u.FS {
		fs.decRef()
		fs = fs.fork()
	}
	ns, err := t.makeFresh(u.Fresh&^FreshUser, creds, fs)
	if err != nil {
		fs.decRef()
		files.DecRef(t)
		return err
	}
	t.fs.Swap(fs).decRef()
	t.setFiles(files)
	if u.SysVSem {
		t.dropSemUndo()
	}
	t.setNamespaces(ns)
	if creds != t.Creds() {
		t.SetCreds(creds)
	}
	return nil
}

// filesFor returns the task's descriptor table, or with own one that only it has, with a reference for the caller.
func (t *Task) filesFor(own bool) (*FDTable, error) {
	if own {
		return t.FDs().unshared(noFDs)
	}
	return t.FDs().incRef(), nil
}

// freshCreds returns the task's credentials, with FreshUser those in a new user namespace. The namespace they are
// in is held once more. ENOSPC; EPERM for who has changed its root directory, so that
// nobody gets out of one.
func (t *Task) freshCreds(fresh Fresh) (*cred.Credentials, error) {
	c := t.Creds()
	if fresh&FreshUser == 0 {
		c.UserNS.Hold()
		return c, nil
	}
	if t.FS().Root() != t.MountsOf().Root() {
		return nil, unix.EPERM
	}
	return c.NewUserNamespace(t.k.nextNSIno(), t.mostInNamespace(c))
}

// mayUnshare is EINVAL for a thread of several, and for an address space that others use, vfork's children too.
func (t *Task) mayUnshare(u *Unshare) error {
	switch {
	case (u.Thread || u.Actions || u.Memory) && t.tg.threads() > 1,
		(u.Actions || u.Memory) && t.MM().Users() > 1:
		return unix.EINVAL
	}
	return nil
}
