package kvm

import (
	"errors"
	"sync"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/internal/patch"
	"gosentry/platform/kvm/pagetable"

	"golang.org/x/sys/unix"
)

const (
	// maxFrames bounds the tables of one address space: beyond, it starts anew.
	maxFrames = 1 << 14
	// asideFrames is how many frames of released tables wait for a flush.
	asideFrames = 1 << 12
	// maxWindows bounds the windows that an address space may hold: those of what it has unmapped since are among them.
	maxWindows = 1 << 11
)

// addressSpace is a guest address space: its page tables.
type addressSpace struct {
	p *Platform

	drops atomic.Uint64

	mu       sync.Mutex
	left     sync.Cond            // signalled when a processor has left guest code
	tables   *pagetable.Tables    // nil: nothing is mapped
	windows  map[*window]struct{} // that tables may lead to
	running  map[*vcpu]struct{}   // in guest code
	flushes  uint64               // how often processors had to forget; real paging only
	died     *platform.Died
	released bool
	lost     pagetable.Lost // Apply's, kept for its memory
	text     *patch.Text
	edits    edits // text's
}

func (p *Platform) newSpace() *addressSpace {
	as := &addressSpace{p: p, windows: make(map[*window]struct{}), running: make(map[*vcpu]struct{})}
	as.left.L = &as.mu
	as.edits.as = as
	as.text = patch.NewText(p.patches, &as.edits)
	p.spacesMu.Lock()
	p.spaces[as] = struct{}{}
	p.spacesMu.Unlock()
	return as
}

// newTables returns empty tables; where there are no frames left, address spaces that do not run give theirs back.
func (p *Platform) newTables() (*pagetable.Tables, error) {
	large := !p.mem.shadow
	if p.pool.Left() < spareFrames {
		if p.pool.Aside() < spareFrames {
			p.shrink()
		}
		p.reuse()
	}
	t, err := pagetable.New(p.pool, maxFrames, large)
	if err != nil {
		return nil, unix.ENOMEM
	}
	return t, nil
}

// spareFrames is how many frames there should be for a new address space.
const spareFrames = 256

// shrink empties the address spaces that nobody runs in.
func (p *Platform) shrink() {
	p.spacesMu.Lock()
	defer p.spacesMu.Unlock()
	for as := range p.spaces {
		if !as.mu.TryLock() {
			continue // the caller's own, or one in use
		}
		if len(as.running) == 0 && as.tables != nil {
			as.drops.Add(1)
			as.loseText()
			as.tables.Release()
			as.tables = nil
			as.letWindowsGo()
		}
		as.mu.Unlock()
	}
}

// ready makes sure that there are tables. mu is held.
func (as *addressSpace) ready() error {
	if as.released || as.died != nil {
		return &platform.Died{Reason: "it died before"}
	}
	if as.tables != nil {
		return nil
	}
	var err error
	as.flushes++
	as.tables, err = as.p.newTables()
	return err
}

// reuse flushes, so that frames set aside can be used again.
func (p *Platform) reuse() { p.pool.Reuse(p.mem.flush) }

// Drops counts how often the address space was emptied by itself: what it had mapped faults.
func (as *addressSpace) Drops() uint64 { return as.drops.Load() }

// Apply implements platform.AddressSpace.
func (as *addressSpace) Apply(list []platform.Change) error {
	for i := range list {
		c := &list[i]
		end := c.Addr + c.Length
		if (c.Addr|c.Length|c.Offset)%pageSize != 0 || end < c.Addr || c.Addr < userLow || end > userHigh {
			return unix.EINVAL
		}
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.released || as.died != nil {
		return nil
	}
	if err := as.ready(); err != nil {
		return err
	}
	var err error
	for i := range list {
		if e := as.changeText(&list[i]); e != nil && err == nil {
			err = e
		}
	}
	as.shoot()
	return err
}

// change carries out one change. Where the tables have no room, everything else is dropped first. mu is held.
func (as *addressSpace) change(c *platform.Change) error {
	err := as.try(c)
	if errors.Is(err, pagetable.ErrFull) || errors.Is(err, errNoSlots) {
		if err = as.wipe(); err == nil {
			err = as.try(c)
		}
	}
	if err == nil {
		return nil
	}
	if as.tables.Unmap(c.Addr, c.Length, &as.lost) != nil {
		_ = as.wipe()
	}
	if errors.Is(err, pagetable.ErrFull) || errors.Is(err, errNoSlots) {
		return unix.ENOMEM
	}
	return err
}

// letWindowsGo drops the windows that no tables lead to any more. mu is held.
func (as *addressSpace) letWindowsGo() {
	windows := as.windows
	as.windows = make(map[*window]struct{})
	as.p.mem.unref(windows)
}

func (as *addressSpace) try(c *platform.Change) error {
	switch c.Op {
	case platform.Unmap:
		return as.tables.Unmap(c.Addr, c.Length, &as.lost)
	case platform.Protect:
		return as.tables.Protect(c.Addr, c.Length, c.Prot, &as.lost)
	}
	for done := uint64(0); done < c.Length; {
		if len(as.windows) >= maxWindows {
			return errNoSlots
		}
		w, err := as.p.mem.find(c, c.Offset+done, as.windows)
		if err != nil {
			return err
		}
		at := c.Offset + done - w.offset
		n := min(c.Length-done, w.length()-at)
		if err := as.tables.Map(c.Addr+done, n, w.gpa+at, c.Prot, &as.lost); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// shoot makes processors and hypervisor forget what was lost. When it returns, nobody runs with it. mu is held.
func (as *addressSpace) shoot() {
	if len(as.lost.Extents) == 0 {
		return
	}
	if as.p.mem.shadow {
		as.p.mem.forget(&as.lost)
	} else {
		as.flushes++
		as.expel()
	}
	if as.lost.Extents = as.lost.Extents[:0]; cap(as.lost.Extents) > maxKept {
		as.lost.Extents = nil
	}
}

// maxKept bounds buffers that are kept.
const maxKept = 1024

// expel waits until every processor that runs now has left guest code once. mu is held, but not while waiting.
func (as *addressSpace) expel() {
	type entry struct {
		v *vcpu
		n uint64
	}
	var inside []entry
	for v := range as.running {
		inside = append(inside, entry{v, v.entries})
		v.stop.Store(true)
		v.kick()
	}
	for _, e := range inside {
		for {
			if _, ok := as.running[e.v]; !ok || e.v.entries != e.n {
				break
			}
			as.left.Wait()
		}
	}
}

// wipe starts with empty tables. mu is held.
func (as *addressSpace) wipe() error {
	as.drops.Add(1)
	as.loseText()
	old := as.tables
	fresh, err := as.p.newTables()
	if err != nil {
		_ = old.Unmap(userLow, userHigh-userLow, &as.lost)
		return err
	}
	as.tables = fresh
	as.lost.Extents = as.lost.Extents[:0]
	as.flushes++
	as.expel()
	old.Release()
	as.letWindowsGo()
	return nil
}

// begin lets v run guest code in the address space and returns its CR3.
func (as *addressSpace) begin(v *vcpu) (root uint64, err error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if err := as.ready(); err != nil {
		return 0, err
	}
	if as.text.Recover(); len(as.edits.list) > 0 {
		as.edit()
		as.shoot()
	}
	if v.space != as || v.flush != as.flushes {
		v.space, v.flush = as, as.flushes
		v.toggle ^= cr3Toggle
	}
	v.stop.Store(false)
	v.entries++
	as.running[v] = struct{}{}
	return as.tables.Root() | v.toggle, nil
}

// finish says that v has left guest code.
func (as *addressSpace) finish(v *vcpu) {
	as.mu.Lock()
	delete(as.running, v)
	as.left.Broadcast()
	as.mu.Unlock()
}

// die ends the address space.
func (as *addressSpace) die(reason string) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.died == nil {
		as.died = &platform.Died{Reason: reason}
	}
	return as.died
}

// Release implements platform.AddressSpace.
func (as *addressSpace) Release() {
	as.mu.Lock()
	t, windows := as.tables, as.windows
	as.tables, as.windows, as.released = nil, nil, true
	free := as.text.End()
	as.mu.Unlock()
	as.p.spacesMu.Lock()
	delete(as.p.spaces, as)
	as.p.spacesMu.Unlock()
	if t != nil {
		t.Release()
	}
	if free != nil {
		free()
	}
	as.p.mem.unref(windows)
	if as.p.pool.Aside() > asideFrames {
		as.p.reuse()
	}
}
