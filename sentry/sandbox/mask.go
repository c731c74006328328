package sandbox

import (
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// mask says what of a directory is shown empty: all of it, or what lies below.
type mask struct {
	empty bool
	below map[string]*mask
}

// newMask makes the mask of a tree from the relative paths of its empty directories.
func newMask(paths []string) *mask {
	m := new(mask)
	for _, p := range paths {
		at := m
		for name := range strings.SplitSeq(p, "/") {
			if at.below == nil {
				at.below = make(map[string]*mask)
			}
			if at.below[name] == nil {
				at.below[name] = new(mask)
			}
			at = at.below[name]
		}
		at.empty = true
	}
	return m
}

// apply puts the mask on an inode. The tree must be one that is never written.
func (m *mask) apply(i vfs.Inode) vfs.Inode {
	if m == nil || !m.empty && m.below == nil {
		return i
	}
	if m.empty {
		return emptyDir{i}
	}
	return maskedDir{i, m}
}

// maskedDir is a directory with masked ones below it.
type maskedDir struct {
	vfs.Inode
	mask *mask
}

// Lookup implements vfs.Inode.
func (d maskedDir) Lookup(c vfs.Caller, name string) (vfs.Inode, error) {
	i, err := d.Inode.Lookup(c, name)
	if err != nil {
		return nil, err
	}
	return d.mask.below[name].apply(i), nil
}

// emptyDir is a directory whose entries are not shown.
type emptyDir struct{ vfs.Inode }

// Lookup implements vfs.Inode.
func (emptyDir) Lookup(vfs.Caller, string) (vfs.Inode, error) { return nil, unix.ENOENT }

// Open implements vfs.Inode.
func (d emptyDir) Open(vfs.Caller, int) (vfs.FileOps, error) {
	a, err := d.Attr()
	return &emptyListing{a.Ino}, err
}

// emptyListing lists what every directory has.
type emptyListing struct{ ino uint64 }

// ReadDir implements vfs.DirOps.
func (l *emptyListing) ReadDir(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	for n, name := range []string{".", ".."} {
		if next := int64(n + 1); next > pos && !emit(vfs.Dirent{Name: name, Ino: l.ino, Type: unix.DT_DIR, Next: next}) {
			break
		}
	}
	return nil
}

// Read implements vfs.FileOps.
func (*emptyListing) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EISDIR }

// Write implements vfs.FileOps.
func (*emptyListing) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EISDIR }

// Release implements vfs.FileOps.
func (*emptyListing) Release() {}
