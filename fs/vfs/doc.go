// Package vfs is the virtual file system: names, mounts, open files, and what all
// file systems have in common. A file system implements Inode; everything that
// a guest can say about files by name or by descriptor passes through here first.
//
// # Names
//
// A Dentry is one name in one directory and, unless it is a known absence, the Inode behind it. A
// Path is a Dentry seen through a Mount. Neither is counted: who holds a Path keeps it. A directory's
// table of children refers to them weakly, so what nobody uses goes with the next
// garbage collection, and what somebody uses is found again under the same
// Dentry, however long ago it was looked up. A bounded ring of strong
// references (see ring) decides how much is kept that nobody uses. Dentries
// refer strongly to their parents, and a Mount to the Dentry that it covers.
//
// A Dentry's inode and type never change; its place (parent and name) is one
// pointer that rename replaces. So a walk over cached names takes no lock and
// allocates nothing: it reads tables of atomic pointers.
//
// # Mounts
//
// A Namespace is a list of mounts, each behind those that it stands on. One lock guards the lists of all namespaces, since
// what happens to a shared mount happens to its peers and slaves wherever they are. A change is counted
// before it is made: either all its copies fit or nothing happens. A tree that is mounted nowhere
// is in a nameless namespace that its file keeps.
//
// # Files
//
// A File is an open file description. It is counted, since closing must happen
// at once. FileOps never block: what has nothing to give returns EAGAIN and the
// caller waits through waiter.Waitable. A file with O_ASYNC notes what happens to it with the locks of its
// object held; its signals are sent when the call that did it is over, with none (System.TellAsync).
//
// # Lock order, outermost first
//
//	EventPoll.mu (an outer epoll before those it watches)
//	File.posMu, the position of an open file
//	System.renameMu of a file system, held by renames between directories
//	InodeState.dir, directories: ancestors before descendants, a directory before its entry
//	InodeState.write, writes to and truncation of one regular file
//	a file system's own locks; mm's locks, where a copy to the guest faults
//	InodeState.mu before File.mu, System.mountMu, the dentry tables, ring and waiter queues: leaves
//
// The position and write locks are held while guest memory is copied, as on
// other kernels: a fault on guest memory takes mm's and the memory file's locks and
// the leaf locks of a mapped file, and none of those above.
package vfs
