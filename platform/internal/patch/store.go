package patch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// TableAt is where the pointers to trampolines lie in an address space with patched sites. Its upper half, as it
	// stands in the last two bytes of a patched site, is the SYSCALL instruction.
	TableAt = 0x050f0000
	// TableSize is their length in bytes.
	TableSize = 0x10000
	// TrampolineSize is the room for one trampoline, in bytes.
	TrampolineSize = 128
	// TrampolinesSize is that for all of an address space.
	TrampolinesSize = maxSites * TrampolineSize
	// SiteLength is that of mov $number,%eax; syscall, of mov 8(%rsp),%r9; syscall, and of cmpb $0,guard.
	SiteLength = 7
	// guardedLength is that of all of a guarded read: cmpb $0,guard; je otherwise; xor %eax,%eax; syscall.
	guardedLength = 13

	pageSize    = 4096
	maxSites    = TableSize / 8
	maxSlots    = 128
	maxVersions = 1024 // patched pages
	maxTraps    = 128  // address spaces with a page of breakpoints
)

// Trampoline is what the code of one has to know.
type Trampoline struct {
	At     uint64 // where it lies
	Number uint32 // of the call,
	Any    bool   // or whatever is in rax
	Back   uint64 // behind the SYSCALL of its site

	// Guarded says that the call, a read, is made if the byte at Guard is not 0. Else the thread goes on at Otherwise.
	Guarded          bool
	Guard, Otherwise uint64
}

// Config is what a platform says of its trampolines.
type Config struct {
	// At is where they lie in every address space, outside of what guests may map.
	At uint64
	// Code returns that of a trampoline, of at most TrampolineSize bytes.
	Code func(Trampoline) []byte
	// TrapsAt is where an address space has the page that says where breakpoints stand for CPUID and what that leaves, outside of what guests may map. 0: none
	// stands anywhere.
	TrapsAt uint64
	// Data is how many bytes lie behind the trampolines that the guest can read and the platform write, Area how many lie
	// behind these that both can write.
	Data, Area uint64
}

// slotSize is what an address space has in the memory file.
func (c *Config) slotSize() uint64 { return TableSize + TrampolinesSize + c.Data }

// versionsAt is where the patched pages begin there, trapsAt where those of breakpoints do.
func (c *Config) versionsAt() uint64 { return maxSlots * c.slotSize() }
func (c *Config) trapsAt() uint64    { return c.versionsAt() + maxVersions*pageSize }

// Store holds pages of program text in which calls are patched, for all address spaces, and the tables and
// trampolines of each. All of it lies in one memory file that nobody can map writable any more, but for what guests
// can write, which has a file of its own.
type Store struct {
	cfg     Config
	fd      int
	mem     []byte
	areasFD int // -1: there are none
	areas   []byte

	mu      sync.Mutex
	files   map[fileKey]map[uint64]*page // by offset
	runs    map[fileKey]int              // how often it was executed, if CPUID is to be caught; at most maxRuns
	looking bool                         // for CPUID in a file
	pages   int                          // versions made
	sites   int                          // indexes given out
	slots   []int                        // free
	traps   []int                        // pages of breakpoints that are free
	known   []result                     // of CPUID, at most maxResults; it only grows
}

// fileKey tells a state of a host file from others. The time is that of its last change, which nobody can set.
type fileKey struct {
	dev, ino    uint64
	size, ctime int64
	nano        int64
}

// page is the newest versions of a page of text, either of which may be nil.
type page struct {
	jumps *version // with all that is patched
	traps *version // with no jumps, for address spaces without a table
}

// version returns that for an address space that has a table, or has none; nil if there is none.
func (p *page) version(table bool) *version {
	if table && p.jumps != nil {
		return p.jumps
	}
	return p.traps
}

// version is a page of text with all its sites patched that were worth it at a time. It never changes.
type version struct {
	at    uint64 // in the memory file
	sites []site
	traps []uint64 // offsets of breakpoints
}

// site is a patched call in a page.
type site struct {
	offset uint64 // in the page
	index  int    // of its pointer and its trampoline
	number uint32
	any    bool   // makes any call
	guard  *guard // of a read that has one
}

// guard is what a read depends on, by the distances from behind the instructions that name them.
type guard struct {
	byteAt    int32
	otherwise int8
}

// length is how long all of a site is, up to behind the SYSCALL.
func (s *site) length() uint64 {
	if s.guard != nil {
		return guardedLength
	}
	return SiteLength
}

// trampoline is what the code of the site's trampoline, at address at, has to know in text where the site is at addr.
func (s *site) trampoline(at, addr uint64) Trampoline {
	t := Trampoline{At: at, Number: s.number, Any: s.any, Back: addr + s.length()}
	if s.guard != nil {
		t.Guarded, t.Guard = true, addr+SiteLength+uint64(int64(s.guard.byteAt))
		t.Otherwise = addr + SiteLength + 2 + uint64(int64(s.guard.otherwise))
	}
	return t
}

// NewStore returns an empty store.
func NewStore(cfg Config) (*Store, error) {
	p := &Store{cfg: cfg, areasFD: -1, files: make(map[fileKey]map[uint64]*page), runs: make(map[fileKey]int)}
	const fixed = unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	var err error
	p.fd, p.mem, err = memory("sentry-patches", cfg.trapsAt()+maxTraps*pageSize, fixed|unix.F_SEAL_FUTURE_WRITE)
	if err == nil && cfg.Area > 0 {
		if p.areasFD, p.areas, err = memory("sentry-areas", maxSlots*cfg.Area, fixed); err != nil {
			p.Release()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("memory for patches: %w", err)
	}
	for i := maxSlots - 1; i >= 0; i-- {
		p.slots = append(p.slots, i)
	}
	for i := maxTraps - 1; i >= 0; i-- {
		p.traps = append(p.traps, i)
	}
	return p, nil
}

// memory makes a memory file of size bytes, mapped writable and then sealed.
func memory(name string, size uint64, seals int) (fd int, mem []byte, err error) {
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil, err
	}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		mem, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, mem, nil
}

// Release closes the memory files: nothing more of them will be mapped.
func (p *Store) Release() {
	unix.Close(p.fd)
	if p.areasFD >= 0 {
		unix.Close(p.areasFD)
	}
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
	return fileKey{st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec}, true
}

// patch returns a version of the page at offset of file fd in which also the call is patched that ends at offset back of the page, nil
// when it cannot be.
func (p *Store) patch(key fileKey, fd int32, offset, back uint64, number uint64) *version {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.pageLocked(key, offset)
	var v version
	if had.jumps != nil {
		v.sites = had.jumps.sites
		for _, s := range v.sites {
			if s.offset+s.length() == back {
				return had.jumps
			}
		}
	}
	if had.traps != nil {
		v.traps = had.traps.traps
	}
	text := make([]byte, pageSize)
	if n, err := unix.Pread(int(fd), text, int64(offset)); err != nil || n < int(back) {
		return nil
	}
	s, ok := siteBefore(text, back, number)
	if !ok || p.pages == maxVersions || p.sites == maxSites {
		return nil
	}
	s.index = p.sites
	p.sites++
	v.sites = append(slices.Clip(v.sites), s)
	had.jumps = p.keep(v, text)
	p.setPage(key, offset, had)
	return had.jumps
}

// pageLocked is the page at offset of a file, without versions if nothing of it is patched. mu is held.
func (p *Store) pageLocked(key fileKey, offset uint64) page {
	if had := p.files[key][offset]; had != nil {
		return *had
	}
	return page{}
}

// setPage keeps a page. mu is held.
func (p *Store) setPage(key fileKey, offset uint64, now page) {
	if p.files[key] == nil {
		p.files[key] = make(map[uint64]*page)
	}
	p.files[key][offset] = &now
}

// keep makes v, a version of a page that is text, for which there is room. mu is held.
func (p *Store) keep(v version, text []byte) *version {
	v.at = p.cfg.versionsAt() + uint64(p.pages)*pageSize
	p.pages++
	text = slices.Clone(text)
	for _, s := range v.sites {
		copy(text[s.offset:], jump(s.index))
	}
	for _, at := range v.traps {
		text[at] = breakpoint
	}
	copy(p.mem[v.at:], text)
	return &v
}

// find returns the versions that there are of pages of [offset, offset+length) of a file, by offset.
func (p *Store) find(key fileKey, offset, length uint64, table bool) (list map[uint64]*version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, page := range p.files[key] {
		if v := page.version(table); v != nil && at >= offset && at-offset < length {
			if list == nil {
				list = make(map[uint64]*version)
			}
			list[at] = v
		}
	}
	return list
}

// jump is what stands at a patched site: jmp *pointer, of which the last two bytes are still SYSCALL, for those who jump there.
func jump(index int) []byte {
	return binary.LittleEndian.AppendUint32([]byte{0xff, 0x24, 0x25}, uint32(TableAt+8*index))
}

// takeSlot returns a slot for the table and the trampolines of an address space, -1 if there is none.
func (p *Store) takeSlot() int {
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

// slot is the table and the trampolines of slot i.
func (p *Store) slot(i int) []byte {
	size := p.cfg.slotSize()
	return p.mem[uint64(i)*size : uint64(i+1)*size]
}

// area is what the guest of slot i can write.
func (p *Store) area(i int) []byte { return p.areas[uint64(i)*p.cfg.Area : uint64(i+1)*p.cfg.Area] }

// freeSlot takes a slot back, of which the first so many sites were used, and the area if that is set. Nobody has it mapped.
func (p *Store) freeSlot(i, sites int, area bool) {
	slot := p.slot(i)
	if area && unix.Madvise(p.area(i), unix.MADV_REMOVE) != nil {
		clear(p.area(i))
	}
	clear(slot[:8*sites])
	clear(slot[TableSize : TableSize+TrampolineSize*sites])
	clear(slot[TableSize+TrampolinesSize:])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = append(p.slots, i)
}
