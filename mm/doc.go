// Package mm is the memory of guest processes: what mmap(2) and its relatives do,
// demand paging, copy-on-write, and copies between the sentry and a guest.
//
// # How it works
//
// A MemoryManager knows an address space by two ordered sets of ranges. The vmas
// say what the guest may expect at an address: rights, file, offset. The pmas say
// where the bytes are now: in the memory file, or on a host file descriptor. A vma's
// attributes are immutable and shared, and like pmas they hold offsets as "offset of
// address 0", so that splitting, merging and forking copy nothing but ranges.
//
// The MemoryFile is one memfd for the sandbox, mapped whole by the sentry. Its ranges
// are reference-counted by range: a pma holds one reference on what it maps, so does a file
// that lives there, and so does an I/O in flight. A copy to or from a guest is a plain copy on
// the sentry's mapping; pages of host files are never mapped in the sentry, but
// read and written with pread(2) and pwrite(2).
//
// The platform's AddressSpace is a cache of the pmas. A fault on a page that mm
// believes mapped means that the platform forgot it, and it is mapped again. When
// the platform does not tell what kind of access failed, the kind is inferred:
// what is mapped cannot have failed for a right that it has. A page mapped with every
// right that the guest has is ambiguous: either another thread's fault was answered
// meanwhile, or the access is forbidden. The guest is let go again, and a few faults in a row at
// one address, with nothing changed there, settle it. An AddressSpace with a method Drops() uint64, counting how
// often everything was forgotten, makes the record exact.
//
// Private memory is copied on write after a fork: both sides' pmas are marked, and the
// parent's rights are withdrawn. An AddressSpace that can be shared does that itself, and the child begins with all that is
// mapped. Else it is one list of changes; where much is mapped, which the host would
// go through page by page, the AddressSpace forgets everything instead. Who writes first copies
// a few neighbouring pages, or, when the other side is gone, takes them over. What both sides were
// seen to write to first is copied at the next fork already (hot.go). An AddressSpace that forgets everything may keep it, and go
// back to that once the memory is one's own again (keep.go). Memory that was forgotten
// comes back in pieces that grow where neighbours are touched, filled so that it costs
// no fault a page.
//
// # Locks
//
// In this order: direct, hostIO, mappingMu (the vmas), activeMu (the pmas and the AddressSpace), then the
// locks of files that Mappable's methods take, then the memory file's. No two
// MemoryManagers' locks are held at once, but for those of a child that is being made,
// each of them behind its parent's: files know the child already. hostIO
// is held shared, and no other lock is, while a mapped host file is read or
// written; it is taken exclusively, at the end of an operation that has let go of the
// others, to withdraw a mapping from its file. direct is held shared while a call writes to memory
// without the other locks, a bounded piece at a time, and exclusively by a fork.
//
// # Invariants
//
//   - Every pma lies within a vma, and its rights are the vma's.
//   - A range of the memory file is given back only after the AddressSpace has
//     dropped it, or set it aside: changes are applied first, references are dropped then.
//   - Rights recorded as mapped in the AddressSpace are at least those that are.
//   - A range leaves the allocator zeroed, but for those that are overwritten whole.
//   - Lengths and addresses from a guest are checked for overflow before any use;
//     the number of vmas is bounded, of one address space and of all, and so are the memory
//     file and what is kept aside in the sentry's own memory for guests (aside.go).
package mm
