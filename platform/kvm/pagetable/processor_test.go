package pagetable

import "gosentry/platform"

// hypervisor stands for what holds translations of all processors: shadows of tables, if it makes them.
type hypervisor struct {
	pool   *Pool
	shadow bool
	// shadows are entries by their place in a table. Once there, they are used whatever became of the table.
	shadows map[shadowKey]map[int]uint64
}

// shadowKey names the shadow of a table: one for each set of rights on the way to it.
type shadowKey struct {
	frame  uint64
	rights uint64
}

// flush forgets all.
func (h *hypervisor) flush() { clear(h.shadows) }

// forget drops what leads to these pages.
func (h *hypervisor) forget(list []Extent) {
	for _, e := range list {
		for _, s := range h.shadows {
			for i, entry := range s {
				if to := entry & addrMask; entry&mapped != 0 && to >= e.Addr && to-e.Addr < e.Length {
					delete(s, i)
				}
			}
		}
	}
}

// processor remembers what it has seen for as long as the manuals let it: without shadows, pages and lowest tables until a
// root is loaded.
type processor struct {
	hyp    *hypervisor
	root   uint64
	pages  map[uint64]uint64 // entries by address
	lowest map[uint64]uint64 // entries of the second level by address
}

func (p *processor) load(root uint64) {
	p.root, p.pages, p.lowest = root, make(map[uint64]uint64), make(map[uint64]uint64)
}

func allows(e uint64, access platform.Prot) bool { return e&present != 0 && protOf(e)&access != 0 }

// access tells where an access leads to.
func (p *processor) access(addr uint64, access platform.Prot) (to uint64, ok bool) {
	if p.hyp.shadow {
		return p.accessShadow(addr, access)
	}
	e := p.pages[addr]
	if !allows(e, access) {
		if e = p.walk(addr); !allows(e, access) {
			return 0, false
		}
		p.pages[addr] = e
	}
	return e & addrMask, true
}

// walk looks addr up, from the lowest table on if that is known.
func (p *processor) walk(addr uint64) uint64 {
	link, known := p.lowest[addr&^(largeSize-1)]
	if !known {
		link = branch | p.root
		for level := top; level > 1; level-- {
			link = p.hyp.pool.Table(link & addrMask)[index(addr, level)]
			if link&present == 0 {
				return 0
			}
		}
		if link&mapped != 0 {
			return link + addr&(largeSize-1)
		}
		p.lowest[addr&^(largeSize-1)] = link
	}
	return through(link, p.hyp.pool.Table(link & addrMask)[index(addr, 1)])
}

// accessShadow is access with shadows: what is missing there is filled in from the tables, and the rest is believed.
func (p *processor) accessShadow(addr uint64, access platform.Prot) (to uint64, ok bool) {
	shadow := shadowKey{p.root, writable}
	real, there := p.walkTables(addr)
	for level := top; ; level-- {
		s := p.hyp.shadows[shadow]
		if s == nil {
			s = make(map[int]uint64)
			p.hyp.shadows[shadow] = s
		}
		i := index(addr, level)
		if level == 1 {
			if !allows(s[i], access) {
				if !there || !allows(real[0], access) {
					return 0, false
				}
				s[i] = real[0]
			}
			return s[i] & addrMask, true
		}
		if s[i] == 0 {
			if !there || !allows(real[0], access) {
				return 0, false
			}
			s[i] = real[level-1]
		}
		shadow = shadowKey{s[i] & addrMask, shadow.rights & s[i]}
	}
}

// walkTables returns the entries on the way to addr by level, the lowest, with the rights of the whole way, first.
func (p *processor) walkTables(addr uint64) (list [top]uint64, ok bool) {
	link := branch | p.root
	for level := top; level >= 1; level-- {
		e := through(link, p.hyp.pool.Table(link & addrMask)[index(addr, level)])
		list[level-1] = e
		if link = e; e&present == 0 {
			return list, false
		}
	}
	return list, true
}
