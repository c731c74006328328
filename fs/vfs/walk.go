package vfs

import (
	"strings"

	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one walk follows.
const maxLinks = 40

// WalkArgs say where a name begins and how its last component is taken.
type WalkArgs struct {
	Root  Path // of the caller, where "/" leads
	Start Path // the current directory, or that of openat(2)

	NoFollow  bool   // a symbolic link as last component is itself meant
	Directory bool   // ENOTDIR for all but directories
	EmptyOK   bool   // "" means Start (AT_EMPTY_PATH), else it is ENOENT
	Resolve   uint64 // RESOLVE_* of openat2(2)
}

const scoped = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT

// walker is a walk under way. It lives on the stack.
type walker struct {
	c         Caller
	creds     *cred.Credentials
	sys       *System
	root, cur Path
	resolve   uint64
	searchAll bool
	links     int

	// last is the component that prefix left, "" for the place itself; slash
	// tells that slashes came behind it.
	last  string
	slash bool

	// renames and moves are the counts at the start of a scoped walk.
	renames, moves uint64
}

// Walk finds the file called name. ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG,
// and EXDEV, ELOOP or EAGAIN for RESOLVE_*.
func Walk(c Caller, a WalkArgs, name string) (Path, error) {
	if name == "" && a.EmptyOK {
		if a.Directory && !a.Start.IsDir() {
			return Path{}, unix.ENOTDIR
		}
		return a.Start, nil
	}
	var w walker
	if err := w.begin(c, &a, name); err != nil {
		return Path{}, err
	}
	p, err := w.final(a.NoFollow)
	if err != nil {
		return Path{}, err
	}
	if a.Directory && !p.IsDir() {
		return Path{}, unix.ENOTDIR
	}
	return p, nil
}

// begin walks all of name but its last component.
func (w *walker) begin(c Caller, a *WalkArgs, name string) error {
	if name == "" {
		return unix.ENOENT
	}
	if len(name) >= PathMax {
		return unix.ENAMETOOLONG
	}
	if strings.IndexByte(name, 0) >= 0 {
		return unix.EINVAL
	}
	w.c, w.creds, w.resolve = c, c.Creds(), a.Resolve
	w.searchAll = searchesAll(w.creds)
	w.root, w.cur = a.Root, a.Start
	w.sys = a.Start.Dentry.fs.sys
	if a.Resolve&scoped != 0 {
		w.root = a.Start
		w.renames, w.moves = w.sys.renames.Load(), w.sys.moves.Load()
	}
	return w.prefix(name)
}

// prefix walks all of name but its last component, from w.cur or from the root.
func (w *walker) prefix(name string) error {
	if name[0] == '/' {
		if err := w.toRoot(); err != nil {
			return err
		}
	}
	for {
		name = strings.TrimLeft(name, "/")
		if name == "" {
			w.last, w.slash = "", true
			return nil
		}
		if err := w.search(); err != nil {
			return err
		}
		i := strings.IndexByte(name, '/')
		if i < 0 {
			w.last, w.slash = name, false
			return nil
		}
		comp := name[:i]
		name = strings.TrimLeft(name[i:], "/")
		if name == "" {
			w.last, w.slash = comp, true
			return nil
		}
		if err := w.step(comp); err != nil {
			return err
		}
	}
}

// search checks that w.cur is a directory which the caller may search.
func (w *walker) search() error {
	d := w.cur.Dentry
	if d.kind != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	if w.searchAll && d.perm == nil {
		return nil
	}
	return permit(w.c, d, MayExec)
}

// step goes to the entry name of w.cur, following a symbolic link.
func (w *walker) step(name string) error {
	p, err := w.child(name)
	if err != nil {
		return err
	}
	if p.Dentry.kind != unix.S_IFLNK {
		w.cur = p
		return nil
	}
	jumped, err := w.follow(p)
	if err != nil || jumped {
		return err
	}
	return w.step(w.last)
}

// final goes from what prefix left to the file that is meant.
func (w *walker) final(noFollow bool) (Path, error) {
	mustDir := w.slash
	for {
		p, err := w.child(w.last)
		if err != nil {
			return Path{}, err
		}
		if p.Dentry.kind == unix.S_IFLNK && (!noFollow || mustDir) {
			jumped, err := w.follow(p)
			if err != nil {
				return Path{}, err
			}
			if !jumped {
				mustDir = mustDir || w.slash
				continue
			}
			p = w.cur
		}
		if mustDir && !p.IsDir() {
			return Path{}, unix.ENOTDIR
		}
		return p, nil
	}
}

// child looks up one entry of w.cur and crosses into what is mounted there.
// ENOENT for an absence.
func (w *walker) child(name string) (Path, error) {
	switch name {
	case "", ".":
		return w.cur, nil
	case "..":
		return w.parent()
	}
	d, err := lookup(w.c, w.cur.Dentry, name)
	if err != nil {
		return Path{}, err
	}
	if d.inode == nil {
		return Path{}, unix.ENOENT
	}
	return w.cross(Path{w.cur.Mount, d})
}

func (w *walker) cross(p Path) (Path, error) {
	if p.Dentry.mounts.Load() == 0 {
		return p, nil
	}
	q := p.top()
	if q.Mount != p.Mount && w.resolve&unix.RESOLVE_NO_XDEV != 0 {
		return Path{}, unix.EXDEV
	}
	return q, nil
}

// parent is "..": up through mounts, but never above the root.
func (w *walker) parent() (Path, error) {
	p := w.cur
	for {
		if p == w.root {
			if w.resolve&unix.RESOLVE_BENEATH != 0 {
				return Path{}, unix.EXDEV
			}
			return w.cross(p)
		}
		if p.Dentry != p.Mount.root {
			break
		}
		at := p.Mount.at.Load()
		if at == nil {
			return p, nil
		}
		if w.resolve&unix.RESOLVE_NO_XDEV != 0 {
			return Path{}, unix.EXDEV
		}
		p = *at
	}
	up := p.Dentry.place.Load().parent
	if up == nil {
		return p, nil
	}
	if p.Mount.root != p.Mount.fs.root && !up.isUnder(p.Mount.root) {
		// A rename took the directory out of what the mount shows.
		return Path{}, unix.ENOENT
	}
	if w.resolve&scoped != 0 && (w.renames != w.sys.renames.Load() || w.moves != w.sys.moves.Load()) {
		return Path{}, unix.EAGAIN
	}
	return w.cross(Path{p.Mount, up})
}

func (w *walker) toRoot() error {
	switch {
	case w.resolve&unix.RESOLVE_BENEATH != 0:
		return unix.EXDEV
	case w.resolve&unix.RESOLVE_NO_XDEV != 0 && w.links > 0 && w.cur.Mount != w.root.Mount:
		return unix.EXDEV
	}
	w.cur = w.root
	return nil
}

// follow goes where the symbolic link p, found in w.cur, leads: to w.cur itself for a link
// to an object (jumped), else to all but the last component of its text.
func (w *walker) follow(p Path) (jumped bool, err error) {
	if w.links++; w.links > maxLinks {
		return false, unix.ELOOP
	}
	if w.resolve&unix.RESOLVE_NO_SYMLINKS != 0 || p.Mount.Flags()&NoSymFollow != 0 {
		return false, unix.ELOOP
	}
	if magic, ok := p.Dentry.inode.(MagicLink); ok {
		return true, w.jump(magic)
	}
	text, err := p.Dentry.inode.Readlink(w.c)
	if err != nil {
		return false, err
	}
	if text == "" {
		return false, unix.ENOENT
	}
	return false, w.prefix(text)
}

func (w *walker) jump(magic MagicLink) error {
	if w.resolve&unix.RESOLVE_NO_MAGICLINKS != 0 {
		return unix.ELOOP
	}
	to, err := magic.Target(w.c)
	if err != nil {
		return err
	}
	if w.resolve&scoped != 0 || w.resolve&unix.RESOLVE_NO_XDEV != 0 && to.Mount != w.cur.Mount {
		return unix.EXDEV
	}
	w.cur = to
	return nil
}
