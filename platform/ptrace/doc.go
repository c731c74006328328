// Package ptrace runs guest code in blank host processes under PTRACE_SYSEMU:
// it works wherever ptrace does, at one stop of the traced thread a system call.
//
// The kernel binds a traced thread to the one OS thread that attached to it,
// while goroutines move between OS threads. So nothing binds a guest thread (a
// context) to a traced one (a tracee): a tracee is a seat. Each address space
// has a blank process, and in it a tracee for each OS thread that ran guest
// code there, idle when not in use. Run locks its goroutine to the OS thread it
// is on, takes that thread's tracee of the address space, or makes one, loads what
// the tracee does not hold already, and stays there until Leave; so a
// thread that makes calls which do not block costs one stop a call. After Leave the
// OS thread serves whichever goroutine comes next.
//
// The two sides of a stop sleep in turn, so both are kept on one processor: an OS thread
// that runs guest code is pinned to the processor it is found on, or to one with
// fewer such threads, and its tracee with it. A monitor, which ticks only while contexts are
// locked to threads, lets a pair go when the guest computes for long, so that the host may
// balance. All of them ask the host for short time slices, so that a stop is answered soon
// on a busy host too. The monitor also takes turns between contexts when more want to run than may.
//
// Address spaces, their changes and their processes are package pool's, and so are the locks.
package ptrace
