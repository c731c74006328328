// Package patch makes the usual forms of a system call in program text, mov $number,%eax; syscall and the end of the C library's syscall(2),
// mov 8(%rsp),%r9; syscall, a jump to a trampoline, for platforms where a call caught as such is dear. Of the C library's read, cmpb $0,guard;
// je otherwise; xor %eax,%eax; syscall, it is the first instruction that becomes the jump, since who jumps to another one is to find it.
//
// Seven bytes become a jump by way of a pointer at an absolute address, chosen so that the last two bytes of the
// jump are SYSCALL: who jumps there makes a call as before. A trampoline (Code) answers the call from a page that the guest
// cannot write, where the kernel has said the result beforehand (Answers); how it goes on otherwise is the platform's to say.
//
// Text is never written to. A patched page is a copy in a memory file that nobody can map writable any more, mapped over the plain one;
// each further site makes another copy. So a thread sees an instruction whole, as it was or as it is, and no
// processor executes bytes that change. Only pages of files that are open for reading alone are patched; a change of
// rights, or another mapping at that place, brings the plain page back or replaces the patched one. When the guest maps
// something where the table of pointers lies, all patches of its address space are undone for good.
//
// Whether the bytes before a SYSCALL are that instruction, and not the end of a longer one, cannot be known for certain: that the
// number was in rax each time, and that no usual longer instruction ends so, is taken as enough. A fault of the
// instruction, made in the trampoline, is said to be at the site.
//
// CPUID takes 7 µs and more where the host's hypervisor runs under another one, and programs of the C library begin with some 70 of them. In files that are
// executed often it becomes a breakpoint, which is one byte, so that who jumps behind it finds what was there; a page in which the guest
// finds its breakpoints and CPUID's results is for the platform's handler. Nothing that the guest does tells where an instruction begins, since it may
// jump into the middle of another one, and the copies are everybody's: only functions that the file itself tells of, in .eh_frame, and that
// a decoder follows to their end, are believed (findCPUID).
//
// A Store holds the copies, for all address spaces; a Text is what one address space has executable. A Text is told
// of every change to the address space (Before, After) and adds changes of its own to the same queue.
//
// Locks: a Text is guarded by its address space's lock; Store.mu comes after that.
package patch
