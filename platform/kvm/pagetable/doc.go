// Package pagetable keeps the page tables of guests: four levels, 4 KiB and, where asked for,
// 2 MiB pages, in plain memory that processors read as physical memory.
//
// A Pool hands out frames, a Tables is one address space's tree of them. Addresses of
// frames and of what the entries map are guest-physical. Map, Unmap and Protect work on the lower half of the
// address space and note in a Lost what processors may still hold translations of: every page that was
// accessible and is so no more, or with fewer rights, or elsewhere. What only gains is not noted: a processor looks
// again before it faults. The upper half's one entry, the kernel's, is the same in all Tables of a Pool.
//
// The tables obey what a KVM that shadows them needs, which does not see the host's stores: an entry that leads
// to another table never changes once it is there, until the whole tree is released. Only an entry that maps a page
// does, and whoever holds the Lost has the hypervisor forget that page. Frames
// that were released are set aside until Pool.Reuse: before that, a shadow of them may live on.
// With large pages, for hosts without shadows, an entry of the second level changes once more, from a page to a table.
//
// A page without rights keeps its place: the entry is not present, its address stays, so that
// Protect can give rights again. Held marks a page that its file no longer has; it is
// not present until Release of the mark or a new Map.
//
// Accessed and dirty bits are always set: no processor ever writes to a table. Entries are stored atomically,
// since processors read them at any time. A Tables is not safe for concurrent use, a Pool is.
package pagetable
