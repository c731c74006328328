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
	lost     pagetable.Lost // since the last shoot
	text     *patch.Text
	edits    edits  // text's
	faulted  uint64 // where the guest faulted last
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

// makeRoom sees to it that there are frames; where there are none left, address spaces that do not run give theirs back.
func (p *Platform) makeRoom() {
	if p.pool.Left() >= spareFrames {
		return
	}
	if p.pool.Aside() < spareFrames {
		p.shrink()
	}
	p.reuse()
}

// spareFrames is how many frames there should be before tables are made.
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
			as.empty()
			p.pool.SetAside(as.lost.Frames)
			as.lost = pagetable.Lost{}
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
	as.p.makeRoom()
	t, err := pagetable.New(as.p.pool, maxFrames, as.p.mem.shadow)
	if err != nil {
		return unix.ENOMEM
	}
	as.flushes++
	as.tables = t
	return nil
}

// empty takes all tables away; lost has them. mu is held.
func (as *addressSpace) empty() {
	as.drops.Add(1)
	as.loseText()
	as.tables.Release(&as.lost)
	as.tables = nil
	as.lost.Extents, as.lost.Moved = as.lost.Extents[:0], true
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
	if as.released {
		return nil
	}
	if as.died != nil {
		as.wipe() // others may still run guest code
		return nil
	}
	as.p.makeRoom()
	var err error
	for i := range list {
		if e := as.changeText(&list[i]); e != nil && err == nil {
			err = e
		}
	}
	as.shoot()
	as.p.tidy()
	return err
}

// change carries out one change. Where the tables have no room, everything else is dropped first. mu is held.
func (as *addressSpace) change(c *platform.Change) error {
	full := func(err error) bool { return errors.Is(err, pagetable.ErrFull) || errors.Is(err, errNoSlots) }
	err := as.try(c)
	if full(err) {
		as.wipe()
		err = as.try(c)
	}
	switch {
	case err == nil:
		return nil
	case as.tables == nil:
	case as.tables.Unmap(c.Addr, c.Length, &as.lost) != nil:
		as.wipe()
	}
	if full(err) {
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

// try carries out one change as far as it can. mu is held.
func (as *addressSpace) try(c *platform.Change) error {
	if as.tables == nil && c.Op != platform.Map {
		return nil
	}
	if err := as.ready(); err != nil {
		return err
	}
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
		if err := as.mapWindow(c, c.Addr+done, n, w, at); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// shoot makes processors and hypervisor forget what was lost. When it returns, nobody runs with it. mu is held, but
// not while waiting.
func (as *addressSpace) shoot() {
	lost := as.lost
	if len(lost.Extents) == 0 && !lost.Moved {
		return
	}
	as.lost = pagetable.Lost{}
	if as.p.mem.shadow {
		as.p.mem.forget(&lost)
	} else {
		as.flushes++
	}
	if lost.Moved || !as.p.mem.shadow {
		as.expel()
	}
	as.p.pool.SetAside(lost.Frames)
	if cap(lost.Extents)+cap(lost.Frames) < maxKept && as.lost.Extents == nil {
		as.lost = pagetable.Lost{Extents: lost.Extents[:0], Frames: lost.Frames[:0]}
	}
}

// maxKept bounds buffers that are kept.
const maxKept = 1024

// shadowShareFrom is ShareFrom where tables are shadowed: new tables have both sides fault once more for each of the few
// pages that a small process executes, while to withdraw a right costs 40 us a MiB.
const shadowShareFrom = 1 << 20

// ShareFrom implements platform.Sharer.
func (as *addressSpace) ShareFrom() uint64 {
	if as.p.mem.shadow {
		return shadowShareFrom
	}
	return 0
}

// Share implements platform.Sharer.
func (as *addressSpace) Share(with platform.AddressSpace) error {
	child, ok := with.(*addressSpace)
	if !ok || child == as {
		return unix.EINVAL
	}
	as.p.makeRoom()
	as.mu.Lock()
	defer as.mu.Unlock()
	child.mu.Lock()
	err := as.share(child)
	child.mu.Unlock()
	as.shoot()
	as.p.tidy()
	return err
}

// share gives child, which nobody knows yet, the tables. Both are locked.
func (as *addressSpace) share(child *addressSpace) error {
	switch {
	case as.released || as.died != nil || child.tables != nil:
		return unix.EINVAL
	case as.tables == nil:
		child.drops.Store(as.drops.Load())
		return nil
	}
	if !as.text.Share(child.text) {
		return unix.ENOMEM
	}
	tables, err := as.tables.Share(&as.lost)
	if err != nil {
		child.loseText()
		return unix.ENOMEM
	}
	child.tables, child.windows = tables, as.p.mem.ref(as.windows)
	child.drops.Store(as.drops.Load())
	child.edit()
	child.shoot()
	return nil
}

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

// wipe takes all tables away and lets the windows go. mu is held, but not while waiting.
func (as *addressSpace) wipe() {
	if as.tables == nil {
		return
	}
	as.empty()
	as.shoot()
	as.letWindowsGo()
}

// prepare makes sure that there are tables, and that what patched text needs is mapped, with room to pass calls over
// if that is wanted. mu is held, but not while waiting.
func (as *addressSpace) prepare(area bool) error {
	for {
		if err := as.ready(); err == unix.ENOMEM {
			as.died = &platform.Died{Reason: "there are no frames for its page tables"}
			return as.died
		} else if err != nil {
			return err
		}
		as.text.Recover()
		if area {
			as.text.OpenArea()
		}
		if len(as.edits.list) == 0 {
			return nil
		}
		as.edit()
		as.shoot()
	}
}

// begin lets v run guest code in the address space and returns its CR3.
func (as *addressSpace) begin(v *vcpu) (root uint64, err error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if err := as.prepare(v.runner != nil); err != nil {
		return 0, err
	}
	if v.space != as || v.flush != as.flushes {
		v.space, v.flush = as, as.flushes
		v.toggle ^= cr3Toggle
	}
	v.stop.Store(false)
	v.entries++
	as.running[v] = struct{}{}
	as.tables.Enter()
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
	as.released = true
	as.expel() // a processor may be waiting for the result of the call that ends it
	t, windows := as.tables, as.windows
	as.tables, as.windows = nil, nil
	free := as.text.End()
	as.mu.Unlock()
	as.p.spacesMu.Lock()
	delete(as.p.spaces, as)
	as.p.spacesMu.Unlock()
	if t != nil {
		var lost pagetable.Lost
		t.Release(&lost)
		as.p.pool.SetAside(lost.Frames)
	}
	if free != nil {
		free()
	}
	as.p.mem.unref(windows)
	as.p.tidy()
}

// tidy makes frames that were set aside ready for use, when they are many.
func (p *Platform) tidy() {
	if p.pool.Aside() > asideFrames {
		p.reuse()
	}
}
