package mm

import "golang.org/x/sys/unix"

// PageSize is the size of a page in bytes.
const PageSize = 4096

// Addr is an address in a guest's address space. It is not believed.
type Addr uint64

// Range is the half-open range of guest addresses [Start, End).
type Range struct{ Start, End Addr }

// Length is the number of bytes in r.
func (r Range) Length() uint64 { return uint64(r.End - r.Start) }

// Caller is who an operation that can take long is done for.
type Caller interface {
	// Killed tells whether it is to die, and the operation to end.
	Killed() bool
}

// Mappable is a file whose pages can be mapped. Offsets and lengths are in bytes
// and multiples of PageSize.
type Mappable interface {
	// AddMapping records that m maps [off, off+ar.Length()) of the file at ar; what the file holds for
	// it (a host descriptor, an inode) stays until RemoveMapping with the same
	// arguments or with parts of them.
	AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error
	RemoveMapping(m *MemoryManager, ar Range, off uint64, writable bool)
	// Translate tells where the bytes from off on lie: at least one page, at most length.
	// write says that they will be written through a shared mapping. EFAULT beyond the end of the file
	// (the guest gets SIGBUS), ENOMEM.
	Translate(off, length uint64, write bool) (Backing, error)
	// MappedName is what /proc/PID/maps shows, with the device and inode.
	MappedName() (path string, major, minor uint32, ino uint64)
}

// Backing is where a range of a file lies on the host.
type Backing struct {
	Mem    bool   // in the memory file; FD is not used
	FD     int32  // host descriptor
	ID     uint32 // of what FD is open to, as platform.Change has it
	Offset uint64
	Length uint64
}

// BusError is the error for an access beyond the end of a mapped file; every
// other bad access is unix.EFAULT.
type BusError struct{ Addr Addr }

func (e *BusError) Error() string { return "access beyond the end of a mapped file" }

// Unwrap makes a BusError an EFAULT for system calls.
func (e *BusError) Unwrap() error { return unix.EFAULT }
