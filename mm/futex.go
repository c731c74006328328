package mm

import (
	"golang.org/x/sys/unix"
)

// FutexKey names a 32-bit word for all who share it: the address space and the
// address for private memory, the file and the offset for shared memory. Keys are comparable.
type FutexKey struct {
	Space  any // *MemoryManager, or what sameFile says of a Mappable
	Offset uint64
}

// Identified is a Mappable that is one of several for the same file: Identity is equal for these.
type Identified interface{ Identity() any }

// sameFile is equal for all that map the same file.
func sameFile(f Mappable) any {
	if i, ok := f.(Identified); ok {
		return i.Identity()
	}
	return f
}

// FutexKey returns the key of the word at addr; private says that only this address
// space uses it (FUTEX_PRIVATE_FLAG). EINVAL when addr is not aligned, EFAULT when
// nothing can be there.
func (m *MemoryManager) FutexKey(addr Addr, private bool) (FutexKey, error) {
	if addr%4 != 0 {
		return FutexKey{}, unix.EINVAL
	}
	if uint64(addr) > m.hi-4 {
		return FutexKey{}, unix.EFAULT
	}
	if private {
		return FutexKey{m, uint64(addr)}, nil
	}
	for range copyTries {
		m.mappingMu.RLock()
		g := m.vmas.get(uint64(addr))
		if g != nil && allowed(g.v.prot, 0) {
			key := FutexKey{m, uint64(addr)}
			if !g.v.private() {
				key = FutexKey{sameFile(g.v.file), uint64(addr) + g.v.delta}
			}
			m.mappingMu.RUnlock()
			return key, m.present(uint64(addr))
		}
		m.mappingMu.RUnlock()
		if g != nil || !m.growStack(uint64(addr)&^(PageSize-1)) {
			break
		}
	}
	return FutexKey{}, unix.EFAULT
}

// present makes sure that there is memory at addr, as the end of a file that was cut is not; EFAULT.
func (m *MemoryManager) present(addr uint64) error {
	m.activeMu.RLock()
	p := m.pmas.get(addr)
	m.activeMu.RUnlock()
	if p != nil || m.makeReady(addr, false, false) == nil {
		return nil
	}
	return unix.EFAULT
}

// wordOp is an atomic operation on a word of guest memory.
type wordOp struct {
	write  bool
	memory func(f *MemoryFile, off uint64) (uint32, error)
	update func(v uint32) (uint32, bool) // for words that are not in memory
}

// LoadUint32 reads the aligned word at addr atomically. EFAULT, EINVAL when it is not aligned.
func (m *MemoryManager) LoadUint32(addr Addr) (uint32, error) {
	if addr%4 == 0 {
		if b := m.fast(uint64(addr), 4, false); b != nil {
			off := uint64(addr) + m.pmas.get(uint64(addr)).v.delta
			v, err := m.file.loadWord(off)
			m.activeMu.RUnlock()
			return v, err
		}
	}
	return m.atomic(addr, wordOp{memory: (*MemoryFile).loadWord})
}

// SwapUint32 stores v in the aligned word at addr and returns what was there.
func (m *MemoryManager) SwapUint32(addr Addr, v uint32) (uint32, error) {
	return m.atomic(addr, wordOp{
		write:  true,
		memory: func(f *MemoryFile, off uint64) (uint32, error) { return f.swapWord(off, v) },
		update: func(uint32) (uint32, bool) { return v, true },
	})
}

// CompareAndSwapUint32 stores v in the aligned word at addr if old is there. It
// returns what was there: old when it stored.
func (m *MemoryManager) CompareAndSwapUint32(addr Addr, old, v uint32) (uint32, error) {
	return m.atomic(addr, wordOp{
		write:  true,
		memory: func(f *MemoryFile, off uint64) (uint32, error) { return f.casWord(off, old, v) },
		update: func(prev uint32) (uint32, bool) { return v, prev == old },
	})
}

func (m *MemoryManager) atomic(addr Addr, op wordOp) (uint32, error) {
	at := uint64(addr)
	if at%4 != 0 {
		return 0, unix.EINVAL
	}
	if at > m.hi-4 {
		return 0, unix.EFAULT
	}
	for range copyTries {
		m.activeMu.RLock()
		g := m.pmas.get(at)
		usable := g != nil && g.v.usable(op.write, false)
		if usable && g.v.inMemory() {
			v, err := op.memory(m.file, at+g.v.delta)
			m.activeMu.RUnlock()
			return v, err
		}
		m.activeMu.RUnlock()
		if usable {
			return m.hostWord(at, op)
		}
		if m.makeReady(at, op.write, false) != nil {
			break
		}
	}
	return 0, unix.EFAULT
}

// hostWord does op on a word of a mapped host file: atomic only among the tasks
// of this sandbox's calls on it, not against stores of guest code.
func (m *MemoryManager) hostWord(at uint64, op wordOp) (uint32, error) {
	var b [4]byte
	if n, _ := m.copyHost(at, b[:], false, false); n != 4 {
		return 0, unix.EFAULT
	}
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	if op.update == nil {
		return v, nil
	}
	n, store := op.update(v)
	if !store {
		return v, nil
	}
	b = [4]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	if n, _ := m.copyHost(at, b[:], true, false); n != 4 {
		return 0, unix.EFAULT
	}
	return v, nil
}
