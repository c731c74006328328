package overlay

import (
	"sort"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Positions in a directory: behind ".", behind "..", behind the entry made above with
// some seq, behind the lower directory's nth entry. So they stay good
// whatever is made or removed meanwhile.
const (
	posDot    = 1
	posDotDot = 2 // and above it by seq
	posLower  = 1 << 40

	// markEvery is how many lower entries lie between the positions that a listing remembers.
	markEvery = 512
	// listBatch is how many names are taken under the lock at a time.
	listBatch = 64
)

// dirFile is an open directory.
type dirFile struct {
	n *node

	mu    sync.Mutex
	lower vfs.FileOps // of the lower directory, nil if there is none
	nth   int64       // lower entries passed, to where cookie stands
	at    int64       // the lower directory's own position
	marks []int64     // its position behind each markEvery entries
	limit uint64      // seq of the last entry above that belongs to the listing
}

func (n *node) openDir(c vfs.Caller) (vfs.FileOps, error) {
	d := &dirFile{n: n, marks: []int64{0}, limit: n.lastSeq()}
	if n.lower != nil {
		lower, err := n.lower.Open(c, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		d.lower = lower
	}
	return d, nil
}

// Read implements vfs.FileOps.
func (d *dirFile) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EISDIR }

// Write implements vfs.FileOps.
func (d *dirFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }

// Release implements vfs.FileOps.
func (d *dirFile) Release() {
	if d.lower != nil {
		d.lower.Release()
	}
}

// Sync implements vfs.SyncOps.
func (d *dirFile) Sync(bool) error { return nil }

// ReadDir implements vfs.DirOps.
func (d *dirFile) ReadDir(c vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	if pos < 0 {
		return unix.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if pos == 0 {
		d.limit = d.n.lastSeq()
	}
	if pos < posDotDot && !d.dots(pos, emit) {
		return nil
	}
	if pos < posLower {
		if !d.above(uint64(max(pos-posDotDot, 0)), emit) {
			return nil
		}
		pos = posLower
	}
	list, ok := d.lower.(vfs.DirOps)
	if !ok {
		return nil
	}
	return d.below(c, list, pos-posLower, emit)
}

func (n *node) lastSeq() uint64 {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if n.dir == nil {
		return 0
	}
	return n.dir.seq
}

// dots emits "." and "..".
func (d *dirFile) dots(pos int64, emit func(vfs.Dirent) bool) bool {
	d.n.fs.mu.RLock()
	up := d.n.ino
	if d.n.parent != nil {
		up = d.n.parent.ino
	}
	d.n.fs.mu.RUnlock()
	if pos < posDot && !emit(vfs.Dirent{Name: ".", Ino: d.n.ino, Type: unix.DT_DIR, Next: posDot}) {
		return false
	}
	return emit(vfs.Dirent{Name: "..", Ino: up, Type: unix.DT_DIR, Next: posDotDot})
}

// above emits what was made or moved here, behind seq.
func (d *dirFile) above(seq uint64, emit func(vfs.Dirent) bool) bool {
	var batch [listBatch]vfs.Dirent
	for {
		k := d.n.batch(seq, d.limit, batch[:])
		for _, e := range batch[:k] {
			if !emit(e) {
				return false
			}
			seq = uint64(e.Next - posDotDot)
		}
		if k < len(batch) {
			return true
		}
	}
}

// batch fills to with entries above behind seq, up to limit.
func (n *node) batch(seq, limit uint64, to []vfs.Dirent) int {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if n.dir == nil {
		return 0
	}
	order := n.dir.order
	i := sort.Search(len(order), func(i int) bool { return order[i].seq > seq })
	k := 0
	for ; i < len(order) && k < len(to); i++ {
		e := order[i]
		if e.removed {
			continue
		}
		if e.seq > limit {
			break
		}
		to[k] = vfs.Dirent{
			Name: e.name, Ino: e.node.ino, Type: uint8(e.node.kind >> 12),
			Next: int64(e.seq) + posDotDot,
		}
		k++
	}
	return k
}

// hides tells whether the lower entry name is deleted or replaced.
func (n *node) hides(name string) bool {
	e := n.find(name)
	return e != nil && (e.node == nil || e.seq != 0)
}

// below emits lower entries from the nth on, "." and ".." being counted but left out.
func (d *dirFile) below(c vfs.Caller, list vfs.DirOps, nth int64, emit func(vfs.Dirent) bool) error {
	if nth < d.nth {
		m := min(nth/markEvery, int64(len(d.marks)-1))
		d.nth, d.at = m*markEvery, d.marks[m]
	}
	for {
		stopped, progress := false, false
		err := list.ReadDir(c, d.at, func(e vfs.Dirent) bool {
			if d.nth >= nth && !d.emitLower(e, emit) {
				stopped = true
				return false
			}
			d.pass(e.Next)
			progress = true
			return true
		})
		if err != nil || stopped || !progress {
			return err
		}
		if c != nil && c.Interrupted() {
			return nil
		}
	}
}

// pass steps over a lower entry.
func (d *dirFile) pass(next int64) {
	d.nth, d.at = d.nth+1, next
	if d.nth == int64(len(d.marks))*markEvery {
		d.marks = append(d.marks, next)
	}
}

func (d *dirFile) emitLower(e vfs.Dirent, emit func(vfs.Dirent) bool) bool {
	if e.Name == "." || e.Name == ".." || d.n.hides(e.Name) {
		return true
	}
	e.Next = posLower + d.nth + 1
	return emit(e)
}
