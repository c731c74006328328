package mm

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// change queues a change of the AddressSpace; apply carries the queue out.
func (m *MemoryManager) change(c platform.Change) {
	m.suspects.acquit(c.Addr, c.Addr+c.Length)
	m.queue(c)
}

// queue is change for what changes nothing as far as is known. A change that continues the one before is joined with it.
func (m *MemoryManager) queue(c platform.Change) {
	if n := len(m.changes); n > 0 {
		last := &m.changes[n-1]
		joined := last.Op == c.Op && last.Addr+last.Length == c.Addr && last.Prot == c.Prot
		if joined && c.Op == platform.Map {
			joined = last.File == c.File && last.FileID == c.FileID && last.Fill == c.Fill && last.Offset+last.Length == c.Offset
		}
		if joined {
			last.Length += c.Length
			return
		}
	}
	m.changes = append(m.changes, c)
}

// maxKept bounds the buffers that are kept between operations.
const maxKept = 1024

// apply carries out the queued changes, then drops the references that were queued. Only
// with activeMu held. ENOMEM when the host cannot map; what is mapped is then unknown to it
// and will fault again.
func (m *MemoryManager) apply() error {
	var err error
	if list := coalesce(m.changes); len(list) > 0 && m.as != nil {
		if err = m.as.Apply(list); err != nil {
			err = m.applyAgain(list, err)
		}
	}
	m.changes = m.changes[:0]
	if cap(m.changes) > maxKept {
		m.changes = nil
	}
	m.file.decRefs(m.dropped)
	m.dropped = m.dropped[:0]
	if cap(m.dropped) > maxKept {
		m.dropped = nil
	}
	return err
}

// coalesce drops Unmap changes that the following Map replaces whole.
func coalesce(list []platform.Change) []platform.Change {
	out := list[:0]
	for i, c := range list {
		if c.Op == platform.Unmap && i+1 < len(list) && list[i+1].Op == platform.Map &&
			list[i+1].Addr <= c.Addr && c.Addr+c.Length <= list[i+1].Addr+list[i+1].Length {
			continue
		}
		out = append(out, c)
	}
	return out
}

// applyAgain makes room after Apply failed: it has everything forgotten, and maps
// once more what the list wanted mapped.
func (m *MemoryManager) applyAgain(list []platform.Change, err error) error {
	m.forgetMapped()
	again := []platform.Change{unmapChange(m.lo, m.hi)}
	for _, c := range list {
		if c.Op != platform.Map {
			continue
		}
		m.pmas.update(c.Addr, c.Addr+c.Length, func(s, e uint64, p pma) pma {
			if p.host = p.rights(); p.host != 0 {
				again = append(again, m.mapChange(s, e, p))
			}
			return p
		})
	}
	if m.as.Apply(again) == nil {
		return nil
	}
	m.forgetMapped()
	if err == unix.EPERM || err == unix.EACCES {
		return err
	}
	return unix.ENOMEM
}

// forgetMapped records that the AddressSpace knows nothing.
func (m *MemoryManager) forgetMapped() {
	m.pmas.update(0, ^uint64(0), func(_, _ uint64, p pma) pma {
		p.host = 0
		return p
	})
}

// dropCounter is an AddressSpace that counts how often it forgot everything.
type dropCounter interface{ Drops() uint64 }

// noticeDrops brings the record in line with an AddressSpace that forgot, before
// any Map is queued. It returns false when the AddressSpace does not tell. It may have been
// given new mappings since it forgot, so these are unmapped.
func (m *MemoryManager) noticeDrops() bool {
	d, ok := m.as.(dropCounter)
	if !ok {
		return false
	}
	if n := d.Drops(); n != m.drops {
		m.drops = n
		m.forgetMapped()
		m.change(unmapChange(m.lo, m.hi))
	}
	return true
}
