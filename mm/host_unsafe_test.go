package mm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// memoryCalls are the calls that a guest makes, on mm or on the host itself.
type memoryCalls interface {
	MMap(MMapOpts) (Addr, error)
	MUnmap(Addr, uint64) error
	MProtect(a Addr, n uint64, prot uint8, growsDown bool) error
	MRemap(MRemapOpts) (Addr, error)
	MAdvise(Addr, uint64, int) error
	MSync(Addr, uint64, int) error
	Mincore(a Addr, n uint64) error
	MLock(a Addr, n uint64) error
	MUnlock(Addr, uint64) error
}

// hostCalls makes them on the test's own address space.
type hostCalls struct{}

// movesMany tells whether the host's mremap moves several mappings at once, as Linux
// does since 6.17; its errors differ a little before.
func (c hostCalls) movesMany() bool {
	const at = 0x6000_0000
	_, err1 := c.MMap(MMapOpts{Addr: at, Length: 2 * PageSize, Prot: rw, Private: true, Fixed: true})
	err2 := c.MProtect(at, PageSize, unix.PROT_READ, false)
	defer c.MUnmap(at, 8*PageSize) //nolint:errcheck // a test's own page
	_, err := c.MRemap(MRemapOpts{Old: at, OldLength: 2 * PageSize, NewLength: 2 * PageSize, New: at + 4*PageSize, MayMove: true, Fixed: true})
	return err1 == nil && err2 == nil && err == nil
}

func errno(e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

func (hostCalls) MMap(o MMapOpts) (Addr, error) {
	flags, fd := unix.MAP_SHARED, -1
	if o.Private {
		flags = unix.MAP_PRIVATE
	}
	if o.File == nil {
		flags |= unix.MAP_ANONYMOUS
	} else {
		fd = int(o.File.(*hostFile).f.Fd())
	}
	for _, f := range []struct {
		set  bool
		flag int
	}{{o.Fixed, unix.MAP_FIXED}, {o.NoReplace, unix.MAP_FIXED_NOREPLACE}, {o.GrowsDown, unix.MAP_GROWSDOWN}, {o.Bit32, unix.MAP_32BIT}} {
		if f.set {
			flags |= f.flag
		}
	}
	a, _, e := unix.Syscall6(unix.SYS_MMAP, uintptr(o.Addr), uintptr(o.Length), uintptr(o.Prot), uintptr(flags), uintptr(fd), uintptr(o.Offset))
	return Addr(a), errno(e)
}

func (hostCalls) MUnmap(a Addr, n uint64) error {
	_, _, e := unix.Syscall(unix.SYS_MUNMAP, uintptr(a), uintptr(n), 0)
	return errno(e)
}

func (hostCalls) MProtect(a Addr, n uint64, prot uint8, growsDown bool) error {
	p := uintptr(prot)
	if growsDown {
		p |= unix.PROT_GROWSDOWN
	}
	_, _, e := unix.Syscall(unix.SYS_MPROTECT, uintptr(a), uintptr(n), p)
	return errno(e)
}

func (hostCalls) MRemap(o MRemapOpts) (Addr, error) {
	flags := uintptr(0)
	if o.MayMove {
		flags |= unix.MREMAP_MAYMOVE
	}
	if o.Fixed {
		flags |= unix.MREMAP_FIXED
	}
	if o.DontUnmap {
		flags |= unix.MREMAP_DONTUNMAP
	}
	a, _, e := unix.Syscall6(unix.SYS_MREMAP, uintptr(o.Old), uintptr(o.OldLength), uintptr(o.NewLength), flags, uintptr(o.New), 0)
	return Addr(a), errno(e)
}

func (hostCalls) MAdvise(a Addr, n uint64, advice int) error {
	_, _, e := unix.Syscall(unix.SYS_MADVISE, uintptr(a), uintptr(n), uintptr(advice))
	return errno(e)
}

func (hostCalls) MSync(a Addr, n uint64, flags int) error {
	_, _, e := unix.Syscall(unix.SYS_MSYNC, uintptr(a), uintptr(n), uintptr(flags))
	return errno(e)
}

func (hostCalls) Mincore(a Addr, n uint64) error {
	vec := make([]byte, n+1)
	_, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(a), uintptr(n*PageSize), uintptr(unsafe.Pointer(&vec[0])))
	return errno(e)
}

func (hostCalls) MLock(a Addr, n uint64) error {
	_, _, e := unix.Syscall(unix.SYS_MLOCK, uintptr(a), uintptr(n), 0)
	return errno(e)
}

func (hostCalls) MUnlock(a Addr, n uint64) error {
	_, _, e := unix.Syscall(unix.SYS_MUNLOCK, uintptr(a), uintptr(n), 0)
	return errno(e)
}
