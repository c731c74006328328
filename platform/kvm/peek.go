package kvm

import (
	"sort"

	"gosentry/platform"
)

// peekSome is peek of as much of n bytes as lies in the pages that can be read.
func (as *addressSpace) peekSome(addr uint64, n int) []byte {
	if b, ok := as.peek(addr, n); ok {
		return b
	}
	b, _ := as.peek(addr, min(n, int(pageSize-addr%pageSize)))
	return b
}

// peek reads guest memory as the guest could, some bytes.
func (as *addressSpace) peek(addr uint64, n int) (b []byte, ok bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	for len(b) < n {
		if as.tables == nil || addr >= taskSize {
			return nil, false
		}
		page := as.tables.Walk(addr)
		if page.Prot == 0 {
			return nil, false
		}
		part := make([]byte, min(n-len(b), int(pageSize-addr%pageSize)))
		if _, from := as.p.mem.at(page.Addr); from == nil || !copyOut(part, from) {
			return nil, false
		}
		b = append(b, part...)
		addr += uint64(len(part))
	}
	return b, true
}

// look tells what the tables have at the address of a fault: a page, one that its file has lost, or one that
// was held and can be seen now.
func (as *addressSpace) look(addr uint64) (mapped, held, back bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.faulted = addr
	if as.tables == nil || addr >= taskSize {
		return false, false, false
	}
	page := as.tables.Walk(addr)
	if !page.Held {
		return page.Mapped, false, false
	}
	back = as.show(addr, page.Addr)
	as.shoot()
	return true, !back, back
}

// readable tells whether the file behind a page has it.
func (as *addressSpace) readable(gpa uint64) bool {
	var b [1]byte
	_, from := as.p.mem.at(gpa &^ (pageSize - 1))
	return from != nil && copyOut(b[:], from)
}

// holdTruncated looks for pages whose files are too short for them, and takes these out of the guest's sight:
// it faults there. It returns false if it found none.
func (as *addressSpace) holdTruncated() bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.tables == nil {
		return true
	}
	pages := make(map[*window][]mappedPage)
	as.tables.Each(func(addr, size, to uint64, _ platform.Prot) {
		for at := uint64(0); at < size; at += pageSize {
			if w, _ := as.p.mem.at(to + at); w != nil {
				pages[w] = append(pages[w], mappedPage{addr + at, to + at})
			}
		}
	})
	found := false
	for _, list := range pages {
		sort.Slice(list, func(i, j int) bool { return list[i].to < list[j].to })
		if as.readable(list[len(list)-1].to) {
			continue
		}
		first := sort.Search(len(list), func(i int) bool { return !as.readable(list[i].to) })
		for _, p := range list[first:] {
			found = as.tables.Hold(p.addr, &as.lost) == nil || found
		}
	}
	as.shoot()
	return found
}

type mappedPage struct{ addr, to uint64 }
