// Package tmpfs is a file system in memory.
//
// Directories are maps, guarded by the directory lock that the VFS holds for every
// operation on entries. Attributes have a lock of their own in each inode. What
// regular files contain is in a Regular, which the overlay uses too.
//
// # Regular files
//
// A Regular keeps its pages in the memory file, in blocks of 2 MiB of file, each with a
// few extents of the memory file and a bitmap of pages that are there: an extent
// may be larger than what was written, so that a growing file lies in few
// pieces. A page that is not in the bitmap is a hole and reads as zero.
//
// Pages go away by truncation and by punching holes only. Whoever copies to or from
// pages holds the gate shared, whoever takes pages away holds it exclusively,
// takes them out of the tables, then out of every mapping, and frees them last.
//
// A Regular lives by holds: one for being linked, one for each open file, and one
// for all its mappings. Without any it is freed at once. Where a whole file system is dropped,
// the garbage collector frees what was in it.
//
// # Locks
//
// Regular.gate (held over copies, so it comes before mm's locks), then mm's locks, then Regular.mu or
// inode.mu, then the memory file's. Mappable's methods take only Regular.mu.
package tmpfs
