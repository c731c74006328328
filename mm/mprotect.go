package mm

import (
	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// MProtect changes the rights of [addr, addr+length). With growsDown the range
// starts where the growing mapping around addr does (EINVAL if it is none). EINVAL when
// addr is not aligned; ENOMEM when a part is not mapped, with the parts before
// it changed; EACCES when a file's opening mode forbids it, EPERM when it is sealed.
func (m *MemoryManager) MProtect(addr Addr, length uint64, prot platform.Prot, growsDown bool) error {
	if uint64(addr)%PageSize != 0 || prot&^(platform.Read|platform.Write|platform.Exec) != 0 {
		return unix.EINVAL
	}
	if length == 0 {
		return nil
	}
	start, end, err := pageRange(addr, length)
	if err != nil || end == start {
		return unix.ENOMEM
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	p := m.vmas.find(start)
	if !m.vmas.ok(p) {
		return unix.ENOMEM
	}
	if g := m.vmas.at(p); growsDown {
		if g.start >= end {
			return unix.ENOMEM
		}
		if start = g.start; !g.v.has(flagGrowsDown) {
			return unix.EINVAL
		}
	} else if g.start > start {
		return unix.ENOMEM
	}
	stop, err := m.mayProtect(start, end, prot)
	if stop > start {
		m.editVMAs(start, stop, func(a *attrs) { a.prot = prot })
		m.activeMu.Lock()
		m.reprotect(start, stop, prot)
		e := m.apply()
		m.activeMu.Unlock()
		if err == nil {
			err = e
		}
	}
	return err
}

// mayProtect returns how far the rights can be changed, and why not further.
func (m *MemoryManager) mayProtect(start, end uint64, prot platform.Prot) (stop uint64, err error) {
	data := m.usage.data
	for p := m.vmas.find(start); start < end; p = m.vmas.next(p) {
		if !m.vmas.ok(p) || m.vmas.at(p).start > start {
			return start, unix.ENOMEM
		}
		g := m.vmas.at(p)
		part := min(end, g.end) - start
		if prot&^g.v.maxProt != 0 {
			return start, unix.EACCES
		}
		if g.v.has(flagSealed) {
			return start, unix.EPERM
		}
		if (g.start < start || g.end > end) && g.v.prot != prot && m.vmas.len()+2 > m.maxVMAs() {
			return start, unix.ENOMEM
		}
		if b := g.v.with(func(a *attrs) { a.prot = prot }); b.data() && !g.v.data() {
			if data += part; data > m.limit(nil, limits.Data) {
				return start, unix.ENOMEM
			}
		}
		start += part
	}
	return end, nil
}
