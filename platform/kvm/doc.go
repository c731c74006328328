// Package kvm runs guest code in ring 3 of a virtual machine, on page tables that the platform builds.
//
// One virtual machine serves a sandbox. A guest address space is a tree of page tables (package
// pagetable); the last entry of every root leads to the stub: a page of handlers that leave the machine, the
// processors' descriptor tables, and a page for each virtual processor with its TSS and two small stacks. The
// stub's text is never writable in the guest, what ring 0 may execute no user code can write, and all that is
// believed of an exit is what the processor stored: the handler's address, registers that KVM hands over, the frame
// on the processor's own page. Ring 0 executes one instruction, an OUT, and never goes back, but for calls that are answered there: KVM loads
// the guest's next state.
//
// # Hosts
//
// New probes with a few instructions in ring 3. Where SYSCALL arrives in ring 0, as the manuals
// say, LSTAR leads to code of the processor's own (see below). Where ring 0 is emulated, SYSCALL stays in ring 3: LSTAR is then a page that user code
// may execute, with a store to an address that no memory is behind, which leaves the machine. A guest may go there by
// itself: that is a system call like another, whose return address it chose. Where SYSCALL is an
// invalid opcode, the instruction is looked at. An emulator of ring 0 also judges what user code may not execute, and where
// it judges otherwise than processors do, the instruction is looked at too.
//
// On AMD, SYSCALL of 32-bit code is a call too. It goes to an address where nothing is ever mapped, and the fault there, in ring 0, leaves
// the machine. Page faults have a stack of their own for that: the stack pointer is the guest's. An emulator of ring 0 takes half of the address
// (see compatAddr), which must not lead to memory of the guest's, that ring 0 would execute.
//
// Where SYSCALL stays in ring 3, calls made often are patched (package patch): a trampoline makes the same store, which saves
// the landing, or finds the call's answer in a page that the sentry alone writes, and goes back without an exit. The page is
// one of the address space's, for each processor, and GS leads to it where the guest has no GS of its own. What was stopped in a
// trampoline is said to be before its call. A guest may enter a trampoline where it likes: what it
// achieves is a system call with registers of its choice.
//
// # Calls passed over
//
// Where SYSCALL arrives in either ring, a context that calls often has its thread stay awake (pace); where several do, they take turns. Its processor is then run by an OS thread of that
// processor's own, a runner, on another of the host's processors, and the trampoline, if SYSCALL stays in ring 3, goes to the meeting: code that stores the registers in an area, a page
// of the address space's for each processor, and looks for a result a bounded number of times. The sentry takes the call (areaTaken) and, if all
// that changed is the result, gives that (areaAnswered): nobody has left guest code. A word beside the answers says whether the sentry looks at all; a
// call that finds none, or is not answered in time, leaves as before. By one exchange of the state the guest takes its call back, and by
// another the sentry gives the result, so each knows which came first.
//
// The guest can write to areas, at any time. What is read there is taken for what the guest asks for, once, with registers made as sane as those of an exit; what
// decides how the sentry goes on is its own: from the moment a call is taken, the registers it came with, as the kernel changes them, are the
// thread's, whatever the processor says later. If it cannot be given its result, or something else changed, or its extended state is
// wanted, it is kicked out, its registers are dropped and these are loaded. So a processor may be in guest code while its thread is in the kernel: it is among
// those that an Apply or a Release sends out, and its runner, not the context, says that it is.
// A processor stopped in the meeting before its call was taken is said to be before the SYSCALL instruction.
//
// Where SYSCALL arrives in ring 0 each processor has a meeting of its own at LSTAR, with a page of answers and an area, none of which user code can use, and calls need not be
// patched. It changes no register but rax, so a processor may be stopped anywhere in it: its call is made again.
//
// The probe also changes a page table entry behind the machine's back. A KVM with hardware paging sees
// it after CR3 was loaded: there, what an Apply takes away is flushed by sending every processor that runs the address space
// out of the guest, and changing a bit of CR3 that means nothing before it enters again. A KVM that shadows page tables does
// not see it: there, entries that lead to tables never change, and the pages behind entries that lost something are
// dropped from the sentry's own mapping (MADV_DONTNEED), which has KVM drop each translation to them,
// whichever address space it belongs to, before the call returns; the data stays in the file. Where whole tables go, or become
// an address space's own after a fork, the tables above are replaced instead, and every processor that runs the address space
// is sent out to load the new root. Frames of released
// tables are set aside until a memory slot is made and deleted, since that makes KVM forget everything.
//
// A fork (Share) takes the right to write from both sides in new tables above the lowest level, and shares the lowest.
//
// # Memory
//
// Files are mapped into the sentry by windows, readable and writable but never executable, and each
// window is a memory slot. Windows are made when a Map needs one and stay, within a bound, when no address space uses them any
// more. A host file may become shorter than what is mapped of it: KVM_RUN then fails with EFAULT and does not say where, so
// all pages that their files have lost are found and hidden from the guest, which faults on its next try: SIGBUS.
// Where page tables are shadowed, a large piece of memory is mapped to be seen block by block (see aheadFrom), as each is asked for; what is
// held meanwhile looks like a page that its file has lost, and is found to be there.
// An address space whose tables grow too large, or that sleeps while frames are short, is emptied; Drops counts that.
//
// # Processors
//
// A context holds a virtual processor and the OS thread it is on from its first Run to Leave; those with a runner are never run by
// another thread, since KVM takes long to move one. Registers
// pass through the page shared with KVM. The extended state stays on the processor until another
// context takes that, or somebody asks. A kick sets immediate_exit and then signals the thread: a
// processor that was about to enter the guest sees the first, one inside the second.
//
// Locks: addressSpace.mu (a parent's before that of the child nobody knows yet), Platform.mu, Platform.spacesMu, context.fpuMu,
// memory.mu, then pagetable.Pool's and patch's. None is
// held while guest code runs. Where frames are short, other address spaces are locked by trying.
package kvm
