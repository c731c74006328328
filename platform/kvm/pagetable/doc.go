// Package pagetable keeps the page tables of guests: four levels, 4 KiB and, where asked for,
// 2 MiB pages, in plain memory that processors read as physical memory.
//
// A Pool hands out frames, a Tables is one address space's tree of them. Addresses of
// frames and of what the entries map are guest-physical. Map, Unmap and Protect work on the lower half of the
// address space and note in a Lost what processors may still hold translations of: every page that was
// accessible and is so no more, or with fewer rights, or elsewhere. What only gains is not noted: a processor looks
// again before it faults. The upper half's one entry, the kernel's, is the same in all Tables of a Pool.
//
// Share gives a second tree what the first maps, at the cost of the tables above the lowest level, which both get
// copies of. The lowest ones are in both trees, behind entries without the right to write, and do not change as long as
// they are: a tree that wants something changed there puts a copy in the place of the table first. An entry with the right to
// write leads to a table that is this tree's alone; one without it never regains it, even when the other tree is gone,
// since a hypervisor may still know the table as one that could be written through.
//
// The tables obey what a KVM that shadows them needs, which does not see the host's stores: an entry that leads
// to another table never changes once a processor may have seen it. Where one has to, the tables on the way to it are
// replaced by copies, up to the root, and Lost.Moved says that processors are to load another Root. An entry that maps
// a page does change, and whoever holds the Lost has the hypervisor forget that page; of a page in a table that no
// processor can have seen, nothing has to be forgotten. Frames
// that were released are set aside until Pool.Reuse: before that, a shadow of them may live on.
// Without shadows entries that lead to tables change in place, and every Lost asks for a flush. There are large pages then,
// which become tables where a part of them changes.
//
// A page without rights keeps its place: the entry is not present, its address stays, so that
// Protect can give rights again. Held marks a page that its file no longer has; it is
// not present until Release of the mark or a new Map.
//
// Accessed and dirty bits are always set: no processor ever writes to a table. Entries are stored atomically,
// since processors read them at any time. A Tables is not safe for concurrent use, but trees that share may be used
// at the same time, and a Pool is safe.
package pagetable
