// Package host shows a directory tree of the host, and the descriptors that a
// sandbox inherits, as vfs inodes and files.
//
// # The tree
//
// Everything is reached from the one descriptor of the tree's root: a file is
// named by its directory's descriptor and one path component, and no host call
// follows a symbolic link or leaves the tree. So the package works in a process
// whose own root is empty, and nothing the guest does to names can lead out. Only
// regular files and directories are ever opened. Sockets of the host can be seen but not used
// (ENXIO), devices neither (EACCES). A FIFO in a writable tree is the sandbox's own, and in others ENXIO.
//
// A tree is of files. What the host's kernel itself shows as files (proc, sysfs, control groups, namespaces and their like) and where it keeps
// its devices is no part of one: a root among those is refused, and where the host has mounted one below there is an empty directory, or a file that
// cannot be opened. That goes by the file system of what was looked up or opened, wherever and whenever it was mounted: a descriptor is
// used only if it is on the device of the directory it was opened from, or fstatfs(2) tells of a kind that keeps files. What is mounted
// can be neither removed nor renamed: the host would let that be done from another mount namespace, and unmount it in its own.
//
// An inode remembers its parent and its name. Descriptors of directories are a
// cache, bounded and ordered by use; a directory that lost its descriptor is opened again
// by walking down from the nearest ancestor that still has one. A tree has no end of its own: when nothing leads to it any
// more, and Go has collected it, its descriptors are closed. A regular file has descriptors only while it
// is open or mapped; all who open it the same way share one, since positions live in the VFS and
// every transfer is a pread or pwrite.
//
// Modes of a tree (Config): a cached one is read-only and believes what it saw of an inode
// until that is opened again; the others are live: each step of a path asks the host
// (Revalidate), attributes are never cached, and reads, writes and mappings use the same host
// page cache.
//
// The host may change the tree at any time, and may do so with malice. What was looked
// up is compared with what was opened (type, device and inode number); a mismatch is ESTALE. Owners, modes and times are changed by a
// descriptor of the file that was checked so, never by a name: the guest's permission was for that file.
// Ids, modes and times are shown as the host shows them to the sentry, and what the
// host refuses to the sentry is refused to the guest, root or not.
//
// # Inherited descriptors
//
// Streams makes files of inherited descriptors. They are shared with processes outside, so their flags are never
// changed: readiness comes from one epoll descriptor, parked in Go's own poller and
// so holding no thread, and a transfer is made without waiting (RWF_NOWAIT) or,
// where the host cannot do that (terminals, FIFOs), on a helper goroutine that is left behind if it blocks after all:
// what it reads later is kept for the next read, what it has yet to write counts as buffered.
//
// # Locks
//
// inode.mu (attributes) and tree.mu (names, descriptor cache) are leaves, never
// held across a host call; tree.naming is held across that of a rename; handle.listMu is held across lseek and
// getdents of one directory. stream.mu is held across host calls that do not wait.
package host
