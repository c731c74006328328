// Package syscalls is what a call does once it is decoded, whichever system's
// program made it: waiting for files to be ready, moving bytes between files,
// opening, polling.
//
// Functions take the calling task and run on its goroutine. Files never block;
// where one says EAGAIN, the waiting is done here, and a wait that a signal ends
// gives one of kernel's ERESTART errors, or the count of what was done before.
// The package has no state and no locks.
package syscalls
