// Package futex implements futex(2) over words of guest memory that it never
// touches itself.
//
// A Manager keeps the waiters of all futexes of a kernel in buckets, chosen by a
// keyed hash of the futex's key, in order of arrival. The key says which word
// is meant: whoever owns the memory makes it (private futexes: address space
// and address; shared ones: the object that backs the page and the offset).
//
// A task waits in three steps: Wait compares the word and queues the Waiter,
// the task sleeps on the Waiter's channel together with its timer and its
// signals, Cancel takes the Waiter out again and tells whether it was woken. A
// wake-up between two steps stays in the channel. So nothing that blocks is
// held on a stack in here, and any wait can be given up and begun anew.
//
// The comparison happens under the bucket's lock, so it is atomic with respect
// to all other futex calls on that word. Reading guest memory may need a page
// to be brought in, which must not happen under a lock: Word.Load and
// Word.CompareAndSwap fail with EFAULT instead; the lock is dropped, Word.Fault
// brings the page in, and the call starts over, a bounded number of times.
//
// Priority inheritance futexes: Linux's protocol of the word (owner's thread id
// and the two flag bits) and its hand-over of ownership, first come first
// served. Nothing is boosted, since all guest tasks have the same weight.
//
// Locks: a bucket's lock; two of them in the order of their index. Both are
// leaves but for Word.Load and Word.CompareAndSwap and Owners.
package futex
