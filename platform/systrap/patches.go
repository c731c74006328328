package systrap

import (
	"encoding/binary"
	"slices"

	"gosentry/platform"
	"gosentry/platform/arch"
)

const (
	// worthIt is how often a call is seen before its site is patched.
	worthIt = 32
	// maxText bounds the pieces of text that are kept in mind.
	maxText = 1024
)

// text is what an address space has executable and not writable. It is guarded by the address space's lock.
type text struct {
	pieces []piece
	// patched are the pages of it that patched ones lie over, with their versions.
	patched map[uint64]*version
	slot    int // of the table and the trampolines
	sites   int // of the slot, from the first, that have been used
	owner   map[int]uint64
	state   textState
	lost    bool // the table and the trampolines are not mapped
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
}

// cut forgets [start, end).
func (t *text) cut(start, end uint64) {
	if !slices.ContainsFunc(t.pieces, func(p piece) bool { return p.start < end && start < p.end }) {
		return
	}
	var kept []piece
	for _, p := range t.pieces {
		if p.start < min(start, p.end) {
			kept = append(kept, piece{p.start, min(start, p.end), p.offset, p.file})
		}
		if q := max(end, p.start); q < p.end {
			kept = append(kept, piece{q, p.end, p.offset + q - p.start, p.file})
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
func (t *text) add(p piece) {
	for i := range t.pieces {
		if q := &t.pieces[i]; q.file == p.file && q.end == p.start && q.offset+q.end-q.start == p.offset {
			q.end = p.end
			return
		}
	}
	if len(t.pieces) < maxText {
		t.pieces = append(t.pieces, p)
	}
}

// find returns the piece that holds the page at addr.
func (t *text) find(addr uint64) (piece, bool) {
	for _, p := range t.pieces {
		if p.start <= addr && addr < p.end {
			return p, true
		}
	}
	return piece{}, false
}

// note keeps in mind what c, which is about to be queued, does to text, and queues what has to come before it. as.mu is held.
func (as *addressSpace) note(c platform.Change) {
	if as.p.patcher == nil {
		return
	}
	t := &as.text
	end := c.Addr + c.Length
	if t.state == textActive && c.Op == platform.Map && c.Addr < tableAt+tableSize && tableAt < end {
		as.unpatch()
	}
	if c.Op == platform.Protect {
		for page := range t.patched {
			if c.Addr <= page && page < end {
				as.restore(page)
			}
		}
	}
	t.cut(c.Addr, end)
	if c.Op == platform.Map && c.Prot&(platform.Exec|platform.Write) == platform.Exec && t.state != textOff {
		t.add(piece{c.Addr, end, c.Offset, c.File})
	}
}

// noted does what has to come behind c. as.mu is held.
func (as *addressSpace) noted(c platform.Change) {
	t := &as.text
	if t.state != textActive {
		return
	}
	if c.Op != platform.Map && c.Addr < tableAt+tableSize && tableAt < c.Addr+c.Length {
		as.mapTable()
	}
	if c.Op != platform.Map || c.Prot&platform.Exec == 0 || c.Prot&platform.Write != 0 {
		return
	}
	key, ok := keyOf(c.File)
	if !ok {
		return
	}
	for at := uint64(0); at < c.Length; at += pageSize {
		if v := as.p.patcher.find(key, c.Offset+at); v != nil {
			as.overlay(c.Addr+at, v)
		}
	}
}

// restore queues the mapping of an unpatched page. as.mu is held.
func (as *addressSpace) restore(page uint64) {
	if p, ok := as.text.find(page); ok {
		as.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: p.file,
			Addr: page, Length: pageSize, Offset: p.offset + page - p.start})
	}
	delete(as.text.patched, page)
}

// stopPatching undoes all patches for good.
func (as *addressSpace) stopPatching() {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.text.state == textActive {
		as.unpatch()
	}
}

// unpatch undoes all patches for good. as.mu is held.
func (as *addressSpace) unpatch() {
	t := &as.text
	for page := range t.patched {
		as.restore(page)
	}
	as.queue.Add(platform.Change{Op: platform.Unmap, Addr: tableAt, Length: tableSize})
	t.state = textOff
	t.pieces = nil
	as.hidesGS.Store(false)
}

// lose says that nothing is mapped any more. as.mu is held.
func (t *text) lose() {
	t.pieces = nil
	clear(t.patched)
	t.lost = true
}

// recover maps the table and the trampolines again where that is due. as.mu is held.
func (as *addressSpace) recover() {
	if as.text.lost && as.text.state == textActive {
		as.mapTable()
	}
	as.text.lost = false
}

// mapTable queues the mappings of the table and of the trampolines. as.mu is held.
func (as *addressSpace) mapTable() {
	slot := uint64(as.text.slot) * slotSize
	fd := int32(as.p.patcher.fd)
	as.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read, File: fd, Addr: tableAt, Length: tableSize, Offset: slot})
	as.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: fd,
		Addr: trampolinesAt, Length: maxSites * trampoline, Offset: slot + tableSize})
}

// overlay queues a patched page over the plain one at addr, once its sites have trampolines. as.mu is held.
func (as *addressSpace) overlay(addr uint64, v *version) {
	t := &as.text
	for _, s := range v.sites {
		if at, used := t.owner[s.index]; used && at != addr {
			return // the same page is mapped twice
		}
	}
	slot := as.p.patcher.mem[t.slot*slotSize : (t.slot+1)*slotSize]
	for _, s := range v.sites {
		code := as.p.patcher.trampolineFor(s.index, s.number, addr+s.offset+siteLength)
		copy(slot[tableSize+s.index*trampoline:], code)
		binary.LittleEndian.PutUint64(slot[8*s.index:], uint64(trampolinesAt+s.index*trampoline))
		t.sites = max(t.sites, s.index+1)
		t.owner[s.index] = addr
	}
	t.patched[addr] = v
	as.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: int32(as.p.patcher.fd),
		Addr: addr, Length: pageSize, Offset: v.at})
}

// activate gives the address space a slot, if it can have one. as.mu is held.
func (as *addressSpace) activate() bool {
	t := &as.text
	if t.state != textPlain {
		return t.state == textActive
	}
	t.state = textOff
	if as.queue.Overlaps(tableAt, tableAt+tableSize) {
		return false
	}
	if t.slot = as.p.patcher.takeSlot(); t.slot < 0 {
		return false
	}
	t.state, t.patched, t.owner = textActive, make(map[uint64]*version), make(map[int]uint64)
	as.hidesGS.Store(true)
	as.mapTable()
	return true
}

// patch patches the call that ends at rip, where that can be. It takes effect at the next Run of whoever runs.
func (as *addressSpace) patch(rip, number uint64) {
	as.mu.Lock()
	defer as.mu.Unlock()
	at := rip - siteLength
	page := at &^ (pageSize - 1)
	if as.p.patcher == nil || as.text.state == textOff || as.proc == nil || at%pageSize+siteLength > pageSize {
		return
	}
	piece, ok := as.text.find(page)
	if !ok {
		return
	}
	key, ok := keyOf(piece.file)
	if !ok {
		return
	}
	v := as.p.patcher.patch(key, piece.file, piece.offset+page-piece.start, at%pageSize, number)
	if v != nil && as.text.patched[page] != v && as.activate() {
		as.overlay(page, v)
	}
}

// endPatches returns what gives the slot back, to be called when no process has it mapped, or nil. as.mu is held.
func (as *addressSpace) endPatches() func() {
	t := as.text
	as.text = text{state: textOff}
	if t.owner == nil {
		return nil
	}
	return func() { as.p.patcher.freeSlot(t.slot, t.sites) }
}

// inTable tells whether ev is a fault of a patched call that found no pointer. The table is about to be mapped again, or the call
// is not patched any more.
func (as *addressSpace) inTable(ev platform.Event) bool {
	if ev.Kind != platform.Fault || ev.Addr < tableAt || ev.Addr >= tableAt+tableSize {
		return false
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	as.text.lost = true
	return as.text.owner != nil
}

// calls counts calls by their place.
type calls [64]struct {
	rip  uint64
	seen uint32
}

// count notes a call that ended at rip and tells whether it is time to patch its site.
func (c *calls) count(rip uint64) bool {
	e := &c[(rip^rip>>6)%uint64(len(c))]
	if e.rip != rip {
		e.rip, e.seen = rip, 0
	}
	e.seen++
	return e.seen == worthIt
}

// stepping tells whether the guest is being single-stepped, which patched sites would show.
func stepping(regs *arch.Registers) bool { return regs.Eflags&arch.FlagTF != 0 }
