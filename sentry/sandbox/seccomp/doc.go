// Package seccomp turns a table of host system calls into a filter and puts it
// on every thread of the process.
//
// The program is a chain: one comparison for each number of the table, in the
// order of the table, so the calls made most often stand first. A call with
// conditions is allowed when one of its alternatives holds wholly. Whatever is
// not allowed gets the action that the caller chose; a call by another
// architecture's entry (int 0x80, x32) ends the process.
//
// Conditions look at the low 32 bits of an argument. That is what the kernel
// itself looks at for descriptors, commands, protections and the flags of
// clone(2); a condition on a pointer or a length would need more, and no rule
// here has one.
package seccomp
