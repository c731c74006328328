// Package overlay is a file system in memory laid over a read-only one: what was
// never changed is served by the lower file system, changes stay above and vanish with
// the sandbox.
//
// # Nodes
//
// A node is an inode of the overlay. It knows the lower inode it stands for, unless it was made above.
// A directory knows, by name, what is made, changed, moved or deleted in it (directory.above); every other
// name is the lower directory's. The tree of nodes is the only record of where things
// are: a directory that is moved takes its lower directory along, and whatever is
// made where a lower name was deleted has nothing below it.
//
// A node of a lower file that was never changed is not remembered here: the VFS finds it again for
// as long as somebody uses it, and otherwise it is made anew, equal to the last. The first
// change pins it: it and the directories on the way to it are entered in their parents' above.
//
// # Copying up
//
// Attributes and content go up separately. A change of mode, owner, times, names or extended
// attributes copies the attributes (meta). Content goes up with the first write, truncation or
// mapping of a file open for writing: in pieces, without holes, and no more than stays after a truncation.
// A copy that a signal interrupts goes on where it stopped when the call is made again.
// Open files read above as soon as there is something above; a mapping made earlier stays
// on the lower file. Content above is a tmpfs.Regular.
//
// What guests can make the sentry keep besides content is bounded by number (files, further names,
// changed lower files) and by bytes (extended attributes, symbolic links); deletions by the lower
// names that there are.
//
// Inode numbers never change: a lower file keeps its own, and what is made above has numbers
// with a bit that no lower file's has.
//
// # Locks
//
// The VFS holds a directory's lock around changes in it. filesystem.mu (the tree:
// parents, names, above, link counts) and node.mu (meta and content) are never held
// across calls of the lower file system that may wait; node.mu comes first. Copying content
// up excludes itself by node.copy.
package overlay
