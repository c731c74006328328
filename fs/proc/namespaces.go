package proc

import (
	"fmt"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// namespaces is the source of /proc/PID/ns.
type namespaces struct{ *taskDir }

// List implements pseudo.Source.
func (d namespaces) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	if !d.task.Exists() {
		return unix.ENOENT
	}
	for i, n := range d.task.Namespaces() {
		next := int64(i + 1)
		if next <= pos {
			continue
		}
		if !emit(vfs.Dirent{Name: n.Name, Ino: d.inoOf("ns", uint64(next)), Type: unix.DT_LNK, Next: next}) {
			break
		}
	}
	return nil
}

// Lookup implements pseudo.Source.
func (d namespaces) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	_, i, err := d.find(name)
	if err != nil {
		return nil, err
	}
	l := &namespaceLink{d.magicLink(0o777, func(c vfs.Caller) (vfs.Path, error) {
		n, _, err := d.find(name)
		switch {
		case err != nil:
			return vfs.Path{}, err
		case n.Open == nil:
			return vfs.Path{}, unix.EACCES
		}
		return n.Open(c)
	}), d, name}
	l.SetIno(d.inoOf("ns", uint64(i+1)))
	return l, nil
}

// find returns the namespace called name and its index.
func (d namespaces) find(name string) (Namespace, int, error) {
	for i, n := range d.task.Namespaces() {
		if n.Name == name {
			return n, i, nil
		}
	}
	return Namespace{}, 0, unix.ENOENT
}

// Valid implements pseudo.Validator.
func (d namespaces) Valid(_ vfs.Caller, name string, _ vfs.Inode) bool { return d.task.Exists() }

// namespaceLink is a link that reads as kind and number.
type namespaceLink struct {
	*magicLink
	in   namespaces
	name string
}

// Readlink implements vfs.Inode.
func (l *namespaceLink) Readlink(c vfs.Caller) (string, error) {
	if err := l.in.task.MayAccess(c, false); err != nil {
		return "", err
	}
	n, _, err := l.in.find(l.name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s:[%d]", n.Kind, n.ID), nil
}
