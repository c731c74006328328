// Package coredump writes the core file of a dying process: an ELF file of type
// ET_CORE with the registers of each thread, what debuggers want to know of the
// process, and its memory (core(5), elf(5)).
//
// The caller has stopped every thread and keeps the address space alive. Memory
// is read page by page and a page of zeros becomes a hole, so that the file takes
// the room of what was touched. A page that cannot be read is a hole as well.
//
// Nothing here takes a lock or keeps state.
package coredump
