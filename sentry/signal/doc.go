// Package signal holds the data of signals: sets, siginfo, actions and pending
// queues. It sends nothing and knows no task.
//
// Signals have Linux's numbers for amd64; a personality translates at the edge.
// A Queue is the pending signals of one thread or of one thread group. It has
// no lock of its own: the owner's signal lock guards it, so that the pending
// set, the blocked mask and the thread's state change together. Handlers is
// shared between threads (and, with CLONE_SIGHAND, between processes) and has
// its own lock, which is a leaf.
//
// Invariants of a Queue: a signal's bit in the pending set is on while it has
// entries; a bit without entries is a signal whose siginfo could not be kept
// (as in Linux it is delivered with SI_USER from pid 0). A standard signal has
// at most one entry. What may be queued is bounded by a Ledger, which counts
// against RLIMIT_SIGPENDING of the user.
package signal
