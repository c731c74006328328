package pagetable

import (
	"errors"
	"sync/atomic"

	"gosentry/platform"
)

// ErrFull says that the pool has no frames left, or that the address space has its share of them.
var ErrFull = errors.New("pagetable: out of frames")

// Limit is the first address beyond the half that Tables maps.
const Limit = 1 << 47

const (
	pageBits  = 12
	levelBits = 9
	top       = 4 // levels
	largeSize = 1 << (pageBits + levelBits)
)

// Extent is a range of guest-physical memory, in bytes.
type Extent struct{ Addr, Length uint64 }

// Lost collects what processors may still hold translations of.
type Lost struct{ Extents []Extent }

func (l *Lost) add(addr, length uint64) {
	if n := len(l.Extents); n > 0 {
		if last := &l.Extents[n-1]; last.Addr+last.Length == addr {
			last.Length += length
			return
		}
	}
	l.Extents = append(l.Extents, Extent{addr, length})
}

// Tables is the tree of one address space.
type Tables struct {
	pool   *Pool
	root   uint64
	large  bool
	limit  int      // frames it may have
	frames []uint64 // all of the tree
}

// New returns an empty tree of at most limit frames; with large set, ranges that are aligned so are mapped
// by pages of 2 MiB.
func New(pool *Pool, limit int, large bool) (*Tables, error) {
	t := &Tables{pool: pool, limit: limit, large: large}
	root, err := t.alloc()
	if err != nil {
		return nil, err
	}
	t.root = root
	pool.Table(root)[entries-1] = pool.kernel
	return t, nil
}

// Root is the guest-physical address of the highest table, for CR3.
func (t *Tables) Root() uint64 { return t.root }

// Frames is the number of frames of the tree.
func (t *Tables) Frames() int { return len(t.frames) }

// Release gives the frames back.
func (t *Tables) Release() {
	t.pool.setAside(t.frames)
	t.frames, t.root = nil, 0
}

func (t *Tables) alloc() (uint64, error) {
	if len(t.frames) >= t.limit {
		return 0, ErrFull
	}
	addr, ok := t.pool.Alloc()
	if !ok {
		return 0, ErrFull
	}
	t.frames = append(t.frames, addr)
	return addr, nil
}

// index is the entry of a table of the level (1 is the lowest) that leads to addr.
func index(addr uint64, level int) int {
	return int(addr >> (pageBits + levelBits*(level-1)) & (entries - 1))
}

// span is how much an entry of a table of the level covers, in bytes.
func span(level int) uint64 { return 1 << (pageBits + levelBits*(level-1)) }

// Map maps length bytes from addr on to guest-physical memory at to, replacing what was there.
func (t *Tables) Map(addr, length, to uint64, prot platform.Prot, lost *Lost) error {
	for end := addr + length; addr < end; {
		level := 1
		if t.large && prot != 0 && (addr|to)%largeSize == 0 && end-addr >= largeSize && t.free(addr, 2) {
			level = 2
		}
		tab, err := t.table(addr, level)
		if err != nil {
			return err
		}
		stop := end
		if level == 2 {
			stop = addr + largeSize
		}
		for i := index(addr, level); i < entries && addr < stop; i++ {
			e := leaf(to, prot)
			if level == 2 {
				e |= large
			}
			set(&tab[i], e, span(level), lost)
			addr, to = addr+span(level), to+span(level)
		}
	}
	return nil
}

// free tells whether the entry of the level that leads to addr leads to no table.
func (t *Tables) free(addr uint64, level int) bool {
	tab := t.pool.Table(t.root)
	for l := top; l > level; l-- {
		e := tab[index(addr, l)]
		if e&present == 0 {
			return true
		}
		tab = t.pool.Table(e & addrMask)
	}
	e := tab[index(addr, level)]
	return e == 0 || e&large != 0
}

// table returns the table of the level on the way to addr, made if it is not there.
func (t *Tables) table(addr uint64, level int) (*Table, error) {
	tab := t.pool.Table(t.root)
	for l := top; l > level; l-- {
		e := &tab[index(addr, l)]
		if *e&large != 0 && l == 2 {
			if err := t.split(e); err != nil {
				return nil, err
			}
		}
		if *e&present == 0 {
			frame, err := t.alloc()
			if err != nil {
				return nil, err
			}
			atomic.StoreUint64(e, frame|branch)
		}
		tab = t.pool.Table(*e & addrMask)
	}
	return tab, nil
}

// split replaces a large page by a table of its parts.
func (t *Tables) split(e *uint64) error {
	frame, err := t.alloc()
	if err != nil {
		return err
	}
	tab := t.pool.Table(frame)
	for i := range tab {
		tab[i] = *e&^large + uint64(i)<<pageBits
	}
	atomic.StoreUint64(e, frame|branch)
	return nil
}

// set stores an entry of a page of size bytes.
func set(e *uint64, now, size uint64, lost *Lost) {
	old := *e
	if old == now {
		return
	}
	atomic.StoreUint64(e, now)
	if loses(old, now) {
		lost.add(old&addrMask, size)
	}
}

// Unmap unmaps length bytes from addr on.
func (t *Tables) Unmap(addr, length uint64, lost *Lost) error {
	return t.change(addr, addr+length, func(e *uint64, size uint64) { set(e, 0, size, lost) })
}

// Protect changes the rights of what is mapped in length bytes from addr on.
func (t *Tables) Protect(addr, length uint64, prot platform.Prot, lost *Lost) error {
	return t.change(addr, addr+length, func(e *uint64, size uint64) {
		now := leaf(*e&addrMask, prot)
		if size == largeSize {
			now |= large
		}
		set(e, now, size, lost)
	})
}

// Hold takes the page at addr out of sight, if it is there: its file has no such page.
func (t *Tables) Hold(addr uint64, lost *Lost) error {
	return t.change(addr, addr+FrameSize, func(e *uint64, size uint64) {
		if *e&present != 0 {
			set(e, hold(*e), size, lost)
		}
	})
}

// Unhold makes a page seen again that Hold took.
func (t *Tables) Unhold(addr uint64) error {
	return t.change(addr, addr+FrameSize, func(e *uint64, size uint64) {
		if *e&held != 0 {
			set(e, unhold(*e), size, nil)
		}
	})
}

// change has f change each entry of a mapped page in [addr, end). Large pages that are
// there in part are split.
func (t *Tables) change(addr, end uint64, f func(e *uint64, size uint64)) error {
	return t.visit(t.pool.Table(t.root), top, addr, end, f)
}

func (t *Tables) visit(tab *Table, level int, addr, end uint64, f func(e *uint64, size uint64)) error {
	size := span(level)
	for i := index(addr, level); i < entries && addr < end; i++ {
		next := min(addr&^(size-1)+size, end)
		e := &tab[i]
		switch {
		case *e == 0:
		case level == 1, level == 2 && *e&mapped != 0 && next-addr == size:
			f(e, size)
		case level == 2 && *e&mapped != 0:
			if err := t.split(e); err != nil {
				return err
			}
			fallthrough
		default:
			if err := t.visit(t.pool.Table(*e&addrMask), level-1, addr, next, f); err != nil {
				return err
			}
		}
		addr = next
	}
	return nil
}

// Page is what is mapped at an address.
type Page struct {
	Addr   uint64 // guest-physical, of the very byte
	Prot   platform.Prot
	Mapped bool // with rights or without
	Held   bool
}

// Walk looks an address up as a processor does.
func (t *Tables) Walk(addr uint64) Page {
	if addr >= Limit {
		return Page{}
	}
	tab := t.pool.Table(t.root)
	for level := top; ; level-- {
		e := tab[index(addr, level)]
		switch {
		case level == 1 || e&mapped != 0:
			return Page{Addr: e&addrMask + addr&(span(level)-1), Prot: protOf(e), Mapped: e&mapped != 0, Held: e&held != 0}
		case e&present == 0:
			return Page{}
		}
		tab = t.pool.Table(e & addrMask)
	}
}

// Each calls f for every page that can be accessed, with its address, size, place and rights.
func (t *Tables) Each(f func(addr, size, to uint64, prot platform.Prot)) {
	t.each(t.pool.Table(t.root), top, 0, f)
}

func (t *Tables) each(tab *Table, level int, addr uint64, f func(addr, size, to uint64, prot platform.Prot)) {
	count := entries
	if level == top {
		count = entries / 2
	}
	for i, e := range tab[:count] {
		at := addr + uint64(i)*span(level)
		switch {
		case e&present == 0:
		case e&mapped != 0:
			f(at, span(level), e&addrMask, protOf(e))
		default:
			t.each(t.pool.Table(e&addrMask), level-1, at, f)
		}
	}
}
