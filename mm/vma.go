package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// DefaultMappings is how many mappings an address space may have at first, MostMappings what that can be
// changed to.
const (
	DefaultMappings = 65530
	MostMappings    = 1 << 18
)

// Above mostVMAs of all address spaces together, ranges of guards among them, no address space gets more that has commonVMAs already.
const (
	mostVMAs   = 1 << 22
	commonVMAs = 1 << 10
)

// maxVMAs bounds the vmas of an address space, as vm.max_map_count does, and where all together have very
// many. mappingMu is held.
func (m *MemoryManager) maxVMAs() int {
	most := int(m.file.MaxMappings.Load())
	if !m.roomForVMAs() {
		most = min(most, m.vmas.len())
	}
	return most
}

// roomForVMAs tells whether the address space may get more vmas as far as others matter.
func (m *MemoryManager) roomForVMAs() bool {
	return m.countVMAs() <= mostVMAs || m.counted < commonVMAs
}

// countVMAs counts the vmas and ranges of guards among those of all address spaces, and returns how many those are. It is called where
// many may have come or gone; between that the count is a little old. mappingMu is held.
func (m *MemoryManager) countVMAs() int64 {
	n := int64(m.vmas.len() + m.guards.len())
	more := n - m.counted
	m.counted = n
	return m.file.vmas.Add(more)
}

// vmaFlags are a mapping's properties.
type vmaFlags uint16

const (
	flagPrivate vmaFlags = 1 << iota
	flagGrowsDown
	flagLocked
	flagLockOnFault
	flagDontFork
	flagWipeOnFork
	flagDontDump
	flagNoReserve
	flagSealed
	flagDontExpand
)

// attrs are the attributes of a vma. They are immutable, and shared between the
// vmas of an address space and of its forks.
type attrs struct {
	prot    platform.Prot
	maxProt platform.Prot // what mprotect may give
	flags   vmaFlags
	file    Mappable    // nil: private anonymous
	set     *MappingSet // file's, if it has one
	delta   uint64      // offset in file of address 0, modulo 2^64
	name    string
	source  any
}

func (a *attrs) equal(b *attrs) bool { return a == b || *a == *b }

func (a *attrs) private() bool { return a.flags&flagPrivate != 0 }

// anonymous tells whether the mapping has no file at all: shared anonymous memory has one.
func (a *attrs) anonymous() bool { return a.file == nil }

func (a *attrs) has(f vmaFlags) bool { return a.flags&f != 0 }

// data tells whether RLIMIT_DATA counts the mapping.
func (a *attrs) data() bool {
	return a.private() && a.prot&platform.Write != 0 && !a.has(flagGrowsDown)
}

// mayWriteFile is AddMapping's writable.
func (a *attrs) mayWriteFile() bool { return !a.private() && a.maxProt&platform.Write != 0 }

// with returns a copy of a that edit changed, or a itself if nothing changed.
func (a *attrs) with(edit func(*attrs)) *attrs {
	b := *a
	edit(&b)
	if b == *a {
		return a
	}
	return &b
}

// vmaSet is the ordered set of vmas.
type vmaSet = segset[*attrs]

type vmaSeg = segment[*attrs]

// usage are sums over the vmas, in bytes.
type usage struct{ total, data, stack, locked, exec, shared uint64 }

// add counts n bytes with attributes a; n is negative (modulo 2^64) to take them away.
func (u *usage) add(a *attrs, n uint64) {
	u.total += n
	if a.data() {
		u.data += n
	}
	if a.has(flagGrowsDown) {
		u.stack += n
	}
	if a.has(flagLocked) {
		u.locked += n
	}
	if a.prot&platform.Exec != 0 && a.prot&platform.Write == 0 {
		u.exec += n
	}
	if !a.private() {
		u.shared += n
	}
}

// addVMA inserts a vma where none is. The file has been told.
func (m *MemoryManager) addVMA(start, end uint64, a *attrs) {
	m.vmas.insert(start, end, a)
	m.usage.add(a, end-start)
	m.peak = max(m.peak, m.usage.total)
}

// editVMAs replaces the attributes in [start, end) by what edit makes of them.
func (m *MemoryManager) editVMAs(start, end uint64, edit func(*attrs)) {
	var old, edited *attrs
	m.vmas.update(start, end, func(s, e uint64, a *attrs) *attrs {
		if a != old {
			old, edited = a, a.with(edit)
		}
		m.usage.add(a, -(e - s))
		m.usage.add(edited, e-s)
		return edited
	})
}

// covered tells whether every byte of [start, end) is in a vma.
func (m *MemoryManager) covered(start, end uint64) bool {
	for p := m.vmas.find(start); m.vmas.ok(p); p = m.vmas.next(p) {
		g := m.vmas.at(p)
		if g.start > start {
			return false
		}
		if start = g.end; start >= end {
			return true
		}
	}
	return start >= end
}

// pageRange checks and rounds a range from a guest: addr must be aligned, the length is rounded
// up. EINVAL when it is not aligned or wraps around.
func pageRange(addr Addr, length uint64) (start, end uint64, err error) {
	start = uint64(addr)
	if start%PageSize != 0 {
		return 0, 0, unix.EINVAL
	}
	rounded, ok := roundUp(length)
	if !ok || start+rounded < start {
		return 0, 0, unix.EINVAL
	}
	return start, start + rounded, nil
}

// roundUp rounds to whole pages; ok is false on overflow.
func roundUp(n uint64) (uint64, bool) {
	r := (n + PageSize - 1) &^ uint64(PageSize-1)
	return r, r >= n
}
