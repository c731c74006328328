package mm

import (
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostMapping is where the sentry has the memory file.
type hostMapping struct{ base unsafe.Pointer }

// mapFile maps length bytes of fd shared, without reserving memory.
func mapFile(fd int, length uint64) (hostMapping, error) {
	p, err := unix.MmapPtr(fd, 0, nil, uintptr(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	return hostMapping{p}, err
}

func unmapFile(h hostMapping, length uint64) { _ = unix.MunmapPtr(h.base, uintptr(length)) }

// Bytes returns the memory at [off, off+length). The caller holds a reference on
// the range for as long as it uses the slice. An access can fault when the host is
// out of memory: see Guard.
func (f *MemoryFile) Bytes(off, length uint64) []byte {
	if off > f.size || length > f.size-off {
		panic("mm: range outside the memory file")
	}
	return unsafe.Slice((*byte)(unsafe.Add(f.mem.base, off)), length)
}

// word returns the aligned 32-bit word at off.
func (f *MemoryFile) word(off uint64) *uint32 {
	if off > f.size-4 || off%4 != 0 {
		panic("mm: word outside the memory file")
	}
	return (*uint32)(unsafe.Add(f.mem.base, off))
}

// holds tells whether the host address addr lies in the mapping of the file.
func (f *MemoryFile) holds(addr uintptr) bool {
	return addr-uintptr(f.mem.base) < uintptr(f.size)
}

// copyGuarded is copy, for slices of the memory file: EFAULT when the host
// cannot give the memory.
func (f *MemoryFile) copyGuarded(dst, src []byte) (n int, err error) {
	old := debug.SetPanicOnFault(true)
	defer f.endGuard(old, &err)
	return copy(dst, src), nil
}

// Guard runs fn, which may access slices of the memory file, and returns EFAULT
// when the host could not give the memory.
func (f *MemoryFile) Guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer f.endGuard(old, &err)
	return fn()
}

// endGuard is deferred: it turns a memory fault in the mapping into EFAULT, and
// lets every other panic through.
func (f *MemoryFile) endGuard(old bool, err *error) {
	debug.SetPanicOnFault(old)
	r := recover()
	if r == nil {
		return
	}
	if a, ok := r.(interface{ Addr() uintptr }); ok && f.holds(a.Addr()) {
		*err = unix.EFAULT
		return
	}
	panic(r)
}

// Atomic accesses to a word of the memory file.

func (f *MemoryFile) loadWord(off uint64) (v uint32, err error) {
	old := debug.SetPanicOnFault(true)
	defer f.endGuard(old, &err)
	return atomic.LoadUint32(f.word(off)), nil
}

func (f *MemoryFile) swapWord(off uint64, v uint32) (prev uint32, err error) {
	old := debug.SetPanicOnFault(true)
	defer f.endGuard(old, &err)
	return atomic.SwapUint32(f.word(off), v), nil
}

func (f *MemoryFile) casWord(off uint64, expect, v uint32) (prev uint32, err error) {
	old := debug.SetPanicOnFault(true)
	defer f.endGuard(old, &err)
	w := f.word(off)
	for {
		if atomic.CompareAndSwapUint32(w, expect, v) {
			return expect, nil
		}
		if prev := atomic.LoadUint32(w); prev != expect {
			return prev, nil
		}
	}
}

// resident fills vec with one byte a page: bit 0 tells whether the page of [off,
// off+length) has been touched.
func (f *MemoryFile) resident(off, length uint64, vec []byte) error {
	if length == 0 {
		return nil
	}
	_, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(f.mem.base)+uintptr(off), uintptr(length), uintptr(unsafe.Pointer(&vec[0])))
	if e != 0 {
		return e
	}
	return nil
}

// commit has the host give the memory of a range that somebody holds; ENOMEM. A host that does not know how
// gives it when it is touched. What fallocate(2) gives, mincore(2) does not count.
func (f *MemoryFile) commit(off, length uint64) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_MADVISE, uintptr(f.mem.base)+uintptr(off), uintptr(length), madvPopulateWrite)
		switch e {
		case unix.EINTR, unix.EAGAIN:
		case 0, unix.EINVAL:
			return nil
		default:
			return unix.ENOMEM
		}
	}
}

func (f *MemoryFile) excludeFromCore() {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(f.mem.base), uintptr(f.size), unix.MADV_DONTDUMP)
}
