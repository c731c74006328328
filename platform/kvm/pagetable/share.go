package pagetable

import "sync/atomic"

// Share returns a tree that maps what t does, and takes the right to write from all pages of both. The lowest tables
// are in both from now on, behind entries without that right; whoever changes something there makes a table of its
// own first. ErrFull leaves t as it was.
func (t *Tables) Share(lost *Lost) (*Tables, error) {
	child := &Tables{pool: t.pool, shadow: t.shadow, limit: t.limit}
	mine := &Tables{pool: t.pool, shadow: t.shadow, limit: t.limit, version: t.version + 1, rootVersion: t.version + 1}
	for _, c := range []*Tables{child, mine} {
		var err error
		if c.root, err = c.copyTable(t.root, top); err != nil {
			var unseen Lost
			child.dropTable(child.root, top, &unseen)
			mine.dropTable(mine.root, top, &unseen)
			t.pool.SetAside(unseen.Frames)
			return nil, err
		}
	}
	lost.Moved = true
	t.Release(lost)
	*t = *mine
	return child, nil
}

// copyTable returns a copy of a table of the level, the second or above, with copies of the tables that it leads to,
// but for the lowest: these are shared. What was not copied is missing when it fails.
func (t *Tables) copyTable(from uint64, level int) (uint64, error) {
	frame, err := t.alloc()
	if err != nil {
		return 0, err
	}
	old, tab := t.pool.Table(from), t.pool.Table(frame)
	if level == 2 {
		for i, e := range old {
			tab[i] = readOnly(e)
		}
		t.count += t.pool.share(tab)
		return frame, nil
	}
	for i, e := range old {
		switch {
		case e == 0:
		case level == top && i >= entries/2:
			tab[i] = e // the kernel's
		default:
			lower, err := t.copyTable(e&addrMask, level-1)
			if lower != 0 {
				tab[i] = lower | branch
			}
			if err != nil {
				return frame, err
			}
		}
	}
	return frame, nil
}

// dropTable gives a table of the level back, and what it leads to. Frame 0 stands for none.
func (t *Tables) dropTable(frame uint64, level int, lost *Lost) {
	if frame == 0 {
		return
	}
	tab := t.pool.Table(frame)
	count := entries
	if level == top {
		count /= 2
	}
	first := len(lost.Frames)
	for _, e := range tab[:count] {
		switch {
		case !isBranch(e):
		case level > 2:
			t.dropTable(e&addrMask, level-1, lost)
		default:
			lost.Frames = append(lost.Frames, e&addrMask)
		}
	}
	if level == 2 {
		t.count -= len(lost.Frames) - first
		lost.Frames = lost.Frames[:first+len(t.pool.unshare(lost.Frames[first:]))]
	}
	t.count--
	lost.Frames = append(lost.Frames, frame)
}

// cut removes the entry of the level that leads to addr, and the tables behind it.
func (t *Tables) cut(addr uint64, level int, lost *Lost) error {
	if err := t.renew(addr, level, lost); err != nil {
		return err
	}
	e := t.entry(addr, level)
	old := *e
	atomic.StoreUint64(e, 0)
	lost.Moved = true
	if level > 2 {
		t.dropTable(old&addrMask, level-1, lost)
	} else {
		t.dropLowest(old&addrMask, lost)
	}
	return nil
}

// dropLowest gives a table of the lowest level back, unless other trees have it too.
func (t *Tables) dropLowest(frame uint64, lost *Lost) {
	t.count--
	lost.Frames = append(lost.Frames, t.pool.unshare([]uint64{frame})...)
}

// entry is the entry of the level that leads to addr. The tables down to it are there.
func (t *Tables) entry(addr uint64, level int) *uint64 {
	tab := t.pool.Table(t.root)
	for l := top; l > level; l-- {
		tab = t.pool.Table(tab[index(addr, l)] & addrMask)
	}
	return &tab[index(addr, level)]
}

// renew makes sure that an entry of the level that leads to addr may be changed although it leads to a table: where there are
// shadows, the tables on the way to it must be such that no processor has seen.
func (t *Tables) renew(addr uint64, level int, lost *Lost) error {
	if !t.shadow {
		return nil
	}
	link := &t.root
	for l := top; l >= level; l-- {
		if old := *link & addrMask; !t.fresh(old) {
			if l == top {
				t.version++
			}
			frame, err := t.copyFrame(old, lost)
			if err != nil {
				return err
			}
			if l == top {
				t.rootVersion = t.version
			}
			atomic.StoreUint64(link, *link&^addrMask|frame)
		}
		link = &t.pool.Table(*link & addrMask)[index(addr, l)]
	}
	return nil
}

// copyFrame returns a copy of a table above the lowest level that takes its place.
func (t *Tables) copyFrame(old uint64, lost *Lost) (uint64, error) {
	t.count--
	frame, err := t.alloc()
	if err != nil {
		t.count++
		return 0, err
	}
	*t.pool.Table(frame) = *t.pool.Table(old)
	lost.Frames, lost.Moved = append(lost.Frames, old), true
	return frame, nil
}

// edit replaces the entries from addr to end, within the span of one table of the lowest level that is there, by what f
// makes of them; f gets how many pages from addr on an entry is. A table that other trees have is replaced by one of this
// tree's own; where there are shadows also one of which all pages are edited and some lost, since a new table is
// cheaper than to withdraw page by page.
func (t *Tables) edit(addr, end uint64, f func(i int, e uint64) uint64, lost *Lost) error {
	link := *t.entry(addr, 2)
	frame := link & addrMask
	part := func() []uint64 {
		tab := t.pool.Table(*t.entry(addr, 2) & addrMask)
		return tab[index(addr, 1):][:(end-addr)/FrameSize]
	}
	changes, loss := false, false
	for i, old := range part() {
		old = through(link, old)
		now := f(i, old)
		changes = changes || now != old
		loss = loss || loses(old, now)
	}
	if !changes {
		return nil
	}
	unseen := t.fresh(frame)
	if link&writable == 0 || t.shadow && !unseen && loss && end-addr == largeSize {
		if err := t.own(addr, lost); err != nil {
			return err
		}
		unseen = t.shadow
	}
	if unseen {
		lost = nil
	}
	list := part()
	for i := range list {
		set(&list[i], f(i, list[i]), FrameSize, lost)
	}
	return nil
}

// own puts a copy in the place of the table of the lowest level for addr.
func (t *Tables) own(addr uint64, lost *Lost) error {
	if err := t.renew(addr, 2, lost); err != nil {
		return err
	}
	link := t.entry(addr, 2)
	old := *link
	t.count--
	frame, err := t.alloc()
	t.count++
	if err != nil {
		return err
	}
	tab := t.pool.Table(frame)
	for i, e := range t.pool.Table(old & addrMask) {
		tab[i] = through(old, e)
	}
	atomic.StoreUint64(link, frame|branch)
	lost.Moved = true
	t.dropLowest(old&addrMask, lost)
	return nil
}
