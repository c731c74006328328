package mm

import (
	"bytes"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Bounds of a copy: bytes moved with the lock held at once, and tries without
// progress (other guest threads can unmap what was just faulted in).
const (
	copyPiece = 1 << 20
	copyTries = 1000
)

// CopyIn reads guest memory at addr into dst. It returns how many bytes it read, with
// EFAULT when that is not all.
func (m *MemoryManager) CopyIn(addr Addr, dst []byte) (int, error) {
	if b := m.fast(uint64(addr), uint64(len(dst)), false); b != nil {
		n, err := m.file.copyGuarded(dst, b)
		m.activeMu.RUnlock()
		return n, err
	}
	return m.copySlow(uint64(addr), dst, false, false)
}

// CopyOut writes src to guest memory at addr; counts and errors are as CopyIn's.
func (m *MemoryManager) CopyOut(addr Addr, src []byte) (int, error) {
	if b := m.fast(uint64(addr), uint64(len(src)), true); b != nil {
		n, err := m.file.copyGuarded(b, src)
		m.activeMu.RUnlock()
		return n, err
	}
	return m.copySlow(uint64(addr), src, true, false)
}

// CopyInForce is CopyIn for a debugger: it reads what the guest itself must not.
func (m *MemoryManager) CopyInForce(addr Addr, dst []byte) (int, error) {
	return m.copySlow(uint64(addr), dst, false, true)
}

// CopyOutForce is CopyOut for a debugger: in private mappings it writes what the
// guest itself must not, to a private copy.
func (m *MemoryManager) CopyOutForce(addr Addr, src []byte) (int, error) {
	return m.copySlow(uint64(addr), src, true, true)
}

// fast returns the memory behind [addr, addr+n) if it is in one place and can be
// accessed right away; activeMu is then held shared. Else nil, and it is not.
func (m *MemoryManager) fast(addr, n uint64, write bool) []byte {
	if n > copyPiece {
		return nil
	}
	m.activeMu.RLock()
	if g := m.pmas.get(addr); g != nil && n <= g.end-addr && g.v.inMemory() {
		if write && g.v.writable() || !write && g.v.readable() {
			return m.file.Bytes(addr+g.v.delta, n)
		}
	}
	m.activeMu.RUnlock()
	return nil
}

// copySlow copies piece by piece, faulting in what is missing.
func (m *MemoryManager) copySlow(addr uint64, b []byte, write, force bool) (int, error) {
	done, tries := 0, 0
	for done < len(b) {
		at := addr + uint64(done)
		if at < addr || at >= m.hi {
			return done, unix.EFAULT
		}
		n, err := m.copyOnce(at, b[done:], write, force)
		if err != nil {
			return done + n, unix.EFAULT
		}
		if done += n; n > 0 {
			tries = 0
			continue
		}
		if tries++; tries > copyTries || m.makeReady(at, write, force) != nil {
			return done, unix.EFAULT
		}
	}
	return done, nil
}

// copyOnce copies what it can from one pma: nothing when a fault must come first.
func (m *MemoryManager) copyOnce(at uint64, b []byte, write, force bool) (int, error) {
	m.activeMu.RLock()
	g := m.pmas.get(at)
	if g == nil || !g.v.usable(write, force) {
		m.activeMu.RUnlock()
		return 0, nil
	}
	n := min(uint64(len(b)), g.end-at, copyPiece)
	if !g.v.inMemory() {
		m.activeMu.RUnlock()
		return m.copyHost(at, b[:n], write, force)
	}
	defer m.activeMu.RUnlock()
	mem := m.file.Bytes(at+g.v.delta, n)
	if write {
		return m.file.copyGuarded(mem, b)
	}
	return m.file.copyGuarded(b, mem)
}

// usable tells whether the sentry can go ahead; force is for debuggers.
func (p pma) usable(write, force bool) bool {
	if !write {
		return p.readable() || force
	}
	return p.writable() || force && p.flags&(pmaCow|pmaShared) == 0
}

// makeReady does what a fault at addr would, but maps nothing that was not mapped.
func (m *MemoryManager) makeReady(addr uint64, write, force bool) error {
	page := addr &^ (PageSize - 1)
	err := m.readyStep(page, write, force)
	if f, ok := err.(*FaultError); ok && f.MapErr && m.growStack(page) {
		return nil // the next try finds it
	}
	if c, ok := err.(*hostCopy); ok {
		err = m.copyFromHost(c)
	}
	if err == unix.ENOMEM {
		m.starved.Store(true)
	}
	return err
}

// Starved tells whether a copy has failed for want of memory: who asked for it got EFAULT, and the guest cannot go on, as when
// HandleFault returns ENOMEM.
func (m *MemoryManager) Starved() bool { return m.starved.Load() }

func (m *MemoryManager) readyStep(page uint64, write, force bool) error {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	g := m.vmas.get(page)
	if g == nil {
		return &FaultError{Addr(page), true}
	}
	access := platform.Read
	if write {
		access = platform.Write
	}
	if !allowed(g.v.prot, access) && (!force || write && !g.v.private()) {
		return &FaultError{Addr(page), false}
	}
	if g = m.unguarded(page, g); g == nil {
		return unix.EFAULT
	}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	_, err := m.ensure(page, g, write)
	if e := m.apply(); err == nil {
		err = e
	}
	return err
}

// ZeroOut writes n zeroes to guest memory at addr, and returns how many; EFAULT when
// that is not all.
func (m *MemoryManager) ZeroOut(addr Addr, n uint64) (uint64, error) {
	var zeroes [PageSize]byte
	for done := uint64(0); done < n; {
		at := addr + Addr(done)
		piece := min(n-done, PageSize-uint64(at)%PageSize)
		k, err := m.CopyOut(at, zeroes[:piece])
		if done += uint64(k); err != nil {
			return done, err
		}
	}
	return n, nil
}

// CopyInString reads a string that ends in a zero byte, without it. ENAMETOOLONG when there is
// none within limit bytes; EFAULT.
func (m *MemoryManager) CopyInString(addr Addr, limit int) (string, error) {
	var small [128]byte
	var long []byte
	for buf := small[:]; ; buf = make([]byte, PageSize) {
		// Up to the end of a page: behind it there may be nothing.
		at := addr + Addr(len(long))
		n := min(len(buf), limit-len(long), int(PageSize-at%PageSize))
		if n <= 0 {
			return "", unix.ENAMETOOLONG
		}
		if _, err := m.CopyIn(at, buf[:n]); err != nil {
			return "", unix.EFAULT
		}
		if i := bytes.IndexByte(buf[:n], 0); i >= 0 {
			if long == nil {
				return string(buf[:i]), nil
			}
			return string(append(long, buf[:i]...)), nil
		}
		long = append(long, buf[:n]...)
	}
}
