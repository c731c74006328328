package kvm

import (
	"errors"
	"maps"
	"math/bits"
	"slices"
	"sync"

	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/kvm/pagetable"

	"golang.org/x/sys/unix"
)

const (
	// windowSize is the most that one window covers, in bytes, and the alignment of its offset in the file.
	windowSize = 64 << 20
	// windowLeast is the least: the sizes are powers of two, so that guest-physical memory is used again.
	windowLeast = 64 << 10
	// maxIdle is how many windows that no address space uses are kept.
	maxIdle = 128
	// evict is how many of these go at a time: each time the hypervisor forgets everything.
	evict = 96

	// Slots with a purpose of their own.
	flushSlot = 0
	firstSlot = 1
	flushAddr = noMemory + 0x100000
)

// fileKey names a host file. A window holds its file, so no other file gets the name.
type fileKey struct{ dev, ino uint64 }

// window is a part of a host file that the machine has as memory.
type window struct {
	file     fileKey
	writable bool
	offset   uint64 // in the file
	gpa      uint64
	mem      []byte
	slot     uint32
	nameless bool // a file that no directory has or had: memory
	refs     int  // address spaces that may map it; guarded by memory.mu
}

func (w *window) length() uint64 { return uint64(len(w.mem)) }

// errNoSlots says that no window can be made before an address space lets some go.
var errNoSlots = errors.New("kvm: out of memory slots")

// memory is the machine's memory: tables' frames and windows.
type memory struct {
	vm     *kvmapi.VM
	shadow bool   // KVM keeps shadow page tables
	limit  int    // slots
	memfds uint64 // the device of all files that memfd_create makes
	dummy  []byte

	mu       sync.Mutex
	files    map[fileKey][]*window
	byGPA    map[uint64]*window // a window's address is a multiple of its size
	idle     []*window          // those without references, the oldest first
	slots    []uint32           // free
	nextSlot uint32
	nextGPA  uint64
	freeGPA  [64][]uint64 // by log2 of the size
	pool     [][]byte     // blocks of frames
}

func newMemory(vm *kvmapi.VM, slots int) (*memory, error) {
	m := &memory{
		vm: vm, limit: slots, nextSlot: firstSlot, nextGPA: windowsBase,
		files: make(map[fileKey][]*window), byGPA: make(map[uint64]*window),
	}
	var err error
	if m.memfds, err = memfdDevice(); err != nil {
		return m, err
	}
	m.dummy, err = anonymous(pageSize)
	return m, err
}

// memfdDevice is the device that files in memory without a name are on.
func memfdDevice() (uint64, error) {
	fd, err := unix.MemfdCreate("device", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Dev, err
}

// anonymous returns zeroed memory of length bytes outside of Go's heap.
func anonymous(length int) ([]byte, error) {
	return unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
}

// grow makes a block of frames for the pool.
func (m *memory) grow(n int) ([]pagetable.Table, error) {
	const size = pagetable.BlockFrames * pagetable.FrameSize
	b, err := anonymous(size)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, ok := m.slot()
	if !ok {
		unix.Munmap(b)
		return nil, unix.ENOMEM
	}
	if e := m.setSlot(slot, poolBase+uint64(n)*size, b, 0); e != 0 {
		m.slots = append(m.slots, slot)
		unix.Munmap(b)
		return nil, e
	}
	m.pool = append(m.pool, b)
	return tablesOf(b), nil
}

// slot returns the number of a free slot. mu is held.
func (m *memory) slot() (uint32, bool) {
	if n := len(m.slots); n > 0 {
		s := m.slots[n-1]
		m.slots = m.slots[:n-1]
		return s, true
	}
	if int(m.nextSlot) >= m.limit {
		return 0, false
	}
	m.nextSlot++
	return m.nextSlot - 1, true
}

func (m *memory) setSlot(slot uint32, gpa uint64, b []byte, flags uint32) unix.Errno {
	return m.vm.SetUserMemoryRegion(&kvmapi.Region{
		Slot: slot, Flags: flags, GuestPhysAddr: gpa, MemorySize: uint64(len(b)), UserspaceAddr: addressOf(b),
	})
}

// dropSlot deletes a slot.
func (m *memory) dropSlot(slot uint32) {
	m.vm.SetUserMemoryRegion(&kvmapi.Region{Slot: slot})
}

// flush makes the hypervisor forget all translations of the machine.
func (m *memory) flush() {
	if !m.shadow {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.setSlot(flushSlot, flushAddr, m.dummy, 0) == 0 {
		m.dropSlot(flushSlot)
	}
}

// find returns a window on the file of a descriptor that covers offset, made if there is none. The caller
// holds a reference on it afterwards if held does not have it.
func (m *memory) find(c *platform.Change, offset uint64, held map[*window]struct{}) (*window, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.File), &st); err != nil {
		return nil, err
	}
	key, write := fileKey{st.Dev, st.Ino}, c.Prot&platform.Write != 0
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.lookup(key, offset, write)
	if w == nil {
		var err error
		if w, err = m.open(c, key, offset, uint64(st.Size)); err != nil {
			return nil, err
		}
		w.nameless = st.Nlink == 0 && st.Dev == m.memfds // and not one that was deleted
	}
	if _, ok := held[w]; !ok {
		held[w] = struct{}{}
		m.hold(w)
	}
	return w, nil
}

// hold counts an address space that may map w. mu is held.
func (m *memory) hold(w *window) {
	if w.refs++; w.refs == 1 {
		m.idle = slices.DeleteFunc(m.idle, func(o *window) bool { return o == w })
	}
}

// lookup finds a window. mu is held.
func (m *memory) lookup(key fileKey, offset uint64, write bool) *window {
	for _, w := range m.files[key] {
		if w.offset <= offset && offset < w.offset+w.length() && (w.writable || !write) {
			return w
		}
	}
	return nil
}

// open makes a window around offset. mu is held.
func (m *memory) open(c *platform.Change, key fileKey, offset, size uint64) (*window, error) {
	flags, err := unix.FcntlInt(uintptr(c.File), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	w := &window{file: key, writable: flags&unix.O_ACCMODE == unix.O_RDWR, offset: offset &^ (windowSize - 1)}
	if !w.writable && c.Prot&platform.Write != 0 {
		return nil, unix.EACCES
	}
	end := max(min(size, w.offset+windowSize), offset+pageSize)
	length := windowLength(end - w.offset)
	prot, slotFlags := unix.PROT_READ, uint32(kvmapi.MemReadOnly)
	if w.writable {
		prot, slotFlags = prot|unix.PROT_WRITE, 0
	}
	w.mem, err = unix.Mmap(int(c.File), int64(w.offset), int(length), prot, unix.MAP_SHARED)
	if err == unix.EPERM && w.writable && c.Prot&platform.Write == 0 { // sealed
		w.writable, slotFlags = false, kvmapi.MemReadOnly
		w.mem, err = unix.Mmap(int(c.File), int64(w.offset), int(length), unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		return nil, err
	}
	if err := m.insert(w, slotFlags); err != nil {
		unix.Munmap(w.mem)
		return nil, err
	}
	return w, nil
}

// windowLength is the size of a window that must have at least n bytes.
func windowLength(n uint64) uint64 {
	return max(windowLeast, uint64(1)<<bits.Len64(n-1))
}

// insert gives w a slot and a place. mu is held.
func (m *memory) insert(w *window, flags uint32) error {
	slot, ok := m.slot()
	if !ok {
		m.evict(evict)
		if slot, ok = m.slot(); !ok {
			return errNoSlots
		}
	}
	class := bits.Len64(w.length()) - 1
	if n := len(m.freeGPA[class]); n > 0 {
		w.gpa = m.freeGPA[class][n-1]
		m.freeGPA[class] = m.freeGPA[class][:n-1]
	} else {
		w.gpa = (m.nextGPA + w.length() - 1) &^ (w.length() - 1)
		m.nextGPA = w.gpa + w.length()
	}
	w.slot = slot
	if e := m.setSlot(slot, w.gpa, w.mem, flags); e != 0 {
		m.slots = append(m.slots, slot)
		m.freeGPA[class] = append(m.freeGPA[class], w.gpa)
		return unix.ENOMEM
	}
	m.files[w.file] = append(m.files[w.file], w)
	m.byGPA[w.gpa] = w
	return nil
}

// ref returns references of another address space on the same windows.
func (m *memory) ref(held map[*window]struct{}) map[*window]struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range held {
		w.refs++
	}
	return maps.Clone(held)
}

// unref drops an address space's references.
func (m *memory) unref(held map[*window]struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range held {
		if w.refs--; w.refs == 0 {
			m.idle = append(m.idle, w)
		}
	}
	if len(m.idle) > maxIdle {
		m.evict(evict)
	}
}

// evict ends up to n of the windows that nobody uses, the oldest first. mu is held.
func (m *memory) evict(n int) {
	n = min(n, len(m.idle))
	for _, w := range m.idle[:n] {
		m.end(w)
	}
	m.idle = slices.Delete(m.idle, 0, n)
}

// end takes a window out of the machine. mu is held.
func (m *memory) end(w *window) {
	m.dropSlot(w.slot)
	m.slots = append(m.slots, w.slot)
	delete(m.byGPA, w.gpa)
	class := bits.Len64(w.length()) - 1
	m.freeGPA[class] = append(m.freeGPA[class], w.gpa)
	list := m.files[w.file]
	for i := range list {
		if list[i] == w {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if m.files[w.file] = list; len(list) == 0 {
		delete(m.files, w.file)
	}
	unix.Munmap(w.mem)
}

// at returns what is at a guest-physical address, to the end of its window. The window must be held.
func (m *memory) at(gpa uint64) (w *window, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for size := uint64(windowLeast); size <= windowSize; size *= 2 {
		if w = m.byGPA[gpa&^(size-1)]; w != nil && gpa-w.gpa < w.length() {
			return w, w.mem[gpa-w.gpa:]
		}
	}
	return nil, nil
}

// forget makes the hypervisor drop its translations to these ranges, in all address spaces, and the
// processors' as well. Later accesses look at the tables again.
func (m *memory) forget(lost *pagetable.Lost) {
	for _, e := range lost.Extents {
		for e.Length > 0 {
			_, b := m.at(e.Addr)
			n := min(uint64(len(b)), e.Length)
			if n == 0 {
				return
			}
			unix.Madvise(b[:n], unix.MADV_DONTNEED)
			e.Addr, e.Length = e.Addr+n, e.Length-n
		}
	}
}

// release ends everything. No processor runs.
func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range m.files {
		for _, w := range list {
			unix.Munmap(w.mem)
		}
	}
	clear(m.files)
	for _, b := range m.pool {
		unix.Munmap(b)
	}
	m.pool = nil
	unix.Munmap(m.dummy)
}
