package mm

import "gosentry/platform"

// memoryFD stands for the memory file in a pma.
const memoryFD = -1

// pmaFlags tell what a pma's pages are.
type pmaFlags uint8

const (
	// pmaCow: another address space or a file has the same pages; copy before a write.
	pmaCow pmaFlags = 1 << iota
	// pmaShared: of a shared mapping.
	pmaShared
	// pmaAnon: private pages of ours (and of forks), not a file's.
	pmaAnon
)

// pma tells where the bytes of a range are, and how much of that the AddressSpace knows.
type pma struct {
	delta uint64 // offset in the memory file, or on the descriptor, of address 0
	fd    int32  // host descriptor, or memoryFD
	id    uint32 // of what fd is open to, as platform.Change has it
	flags pmaFlags
	prot  platform.Prot // what the guest may do: the vma's
	host  platform.Prot // what the AddressSpace lets it do; 0: not mapped
}

func (p pma) equal(q pma) bool { return p == q }

func (p pma) inMemory() bool { return p.fd == memoryFD }

func (p pma) has(f pmaFlags) bool { return p.flags&f != 0 }

// rights are what may be mapped: x86 cannot write or execute without reading.
func (p pma) rights() platform.Prot {
	if p.prot == 0 {
		return 0
	}
	r := p.prot | platform.Read
	if p.has(pmaCow) {
		r &^= platform.Write
	}
	return r
}

// readable and writable tell whether the sentry can go ahead for the guest. Linux
// lets itself read whatever can be accessed at all.
func (p pma) readable() bool { return p.prot != 0 }

func (p pma) writable() bool { return p.prot&platform.Write != 0 && p.flags&pmaCow == 0 }

type pmaSeg = segment[pma]

// dropPMAs forgets what lies in [start, end): Unmap changes are queued for what the AddressSpace
// knows, references are dropped after they were applied.
func (m *MemoryManager) dropPMAs(start, end uint64) {
	m.pmas.remove(start, end, func(s, e uint64, p pma) {
		if p.host != 0 {
			m.change(unmapChange(s, e))
		}
		if p.inMemory() {
			m.dropped = append(m.dropped, memRange{s + p.delta, e - s})
		}
	})
}

// reprotect gives the pmas in [start, end) the rights prot. What the AddressSpace
// allows beyond is withdrawn, and new rights on mapped pages are given.
func (m *MemoryManager) reprotect(start, end uint64, prot platform.Prot) {
	m.pmas.update(start, end, func(s, e uint64, p pma) pma {
		p.prot = prot
		if p.host == 0 {
			return p
		}
		switch rights := p.rights(); {
		case rights == p.host:
		case rights == 0:
			m.change(unmapChange(s, e))
			p.host = 0
		default:
			m.change(platform.Change{Op: platform.Protect, Prot: rights, Addr: s, Length: e - s})
			p.host = rights
		}
		return p
	})
}

// grantPMAs queues Protect changes for the pmas in [start, end) that the AddressSpace knows without
// all their rights, at most limit of them.
func (m *MemoryManager) grantPMAs(start, end uint64, limit int) {
	m.pmas.update(start, end, func(s, e uint64, p pma) pma {
		if rights := p.rights(); p.host != 0 && rights != p.host && limit > 0 {
			limit--
			m.change(platform.Change{Op: platform.Protect, Prot: rights, Addr: s, Length: e - s})
			p.host = rights
		}
		return p
	})
}

// mapPMAs queues Map changes for the pmas in [start, end) that the AddressSpace
// does not know with all their rights, at most limit of them.
func (m *MemoryManager) mapPMAs(start, end uint64, limit int) {
	m.pmas.update(start, end, func(s, e uint64, p pma) pma {
		rights := p.rights()
		if rights == p.host || rights == 0 || limit == 0 {
			return p
		}
		limit--
		if p.host != 0 {
			m.change(platform.Change{Op: platform.Protect, Prot: rights, Addr: s, Length: e - s})
		} else {
			m.change(m.mapChange(s, e, p))
		}
		p.host = rights
		return p
	})
}

func (m *MemoryManager) mapChange(start, end uint64, p pma) platform.Change {
	fd, id := p.fd, p.id
	if p.inMemory() {
		fd, id = int32(m.file.fd), platform.PermanentID
	}
	return platform.Change{Op: platform.Map, Prot: p.rights(), File: fd, FileID: id, Addr: start, Length: end - start, Offset: start + p.delta}
}

func unmapChange(start, end uint64) platform.Change {
	return platform.Change{Op: platform.Unmap, Addr: start, Length: end - start}
}
