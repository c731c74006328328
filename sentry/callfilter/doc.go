// Package callfilter has the filters of seccomp(2): programs in classic BPF that
// look at a system call and say what becomes of it.
//
// A program is checked once, as Linux checks it: only known instructions, jumps that
// stay inside and go forward, scratch memory that is written before it is read, a
// return at the end. So Run needs no checks, and ends after at most as many steps
// as the program has instructions. Programs are chained from the newest to the
// oldest; a chain never changes and is shared by all that inherited it. The package
// has no locks.
package callfilter
