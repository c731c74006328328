package pseudo

import (
	"sort"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Dir is a directory whose entries are set from the sentry's side.
type Dir struct {
	Node

	mu      sync.RWMutex
	byName  map[string]*entry
	entries []*entry // by position
	last    int64
}

type entry struct {
	name  string
	inode vfs.Inode
	pos   int64
}

// NewDir makes an empty directory; mode is permissions only.
func (fs *FS) NewDir(mode uint32) *Dir {
	d := &Dir{byName: map[string]*entry{}, last: 2}
	d.Init(fs, unix.S_IFDIR|mode)
	return d
}

// Add enters inode under name, replacing what was there, and returns d. Once the file system is mounted only new names
// may be added, since absences and files are remembered; see Revalidate.
func (d *Dir) Add(name string, inode vfs.Inode) *Dir {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.byName[name]; old != nil {
		d.drop(old)
	}
	d.last++
	e := &entry{name: name, inode: inode, pos: d.last}
	d.byName[name] = e
	d.entries = append(d.entries, e)
	return d
}

// Remove takes name out.
func (d *Dir) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.byName[name]; old != nil {
		d.drop(old)
		delete(d.byName, name)
	}
}

func (d *Dir) drop(old *entry) {
	for i, e := range d.entries {
		if e == old {
			d.entries = append(d.entries[:i:i], d.entries[i+1:]...)
			return
		}
	}
}

// Lookup implements vfs.Inode.
func (d *Dir) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if in := d.get(name); in != nil {
		return in, nil
	}
	return nil, unix.ENOENT
}

func (d *Dir) get(name string) vfs.Inode {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.byName[name]; e != nil {
		return e.inode
	}
	return nil
}

// Revalidate implements vfs.Revalidator.
func (d *Dir) Revalidate(_ vfs.Caller, name string, child vfs.Inode) bool {
	return d.get(name) == child
}

// Open implements vfs.Inode.
func (d *Dir) Open(vfs.Caller, int) (vfs.FileOps, error) {
	return &dirFile{ino: d.ino, list: d.list}, nil
}

func (d *Dir) list(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	d.mu.RLock()
	entries := d.entries
	d.mu.RUnlock()
	first := sort.Search(len(entries), func(i int) bool { return entries[i].pos-2 > pos })
	for _, e := range entries[first:] {
		if !emit(vfs.Dirent{Name: e.name, Ino: inoOf(e.inode), Type: typeOf(e.inode), Next: e.pos - 2}) {
			break
		}
	}
	return nil
}

func inoOf(in vfs.Inode) uint64 {
	if n, ok := in.(interface{ Ino() uint64 }); ok {
		return n.Ino()
	}
	attr, _ := in.Attr()
	return attr.Ino
}

func typeOf(in vfs.Inode) uint8 {
	if t, ok := in.(vfs.TypeOps); ok {
		return uint8(t.FileType() >> 12)
	}
	attr, _ := in.Attr()
	return uint8(attr.Mode >> 12 & 15)
}

// Source computes the entries of a directory. It may have Valid too; without it
// every lookup of a name calls Lookup.
type Source interface {
	// Lookup makes the inode called name; ENOENT.
	Lookup(c vfs.Caller, name string) (vfs.Inode, error)
	// List gives the entries behind position pos in the order of their positions,
	// Next, which are the source's own and greater than 0. It stops when emit returns false.
	List(c vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error
}

// Validator is a Source that knows whether what Lookup returned still
// stands for the name; child is nil for ENOENT.
type Validator interface {
	Valid(c vfs.Caller, name string, child vfs.Inode) bool
}

// SourceDir is a directory with computed entries.
type SourceDir struct {
	Node
	source Source
	valid  Validator
}

// NewSourceDir makes a directory of what source computes.
func (fs *FS) NewSourceDir(mode uint32, source Source) *SourceDir {
	d := &SourceDir{source: source}
	d.valid, _ = source.(Validator)
	d.Init(fs, unix.S_IFDIR|mode)
	return d
}

// Lookup implements vfs.Inode.
func (d *SourceDir) Lookup(c vfs.Caller, name string) (vfs.Inode, error) {
	return d.source.Lookup(c, name)
}

// Revalidate implements vfs.Revalidator.
func (d *SourceDir) Revalidate(c vfs.Caller, name string, child vfs.Inode) bool {
	return d.valid != nil && d.valid.Valid(c, name, child)
}

// Open implements vfs.Inode.
func (d *SourceDir) Open(vfs.Caller, int) (vfs.FileOps, error) {
	return &dirFile{ino: d.ino, list: d.source.List}, nil
}

// dirFile is an open directory.
type dirFile struct {
	ino  uint64
	list func(c vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error
}

// ReadDir implements vfs.DirOps: "." and ".." are at positions 1 and 2.
func (f *dirFile) ReadDir(c vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	for i, name := range [...]string{".", ".."} {
		if pos > int64(i) {
			continue
		}
		if !emit(vfs.Dirent{Name: name, Ino: f.ino, Type: unix.DT_DIR, Next: int64(i) + 1}) {
			return nil
		}
	}
	return f.list(c, max(pos-2, 0), func(e vfs.Dirent) bool {
		e.Next += 2
		return emit(e)
	})
}

func (*dirFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EISDIR }
func (*dirFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }
func (*dirFile) Release()                                         {}
