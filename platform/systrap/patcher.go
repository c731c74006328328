package systrap

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// tableAt is where the pointers to trampolines lie in an address space with patched sites. Its upper half, as it
	// stands in the last two bytes of a patched site, is the SYSCALL instruction.
	tableAt     = 0x050f0000
	tableSize   = 0x10000
	maxSites    = tableSize / 8
	trampoline  = 64 // bytes
	slotSize    = tableSize + maxSites*trampoline
	maxSlots    = 128
	maxVersions = 1024 // patched pages
	versionsAt  = maxSlots * slotSize

	// siteLength is that of mov $number,%eax; syscall.
	siteLength = 7
)

// patcher holds pages of program text in which calls are patched, for all address spaces, and the tables and
// trampolines of each. All of it lies in one memory file that nobody can map writable any more.
type patcher struct {
	fd   int
	mem  []byte
	call uint64 // where trampolines go

	mu    sync.Mutex
	files map[fileKey]map[uint64]*version // by offset of the page
	pages int                             // versions made
	sites int                             // indexes given out
	slots []int                           // free
}

// fileKey tells a state of a host file from others.
type fileKey struct {
	dev, ino    uint64
	size, mtime int64
	nano        int64
}

// version is a page of text with all its sites patched that were worth it at a time. It never changes.
type version struct {
	at    uint64 // in the memory file
	sites []site
}

// site is a patched call in a page.
type site struct {
	offset uint64 // in the page
	index  int    // of its pointer and its trampoline
	number uint32
}

func newPatcher(call uint64) (*patcher, error) {
	fd, err := unix.MemfdCreate("sentry-patches", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	p := &patcher{fd: fd, call: call, files: make(map[fileKey]map[uint64]*version)}
	const size = versionsAt + maxVersions*pageSize
	if err = unix.Ftruncate(fd, size); err == nil {
		p.mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memory for patches: %w", err)
	}
	for i := maxSlots - 1; i >= 0; i-- {
		p.slots = append(p.slots, i)
	}
	return p, nil
}

// keyOf tells which state of which file fd is. ok is false for files that may change under us: those in memory and those open for writing.
func keyOf(fd int32) (key fileKey, ok bool) {
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink == 0 {
		return key, false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY {
		return key, false
	}
	return fileKey{st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec}, true
}

// find returns the patched page at offset of a file, nil if there is none.
func (p *patcher) find(key fileKey, offset uint64) *version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[key][offset]
}

// patch returns a version of the page at offset of file fd in which also the call at offset at of the page is patched, nil
// when it cannot be.
func (p *patcher) patch(key fileKey, fd int32, offset, at uint64, number uint64) *version {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.files[key][offset]
	if old != nil {
		for _, s := range old.sites {
			if s.offset == at {
				return old
			}
		}
	}
	text := make([]byte, pageSize)
	if n, err := unix.Pread(int(fd), text, int64(offset)); err != nil || n < int(at)+siteLength {
		return nil
	}
	if !patchable(text, at, number) || p.pages == maxVersions || p.sites == maxSites {
		return nil
	}
	v := &version{at: versionsAt + uint64(p.pages)*pageSize}
	if old != nil {
		v.sites = append(v.sites, old.sites...)
	}
	v.sites = append(v.sites, site{at, p.sites, uint32(number)})
	p.pages++
	p.sites++
	for _, s := range v.sites {
		copy(text[s.offset:], jump(s.index))
	}
	copy(p.mem[v.at:], text)
	if p.files[key] == nil {
		p.files[key] = make(map[uint64]*version)
	}
	p.files[key][offset] = v
	return v
}

// jump is what stands at a patched site: jmp *pointer, of which the last two bytes are still SYSCALL, for those who jump there.
func jump(index int) []byte {
	return binary.LittleEndian.AppendUint32([]byte{0xff, 0x24, 0x25}, uint32(tableAt+8*index))
}

// patchable tells whether text has mov $number,%eax; syscall at offset at, as far as one can tell from the bytes
// before it: they may make it a part of a longer instruction.
func patchable(text []byte, at, number uint64) bool {
	if at+siteLength > uint64(len(text)) {
		return false
	}
	b := text[at : at+siteLength]
	if b[0] != 0xb8 || b[5] != 0x0f || b[6] != 0x05 || uint64(binary.LittleEndian.Uint32(b[1:])) != number {
		return false
	}
	before := func(n uint64) byte {
		if n > at {
			return 0
		}
		return text[at-n]
	}
	switch p := before(1); {
	case at == 0: // nobody knows what is before
		return false
	case p >= 0x40 && p <= 0x4f: // REX: another register
		return false
	case p == 0x66, p == 0x67, p == 0xf0, p == 0xf2, p == 0xf3, p == 0x2e, p == 0x36, p == 0x3e, p == 0x26, p == 0x64, p == 0x65:
		return false
	case p == 0x0f: // bswap
		return false
	}
	// An operation on memory with a displacement of 0xb8 and the number as its immediate.
	immediate := func(op byte) bool { return op == 0xc7 || op == 0x81 || op == 0x69 || op == 0xf7 }
	const disp8, sib = 0x40, 4
	if m := before(1); m&0xc0 == disp8 && m&7 != sib && immediate(before(2)) {
		return false
	}
	if m := before(2); m&0xc0 == disp8 && m&7 == sib && immediate(before(3)) {
		return false
	}
	return true
}

// takeSlot returns a slot for the table and the trampolines of an address space, -1 if there is none.
func (p *patcher) takeSlot() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.slots)
	if n == 0 {
		return -1
	}
	i := p.slots[n-1]
	p.slots = p.slots[:n-1]
	return i
}

// freeSlot takes a slot back, of which the first so many sites were used. Nobody has it mapped.
func (p *patcher) freeSlot(i, sites int) {
	slot := p.mem[i*slotSize : (i+1)*slotSize]
	clear(slot[:8*sites])
	clear(slot[tableSize : tableSize+trampoline*sites])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = append(p.slots, i)
}

// trampolineFor returns the code that a call with this number goes through whose SYSCALL ends at back. It finds the thread's
// area in GS, without touching the flags; where the guest has a GS of its own, it makes the call where it was.
func (p *patcher) trampolineFor(index int, number uint32, back uint64) []byte {
	at := uint64(trampolinesAt + index*trampoline)
	const quick, data = 30, 48
	le := binary.LittleEndian
	b := []byte{
		0xf3, 0x49, 0x0f, 0xae, 0xcb, // rdgsbase %r11
		0x4c, 0x89, 0xd9, // mov %r11,%rcx
		0x48, 0x0f, 0xc9, // bswap %rcx
		0x8d, 0x89, 0x00, 0x00, 0x81, 0x00, // lea 0x810000(%rcx),%ecx: 0 for 0x7fff........
		0xe3, quick - 19, // jrcxz quick
	}
	b = le.AppendUint32(append(b, 0xb8), number)                          // mov $number,%eax
	b = le.AppendUint32(append(b, 0xff, 0x25), data-quick)                // jmp *back-2
	b = le.AppendUint32(append(b, 0xb8), number)                          // quick: mov $number,%eax
	b = le.AppendUint32(append(b, 0x48, 0x8b, 0x0d), data+8-(quick+5+7))  // mov back,%rcx
	b = le.AppendUint32(append(b, 0xe9), uint32(p.call-(at+quick+5+7+5))) // jmp
	b = append(b, make([]byte, data-len(b))...)
	b = le.AppendUint64(b, back-2)
	return le.AppendUint64(b, back)
}
