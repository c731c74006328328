// Package pairs keeps an OS thread of the sentry and the guest thread that it runs where they pass control to each
// other cheaply, and lets contexts take turns when more want to run than may.
//
// The two sides of a switch sleep in turn, so both are kept on one processor: an OS thread
// that runs guest code is pinned to the processor it is found on, or to one with
// fewer such threads, and its guest with it. A monitor, which ticks only while contexts are
// locked to threads, lets a pair go when the guest computes for long, so that the host may
// balance. All of them ask the host for short time slices, so that a switch is soon
// on a busy host too. Where both sides stay awake instead, the thread can be moved apart from its guest,
// to where another such pair was before.
//
// While it ticks, the monitor also tells whether the sentry's own code is better off on one processor (OnDemand): what passes control from one goroutine to
// the next is faster there.
//
// A Runner is locked to its OS thread from Enter to Leave. The fields of a Thread belong to the Runner's goroutine unless
// they stand below its lock.
//
// Locks: Set.mu, then Thread.mu.
package pairs
