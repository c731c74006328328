package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Seal is mseal(2): the mappings in [addr, addr+length) stay where they are, with the rights they have, until the
// address space ends. EINVAL for a bad range; ENOMEM, with nothing sealed, where a part is not mapped or there would be
// too many mappings.
func (m *MemoryManager) Seal(addr Addr, length uint64) error {
	start, end, err := pageRange(addr, length)
	if err != nil || start == end {
		return err
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if !m.covered(start, end) || m.vmas.len()+2 > m.maxVMAs() {
		return unix.ENOMEM
	}
	m.editVMAs(start, end, func(a *attrs) { a.flags |= flagSealed })
	return nil
}

// sealed tells whether anything in [start, end) is sealed.
func (m *MemoryManager) sealed(start, end uint64) (sealed bool) {
	m.vmas.each(start, end, func(_, _ uint64, a *attrs) bool {
		sealed = a.has(flagSealed)
		return !sealed
	})
	return sealed
}

// mayLose refuses with EPERM to throw away sealed memory that could not be written to.
func (a *attrs) mayLose() error {
	if a.has(flagSealed) && a.private() && a.prot&platform.Write == 0 {
		return unix.EPERM
	}
	return nil
}
