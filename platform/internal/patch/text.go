package patch

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync/atomic"

	"gosentry/platform"
)

// maxText bounds the pieces of text that are kept in mind.
const maxText = 1024

// Queue is where an address space keeps the changes that are to be made to it.
type Queue interface {
	// Add queues a change.
	Add(platform.Change)
	// Overlaps tells whether something of [start, end) is mapped once all is carried out.
	Overlaps(start, end uint64) bool
}

// Text is what an address space has executable and not writable, and what of it is patched.
type Text struct {
	store  *Store // nil: nothing is ever patched
	queue  Queue
	active atomic.Bool // textActive, for those without the lock
	over   atomic.Bool // some page has been patched

	pieces []piece
	// patched are the pages of it that patched ones lie over, with their versions.
	patched map[uint64]*version
	slot    int            // of the table and the trampolines
	used    int            // indexes of the slot, from the first, that have been used
	sites   map[int]uint64 // where those are that have a trampoline, by index
	any     map[int]bool   // which of them make any call
	state   textState
	lost    bool // the table and the trampolines are not mapped
	open    bool // the area is mapped writable
	opened  bool // it ever was

	traps traps
}

type textState int

const (
	textPlain  textState = iota // nothing is patched yet
	textActive                  // the address space has a slot
	textOff                     // nothing is to be patched any more
)

// piece is a mapping of a file.
type piece struct {
	start, end uint64
	offset     uint64
	file       int32
	fileID     uint32
}

// NewText returns the text of an empty address space whose changes go to q. With a nil store nothing is ever patched.
func NewText(store *Store, q Queue) *Text {
	t := &Text{store: store, queue: q, patched: make(map[uint64]*version)}
	t.traps.page = noPage
	if store == nil {
		t.state = textOff
	}
	return t
}

// Active tells whether calls may be patched. It may be called without the lock.
func (t *Text) Active() bool { return t.active.Load() }

// Patched tells whether anything may be. It may be called without the lock.
func (t *Text) Patched() bool { return t.active.Load() || t.over.Load() }

// cut forgets [start, end).
func (t *Text) cut(start, end uint64) {
	if !slices.ContainsFunc(t.pieces, func(p piece) bool { return p.start < end && start < p.end }) {
		return
	}
	var kept []piece
	for _, p := range t.pieces {
		if p.start < min(start, p.end) {
			kept = append(kept, piece{p.start, min(start, p.end), p.offset, p.file, p.fileID})
		}
		if q := max(end, p.start); q < p.end {
			kept = append(kept, piece{q, p.end, p.offset + q - p.start, p.file, p.fileID})
		}
	}
	t.pieces = kept
	for page := range t.patched {
		if page < end && start < page+pageSize {
			delete(t.patched, page)
		}
	}
}

// add keeps a mapping in mind.
func (t *Text) add(p piece) {
	for i := range t.pieces {
		if q := &t.pieces[i]; q.file == p.file && q.fileID == p.fileID && q.end == p.start && q.offset+q.end-q.start == p.offset {
			q.end = p.end
			return
		}
	}
	if len(t.pieces) < maxText {
		t.pieces = append(t.pieces, p)
	}
}

// find returns the piece that holds the page at addr.
func (t *Text) find(addr uint64) (piece, bool) {
	for _, p := range t.pieces {
		if p.start <= addr && addr < p.end {
			return p, true
		}
	}
	return piece{}, false
}

// Before keeps in mind what c, which is about to be queued, does to text, and queues what has to come before it.
func (t *Text) Before(c platform.Change) {
	if t.store == nil {
		return
	}
	end := c.Addr + c.Length
	if t.state == textActive && c.Op == platform.Map && c.Addr < TableAt+TableSize && TableAt < end {
		t.Stop()
	}
	if c.Op == platform.Protect {
		for page := range t.patched {
			if c.Addr <= page && page < end {
				t.restore(page)
			}
		}
	}
	t.cut(c.Addr, end)
	if c.Op == platform.Map {
		t.cutTraps(c.Addr, end)
	}
	if c.Op == platform.Map && c.Prot&(platform.Exec|platform.Write) == platform.Exec && t.state != textOff {
		t.add(piece{c.Addr, end, c.Offset, c.File, c.FileID})
	}
}

// After queues what has to come behind c, which has been queued.
func (t *Text) After(c platform.Change) {
	if t.state == textActive && c.Addr < TableAt+TableSize && TableAt < c.Addr+c.Length {
		t.keepTable(c)
	}
	if t.state != textActive && !t.traps.wanted {
		return
	}
	if c.Op != platform.Map || c.Prot&platform.Exec == 0 || c.Prot&platform.Write != 0 {
		return
	}
	if _, known := t.find(c.Addr); !known {
		return // what is not kept in mind cannot be restored
	}
	key, ok := keyOf(c.File)
	if !ok {
		return
	}
	if t.traps.wanted {
		t.executes(key, c.File)
	}
	for offset, v := range t.store.find(key, c.Offset, c.Length, t.state == textActive) {
		t.overlay(c.Addr+offset-c.Offset, v)
	}
}

// restore queues the mapping of an unpatched page.
func (t *Text) restore(page uint64) {
	if p, ok := t.find(page); ok {
		t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: p.file, FileID: p.fileID,
			Addr: page, Length: pageSize, Offset: p.offset + page - p.start})
	}
	delete(t.patched, page)
}

// Stop undoes all patches for good.
func (t *Text) Stop() {
	for page := range t.patched {
		t.restore(page)
	}
	if t.state == textActive {
		t.queue.Add(platform.Change{Op: platform.Unmap, Addr: TableAt, Length: TableSize})
	}
	t.state, t.traps.wanted = textOff, false
	t.pieces = nil
	t.active.Store(false)
	t.over.Store(false)
}

// Lose says that nothing is mapped any more.
func (t *Text) Lose() {
	t.pieces = nil
	clear(t.patched)
	t.lost, t.open = true, false
	t.traps.mapped.Store(false)
}

// Recover queues the table and the trampolines again where that is due. It is to be called before guest code runs.
func (t *Text) Recover() {
	t.traps.wanted = false // what comes from now on some program may want to read
	if t.lost && t.state == textActive {
		t.mapTable()
	}
	t.lost = false
}

// keepTable queues what leaves the table as it was in spite of c, in whose range it lies.
func (t *Text) keepTable(c platform.Change) {
	switch {
	case c.Op == platform.Unmap:
		t.mapTable()
	case c.Op == platform.Protect && c.Prot != platform.Read:
		t.queue.Add(platform.Change{Op: platform.Protect, Prot: platform.Read, Addr: TableAt, Length: TableSize})
	}
}

// mapTable queues the mappings of the table and of the trampolines.
func (t *Text) mapTable() {
	slot := uint64(t.slot) * t.store.cfg.slotSize()
	fd := int32(t.store.fd)
	t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read, File: fd, FileID: platform.PermanentID, Addr: TableAt, Length: TableSize, Offset: slot})
	t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: fd, FileID: platform.PermanentID,
		Addr: t.store.cfg.At, Length: TrampolinesSize, Offset: slot + TableSize})
	if n := t.store.cfg.Data; n > 0 {
		t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read, File: fd, FileID: platform.PermanentID,
			Addr: t.store.cfg.At + TrampolinesSize, Length: n, Offset: slot + TableSize + TrampolinesSize})
	}
}

// OpenArea queues what it takes for the guest to write to its area, which it cannot otherwise.
func (t *Text) OpenArea() {
	if t.open || t.state != textActive {
		return
	}
	t.open, t.opened = true, true
	cfg := &t.store.cfg
	t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Write, File: int32(t.store.areasFD), FileID: platform.PermanentID,
		Addr: cfg.At + TrampolinesSize + cfg.Data, Length: cfg.Area, Offset: uint64(t.slot) * cfg.Area})
}

// Area is the memory of Config.Area. Something must be patched. The guest may write to it at any time.
func (t *Text) Area() []byte { return t.store.area(t.slot) }

// Data is the memory of Config.Data. Something must be patched.
func (t *Text) Data() []byte { return t.store.slot(t.slot)[TableSize+TrampolinesSize:] }

// overlay queues a patched page over the plain one at addr, once its sites have trampolines.
func (t *Text) overlay(addr uint64, v *version) {
	for _, s := range v.sites {
		if at, used := t.sites[s.index]; used && at != addr+s.offset {
			return // the same page is mapped twice
		}
	}
	if !t.traps.fits(len(v.traps)) {
		return
	}
	t.over.Store(true)
	for _, s := range v.sites {
		slot := t.store.slot(t.slot)
		at := t.store.cfg.At + uint64(s.index)*TrampolineSize
		copy(slot[TableSize+s.index*TrampolineSize:], t.store.cfg.Code(s.trampoline(at, addr+s.offset)))
		binary.LittleEndian.PutUint64(slot[8*s.index:], at)
		t.used = max(t.used, s.index+1)
		t.sites[s.index] = addr + s.offset
		if s.any {
			t.any[s.index] = true
		}
	}
	t.patched[addr] = v
	if len(v.traps) > 0 {
		t.addTraps(addr, v.traps)
	}
	t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: int32(t.store.fd), FileID: platform.PermanentID,
		Addr: addr, Length: pageSize, Offset: v.at})
}

// activate gives the address space a slot, if it can have one.
func (t *Text) activate() bool {
	if t.state != textPlain {
		return t.state == textActive
	}
	t.state = textOff
	if t.queue.Overlaps(TableAt, TableAt+TableSize) {
		return false
	}
	if t.slot = t.store.takeSlot(); t.slot < 0 {
		return false
	}
	t.state, t.sites = textActive, make(map[int]uint64)
	t.any = make(map[int]bool)
	t.active.Store(true)
	t.mapTable()
	return true
}

// Patch patches the call that ends at rip, where that can be, and tells whether it did. It takes effect once the
// queue is carried out.
func (t *Text) Patch(rip, number uint64) bool {
	page := (rip - 1) &^ (pageSize - 1) // all of a site that is patched lies in it
	if t.state == textOff {
		return false
	}
	piece, ok := t.find(page)
	if !ok {
		return false
	}
	key, ok := keyOf(piece.file)
	if !ok {
		return false
	}
	v := t.store.patch(key, piece.file, piece.offset+page-piece.start, rip-page, number)
	if v == nil || t.patched[page] == v || !t.activate() {
		return false
	}
	t.overlay(page, v)
	return true
}

// Share makes child, the text of an empty address space that begins with all of this one's mappings, the same, and queues the
// mappings of what it has of its own. It returns false, and nothing is done, when there is no slot for it.
func (t *Text) Share(child *Text) bool {
	if t.state == textActive {
		if child.slot = t.store.takeSlot(); child.slot < 0 {
			return false
		}
		from, to := t.store.slot(t.slot), t.store.slot(child.slot)
		copy(to[:8*t.used], from)
		copy(to[TableSize:][:TrampolineSize*t.used], from[TableSize:])
		child.sites, child.any, child.used = maps.Clone(t.sites), maps.Clone(t.any), t.used
	}
	child.patched = maps.Clone(t.patched)
	child.over.Store(t.over.Load())
	child.pieces, child.state, child.lost = slices.Clone(t.pieces), t.state, t.lost
	t.open = false // what is shared loses the right to write
	if child.state == textActive {
		child.active.Store(true)
		child.mapTable()
	}
	return true
}

// End says that the address space is released. It returns what gives back what it had of the store, to be called when no process has it
// mapped, or nil.
func (t *Text) End() func() {
	slot, used, area, traps := t.slot, t.used, t.opened, t.traps.page
	had := t.sites != nil
	t.state, t.traps.wanted, t.pieces, t.patched, t.sites = textOff, false, nil, nil, nil
	if !had && traps == noPage {
		return nil
	}
	return func() {
		if had {
			t.store.freeSlot(slot, used, area)
		}
		t.store.freeTraps(traps)
	}
}

// Site returns where a thread that was stopped at addr, in a trampoline, is to go on: at its site, as if it
// had not come there yet, or behind it when it has the answer.
func (t *Text) Site(addr uint64) (site uint64, ok bool) {
	if t.store == nil || addr-t.store.cfg.At >= TrampolinesSize {
		return 0, false
	}
	index, offset := int((addr-t.store.cfg.At)/TrampolineSize), (addr-t.store.cfg.At)%TrampolineSize
	site, ok = t.sites[index]
	if ok && t.any[index] && offset == anyAnswered {
		site += SiteLength
	}
	return site, ok
}

// Missed tells whether a fault at addr may be that of a patched call which found no pointer: the table is about to
// be mapped again by Recover, or the call is not patched any more.
func (t *Text) Missed(addr uint64) bool {
	if addr < TableAt || addr >= TableAt+TableSize {
		return false
	}
	t.lost = true
	return t.sites != nil
}
