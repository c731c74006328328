package patch

import "unsafe"

// trapPage is page i of breakpoints.
func (p *Store) trapPage(i int) *trapPage {
	return (*trapPage)(unsafe.Pointer(&p.mem[p.cfg.trapsAt()+uint64(i)*pageSize]))
}
