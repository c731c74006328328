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
type Lost struct {
	// Extents are pages that were withdrawn.
	Extents []Extent
	// Moved: the tree has another root, or its tables are others. What the old ones led to may live on where a processor
	// has not loaded Root since.
	Moved bool
	// Frames are tables that belong to no tree any more. They are for Pool.SetAside once no processor uses them.
	Frames []uint64
}

// add notes a range. A nil Lost stands for tables that no processor has seen.
func (l *Lost) add(addr, length uint64) {
	if l == nil {
		return
	}
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
	shadow bool // processors use shadows of the tables, which do not follow changes
	limit  int  // frames it may have
	count  int  // frames it has
	// version is noted with each table made. As long as it is the root's, no processor has seen the tables that have it.
	version, rootVersion uint64
}

// New returns an empty tree of at most limit frames, for processors that shadow it or for such that read it. The
// latter map ranges that are aligned so by pages of 2 MiB.
func New(pool *Pool, limit int, shadow bool) (*Tables, error) {
	t := &Tables{pool: pool, limit: limit, shadow: shadow}
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

// Frames is the number of frames of the tree, those that it shares with others among them.
func (t *Tables) Frames() int { return t.count }

// Enter says that a processor is about to load Root.
func (t *Tables) Enter() {
	if t.rootVersion == t.version {
		t.version++
	}
}

// Release gives the frames back, which lost collects.
func (t *Tables) Release(lost *Lost) {
	t.dropTable(t.root, top, lost)
	t.root = 0
}

func (t *Tables) alloc() (uint64, error) {
	if t.count >= t.limit {
		return 0, ErrFull
	}
	addr, ok := t.pool.alloc(t.version)
	if !ok {
		return 0, ErrFull
	}
	t.count++
	return addr, nil
}

// fresh tells whether no processor can have seen a table of the tree that no other tree has.
func (t *Tables) fresh(frame uint64) bool {
	return t.shadow && t.rootVersion == t.version && t.pool.born(frame) == t.version
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
		next := min(addr&^(largeSize-1)+largeSize, end)
		var err error
		if t.fitsLarge(addr, next-addr, to, prot) {
			err = t.mapLarge(addr, leaf(to, prot)|large, lost)
		} else {
			err = t.mapPages(addr, next, leaf(to, prot), lost)
		}
		if err != nil {
			return err
		}
		addr, to = next, to+next-addr
	}
	return nil
}

// mapPages is Map within the span of one table of the lowest level; first is the entry of the first page.
func (t *Tables) mapPages(addr, end, first uint64, lost *Lost) error {
	if err := t.makeWay(addr); err != nil {
		return err
	}
	return t.edit(addr, end, func(i int, _ uint64) uint64 { return first + uint64(i)*FrameSize }, lost)
}

// MapHeld is Map of pages that are held: Unhold makes them seen.
func (t *Tables) MapHeld(addr, length, to uint64, prot platform.Prot, lost *Lost) error {
	for end := addr + length; addr < end; {
		next := min(addr&^(largeSize-1)+largeSize, end)
		if err := t.mapPages(addr, next, hold(leaf(to, prot)), lost); err != nil {
			return err
		}
		addr, to = next, to+next-addr
	}
	return nil
}

// fitsLarge tells whether a range is to be a large page.
func (t *Tables) fitsLarge(addr, length, to uint64, prot platform.Prot) bool {
	if t.shadow || length != largeSize || prot == 0 || to%largeSize != 0 {
		return false
	}
	e, level := t.find(addr)
	return level > 2 || !isBranch(*e)
}

// mapLarge stores the entry of a large page at addr.
func (t *Tables) mapLarge(addr, now uint64, lost *Lost) error {
	if err := t.extend(addr, 2); err != nil {
		return err
	}
	e, _ := t.find(addr)
	set(e, now, largeSize, lost)
	return nil
}

// find returns the entry on the way to addr behind which there are no more tables, or that of the second level, and
// its level.
func (t *Tables) find(addr uint64) (e *uint64, level int) {
	tab := t.pool.Table(t.root)
	for level = top; ; level-- {
		e = &tab[index(addr, level)]
		if level == 2 || *e&present == 0 {
			return e, level
		}
		tab = t.pool.Table(*e & addrMask)
	}
}

// extend makes tables down to the level on the way to addr.
func (t *Tables) extend(addr uint64, level int) error {
	for {
		e, l := t.find(addr)
		if l <= level || *e != 0 {
			return nil
		}
		frame, err := t.alloc()
		if err != nil {
			return err
		}
		atomic.StoreUint64(e, frame|branch)
	}
}

// makeWay makes sure that there is a table of the lowest level for addr.
func (t *Tables) makeWay(addr uint64) error {
	if err := t.extend(addr, 1); err != nil {
		return err
	}
	if e, _ := t.find(addr); !isBranch(*e) {
		return t.split(e)
	}
	return nil
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

// Unmap unmaps length bytes from addr on. Tables that lead to nothing else go as a whole.
func (t *Tables) Unmap(addr, length uint64, lost *Lost) error {
	for end := addr + length; addr < end; {
		e, level := t.find(addr)
		for level < top && covers(addr, end, level+1) {
			level++
			e = t.entry(addr, level)
		}
		next := min(addr&^(span(level)-1)+span(level), end)
		var err error
		switch {
		case *e == 0:
		case covers(addr, end, level) && (level > 2 || isBranch(*e)):
			err = t.cut(addr, level, lost)
		default:
			err = t.change(addr, next, func(uint64) uint64 { return 0 }, lost)
		}
		if err != nil {
			return err
		}
		addr = next
	}
	return nil
}

// covers tells whether [addr, end) begins with all that an entry of the level leads to.
func covers(addr, end uint64, level int) bool {
	return addr%span(level) == 0 && end-addr >= span(level)
}

// Protect changes the rights of what is mapped in length bytes from addr on.
func (t *Tables) Protect(addr, length uint64, prot platform.Prot, lost *Lost) error {
	return t.change(addr, addr+length, func(e uint64) uint64 {
		return leaf(e&addrMask, prot) | e&large
	}, lost)
}

// Hold takes the page at addr out of sight, if it is there: its file has no such page.
func (t *Tables) Hold(addr uint64, lost *Lost) error {
	return t.change(addr, addr+FrameSize, func(e uint64) uint64 {
		if e&present == 0 {
			return e
		}
		return hold(e)
	}, lost)
}

// Unhold makes seen what is held of length bytes from addr on.
func (t *Tables) Unhold(addr, length uint64, lost *Lost) error {
	return t.change(addr, addr+length, func(e uint64) uint64 {
		if e&held == 0 {
			return e
		}
		return unhold(e)
	}, lost)
}

// change replaces each entry of a mapped page in [addr, end) by what f makes of it. Large pages that are
// there in part are split.
func (t *Tables) change(addr, end uint64, f func(e uint64) uint64, lost *Lost) error {
	for addr < end {
		e, level := t.find(addr)
		next := min(addr&^(span(level)-1)+span(level), end)
		var err error
		switch {
		case *e == 0:
		case isBranch(*e):
			err = t.edit(addr, next, func(_ int, e uint64) uint64 {
				if e == 0 {
					return 0
				}
				return f(e)
			}, lost)
		case next-addr == largeSize:
			set(e, f(*e), largeSize, lost)
		default:
			if err = t.split(e); err == nil {
				continue
			}
		}
		if err != nil {
			return err
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
	e, level := t.find(addr)
	entry, size := *e, span(level)
	if isBranch(entry) {
		entry, size = through(entry, t.pool.Table(entry & addrMask)[index(addr, 1)]), FrameSize
	}
	if entry&mapped == 0 {
		return Page{}
	}
	return Page{Addr: entry&addrMask + addr&(size-1), Prot: protOf(entry), Mapped: true, Held: entry&held != 0}
}

// Each calls f for every page that can be accessed, with its address, size, place and rights.
func (t *Tables) Each(f func(addr, size, to uint64, prot platform.Prot)) {
	t.each(branch|t.root, top, 0, f)
}

// each is Each for the table of the level that link leads to.
func (t *Tables) each(link uint64, level int, addr uint64, f func(addr, size, to uint64, prot platform.Prot)) {
	count := entries
	if level == top {
		count /= 2
	}
	for i, e := range t.pool.Table(link & addrMask)[:count] {
		at := addr + uint64(i)*span(level)
		switch e = through(link, e); {
		case e&present == 0:
		case e&mapped != 0:
			f(at, span(level), e&addrMask, protOf(e))
		default:
			t.each(e, level-1, at, f)
		}
	}
}
