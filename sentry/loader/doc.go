// Package loader makes a program ready to run: it reads an executable, maps it
// and its interpreter into a fresh address space, and lays out the first
// stack with arguments, environment and auxiliary vector.
//
// Load follows "#!" lines until it finds an ELF file. The file is the guest's:
// header fields are checked before they are used, in 64 bits without wrapping, and what cannot be is
// refused with the errors that Linux gives (ENOEXEC for the program, ELIBBAD for its
// interpreter, EINVAL for addresses that no process has). The address space belongs to
// nobody else while Load works on it; after an error the caller throws it away,
// so nothing here is undone.
//
// Addresses are chosen as Linux does: position-independent programs at two thirds
// of the address space, all else top-down from below the stack, the heap behind
// the program's bss, each with a random offset unless that is turned off.
//
// The vDSO is an ELF image that NewVDSO assembles when a sandbox starts. Before its
// code lies a page of clock parameters, which ktime writes and guests can only read.
//
// The package keeps no state and takes no locks of its own.
package loader
