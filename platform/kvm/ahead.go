package kvm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Where the host keeps shadow page tables, the first access to each page costs an exit of its own, unless the host finds, when it looks at a page, that
// the ones beside it are in the sentry's mapping already. So of a large piece of memory only a block is mapped to be seen, for which the
// host gives its pages at once; the rest is held. Where blocks are asked for in turn, they grow.
const (
	// aheadFrom is from how many bytes on memory is mapped block by block. Less is often asked for without any use yet.
	aheadFrom = 256<<10 + pageSize
	// aheadLeast is the smallest block: as much as the host looks at. aheadMost is the largest.
	aheadLeast = 8 * pageSize
	aheadMost  = 1 << 20
)

// ahead tells whether w's memory may be given before it is asked for: nobody sees by the file that it was.
func (as *addressSpace) ahead(c *platform.Change, w *window) bool {
	return as.p.mem.shadow && w.nameless && w.writable && c.Prot&platform.Write != 0
}

// mapWindow maps n bytes of w from offset at on, as c says. mu is held.
func (as *addressSpace) mapWindow(c *platform.Change, addr, n uint64, w *window, at uint64) error {
	ahead := as.ahead(c, w)
	if !ahead || c.Fill || n < aheadFrom {
		if ahead && c.Fill {
			w.populate(at, n)
		}
		return as.tables.Map(addr, n, w.gpa+at, c.Prot, &as.lost)
	}
	if err := as.tables.MapHeld(addr, n, w.gpa+at, c.Prot, &as.lost); err != nil {
		return err
	}
	if page := as.faulted &^ (pageSize - 1); page-addr < n {
		as.show(page, w.gpa+at+page-addr)
	}
	return nil
}

// populate has the host give n bytes from offset at on, as far as it can.
func (w *window) populate(at, n uint64) (done bool) {
	return unix.Madvise(w.mem[at:at+n], unix.MADV_POPULATE_WRITE) == nil
}

// show lets a held page be seen, with those around it where they are memory. It returns false if the page's file does not have it. mu is held.
func (as *addressSpace) show(addr, gpa uint64) bool {
	page := addr &^ (pageSize - 1)
	start, end := page, page+pageSize
	if w, _ := as.p.mem.at(gpa); w != nil && w.nameless && w.writable && as.p.mem.shadow {
		start, end = as.block(page, gpa&^(pageSize-1), w)
		if !w.populate(gpa&^(pageSize-1)-w.gpa-(page-start), end-start) {
			start, end = page, page+pageSize
		}
	}
	return as.readable(gpa) && as.tables.Unhold(start, end-start, &as.lost) == nil
}

// block is what is to be seen around a held page, whose place in w is gpa: as much again as is seen right before it.
func (as *addressSpace) block(page, gpa uint64, w *window) (start, end uint64) {
	first := page &^ (aheadLeast - 1)
	size := uint64(aheadLeast)
	for size < aheadMost && as.seen(first-size, size) {
		size *= 2
	}
	held := func(at uint64) bool {
		p := as.tables.Walk(at)
		return p.Held && p.Addr-gpa == at-page && p.Addr-w.gpa < w.length()
	}
	start, end = page, page+pageSize
	for start > first && held(start-pageSize) {
		start -= pageSize
	}
	for end < first+size && held(end) {
		end += pageSize
	}
	return start, end
}

// seen tells whether something of each smallest block in size bytes from addr on is seen.
func (as *addressSpace) seen(addr, size uint64) bool {
	for at := addr; at < addr+size; at += aheadLeast {
		if as.tables.Walk(at+aheadLeast-pageSize).Prot&platform.Write == 0 {
			return false
		}
	}
	return true
}
