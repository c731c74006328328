package vfs

import "strings"

// PathName returns the name of p as seen from root, with " (deleted)" behind it when it was
// removed. Where p does not lie below root, name is the way from the top of
// what p is mounted in, and reachable is false. Files without a name have
// one like "pipe:[7]". A name far longer than PathMax may lack its beginning; it is not
// reachable then.
func PathName(root, p Path) (name string, reachable bool) {
	if p.Mount.ns.Load() == nil && p.Dentry != p.Mount.root && p.Dentry.place.Load().parent == nil {
		return p.Name(), true
	}
	sys := p.Dentry.fs.sys
	for tries := 0; ; tries++ {
		renames, moves := sys.renames.Load(), sys.moves.Load()
		name, reachable = climb(root, p)
		if tries == 8 || renames == sys.renames.Load() && moves == sys.moves.Load() {
			return name, reachable
		}
	}
}

// Within is the place in the file system that the mount shows, for /proc/PID/mountinfo.
func (m *Mount) Within() string {
	if place := m.root.place.Load(); place.parent == nil && m.root != m.fs.root {
		return place.name
	}
	name, _ := climb(Path{}, Path{&Mount{root: m.fs.root}, m.root})
	return name
}

func climb(root, p Path) (string, bool) {
	var store [32]string
	names := store[:0]
	deleted := p.Deleted()
	reachable := false
	size := 0
	for depth := 0; ; depth++ {
		if p == root {
			reachable = true
			break
		}
		if p.Dentry == p.Mount.root {
			at := p.Mount.at.Load()
			if at == nil {
				break
			}
			p = *at
			continue
		}
		pl := p.Dentry.place.Load()
		if pl.parent == nil {
			break
		}
		if size > 16*PathMax {
			break
		}
		names = append(names, pl.name)
		size += len(pl.name) + 1
		p.Dentry = pl.parent
	}
	var b strings.Builder
	b.Grow(size + len(deletedMark))
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if len(names) == 0 {
		b.WriteByte('/')
	}
	if deleted {
		b.WriteString(deletedMark)
	}
	return b.String(), reachable
}

const deletedMark = " (deleted)"
