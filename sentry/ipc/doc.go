// Package ipc has the objects of System V interprocess communication: sets of
// semaphores, shared memory segments and message queues, as of sysvipc(7).
//
// A Namespace holds the objects of one IPC namespace in three registries, one a kind. An object has an
// id, made of its slot and a sequence number, so that a stale id is told from the one that has the slot
// now, and perhaps a key. Nothing here blocks: an operation that has to wait leaves a
// waiter behind, whose channel is closed when it was carried out or failed, and the caller either
// waits for that or cancels it. What is carried out is carried out by whoever made it
// possible, in the order of the queue, so a waiter that was served before it was cancelled learns so.
//
// Semaphores: a list of operations is done whole or not at all. What a task must undo
// when it ends is in an UndoList, which tasks may share; it holds adjustments by set, and a
// set knows the lists that have some for it, so that either can go first.
//
// Shared memory: a Segment is a file that package mm maps. It notes the pieces of address spaces that map it; the memory
// goes with the last of them if the segment was marked for that, else it stays.
//
// Everything that a guest can make grow is charged to a Budget, which namespaces share.
//
// # Locks
//
// Each kind has one lock, Semaphores.mu, SharedMemory.mu and Messages.mu. They are
// taken with the locks of mm held (package mm tells a Segment of mappings) and no call of mm's but those of
// the memory file is made under them. They are never held together. Limits have a lock of their own, the innermost.
//
// # Invariants
//
//   - An object in a registry has at least one name: its id. One that was removed is in none, and its
//     waiters have all been told EIDRM.
//   - What an object is charged is given back exactly once, when it is removed, or destroyed for a Segment.
//   - Sequence numbers grow whenever slots wrap around.
package ipc
