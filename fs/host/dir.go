package host

import (
	"encoding/binary"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// dirFile is an open directory. Positions are the host's own. It holds no
// descriptor: that is a matter of the tree's cache.
type dirFile struct {
	n *inode

	mu   sync.Mutex
	rest []byte // host records not yet taken, the first of which stands at pos
	pos  int64
	end  int64 // position at which nothing more came, 0 if not seen since the last rewinding
}

// Read implements vfs.FileOps.
func (d *dirFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EISDIR }

// Write implements vfs.FileOps.
func (d *dirFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }

// Release implements vfs.FileOps.
func (d *dirFile) Release() {}

// Sync implements vfs.SyncOps.
func (d *dirFile) Sync(bool) error {
	if d.n.tree.cfg.ReadOnly {
		return nil
	}
	h, err := d.n.tree.acquire(d.n)
	if err != nil {
		return err
	}
	defer d.n.tree.release(h)
	if h.pathOnly {
		return nil
	}
	return unix.Fsync(h.fd)
}

// ReadDir implements vfs.DirOps.
func (d *dirFile) ReadDir(c vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.rest) > 0 && d.pos == pos && pos != 0 {
		left, at, stopped := d.emit(d.rest, pos, emit)
		d.rest, d.pos = left, at
		if stopped {
			return nil
		}
		pos = at
	}
	d.rest = nil
	if pos == 0 {
		d.end = 0
	} else if pos == d.end {
		return nil
	}
	bp := d.n.tree.listings.Get().(*[]byte)
	defer d.n.tree.listings.Put(bp)
	for {
		k, err := d.fill(*bp, pos)
		if err != nil {
			return err
		}
		if k == 0 {
			d.end = pos
			return nil
		}
		left, at, stopped := d.emit((*bp)[:k], pos, emit)
		if stopped {
			if len(left) > 0 {
				d.rest, d.pos = append([]byte(nil), left...), at
			}
			return nil
		}
		if pos = at; c != nil && c.Interrupted() {
			return nil
		}
	}
}

// fill reads host records from position pos on.
func (d *dirFile) fill(buf []byte, pos int64) (int, error) {
	h, err := d.n.tree.acquire(d.n)
	if err != nil {
		return 0, err
	}
	defer d.n.tree.release(h)
	if h.pathOnly {
		return 0, unix.EACCES
	}
	h.listMu.Lock()
	defer h.listMu.Unlock()
	if h.listPos != pos || pos == 0 && h.listed {
		if _, err := unix.Seek(h.fd, pos, unix.SEEK_SET); err != nil {
			return 0, err
		}
		h.listPos = pos
	}
	h.listed = true
	k, err := unix.Getdents(h.fd, buf)
	if err != nil {
		h.listPos = -1
		return 0, err
	}
	if r, ok := lastRecord(buf[:k]); ok {
		h.listPos = r.next
	}
	return k, nil
}

// emit passes records on. It returns those that were not taken and the position of the first of them.
func (d *dirFile) emit(b []byte, pos int64, emit func(vfs.Dirent) bool) (left []byte, at int64, stopped bool) {
	for len(b) > 0 {
		r, ok := parseRecord(b)
		if !ok {
			return nil, pos, false
		}
		ino := inoFor(d.n.dev, r.ino)
		if len(r.name) == 2 && string(r.name) == ".." && d.n == d.n.tree.root {
			ino = d.n.lastAttr().Ino
		}
		if !emit(vfs.Dirent{Name: string(r.name), Ino: ino, Type: r.kind, Next: r.next}) {
			return b, pos, true
		}
		b, pos = b[r.length:], r.next
	}
	return nil, pos, false
}

// record is one struct linux_dirent64.
type record struct {
	ino    uint64
	next   int64
	length int
	kind   uint8
	name   []byte
}

const recordHeader = 19

// parseRecord takes the first record of b apart.
func parseRecord(b []byte) (record, bool) {
	if len(b) < recordHeader {
		return record{}, false
	}
	r := record{
		ino:    binary.LittleEndian.Uint64(b),
		next:   int64(binary.LittleEndian.Uint64(b[8:])),
		length: int(binary.LittleEndian.Uint16(b[16:])),
		kind:   b[18],
	}
	if r.length <= recordHeader || r.length > len(b) {
		return record{}, false
	}
	r.name = b[recordHeader:r.length]
	for i, c := range r.name {
		if c == 0 {
			r.name = r.name[:i]
			break
		}
	}
	return r, true
}

func lastRecord(b []byte) (last record, ok bool) {
	for len(b) > 0 {
		r, good := parseRecord(b)
		if !good {
			return last, ok
		}
		last, ok, b = r, true, b[r.length:]
	}
	return last, ok
}
