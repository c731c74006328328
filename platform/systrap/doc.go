// Package systrap runs guest code in blank host processes behind a seccomp filter that turns its system calls
// into signals: no ptrace, and no switch of processes where two processors can pass a call over shared memory.
//
// Each address space has a blank process (packages blank and pool). Guest threads are seats: host processes of one thread that share
// its memory and nothing else. A seat's descriptor table is empty, since it is thrown away
// before the first guest instruction. Its filter allows FUTEX_WAIT and FUTEX_WAKE on words of the areas described below,
// whoever makes the call, and answers everything else with SIGSYS. So nothing depends on which instruction made
// a call: the guest may jump to the handler's own.
//
// Each seat has an area, shared with the sentry and writable by the guest: a block of words, room for extended
// state, an alternative signal stack. SIGSYS, faults and kicks enter the handler, a page of code that nobody can write, on that
// stack, where the host has left the guest's registers and extended state. The handler says so in the block, and waits for the
// sentry to write other registers there and to turn the state back. It leaves by XRSTOR and IRETQ, without rt_sigreturn: no
// signal is ever blocked, and the guest cannot block one, since every call that could is trapped.
//
// A kick (SIGURG) brings a thread out of guest code. One that comes while the handler waits is nothing; one that comes
// when the thread's turn has begun and its first guest instruction has not is reported as such, with the
// registers as the sentry wrote them. The handler tells by the address at which the kick found it, and by the state in
// its own area, which it finds by its stack pointer: the host chose that, not the guest.
//
// # What is believed
//
// Nothing in an area, since the guest can write it at any time: the sentry copies what it reads, checks that a frame lies within the
// area, masks registers and extended state, and takes the rest as what the guest wanted to say. Forged reports are
// calls and faults, which the guest could have had by making them. What forgery could do is to go on running while the sentry takes
// the thread for stopped. It then has its own memory only: what an address space maps no more is unmapped before the call that says so
// returns, and before one that is released or goes on in another process has returned, all the seats have been sent a signal and have been out of
// user mode since, so that they take it first; no report can forge that. Several seats are sent SIGSTOP. One alone is summoned instead: it takes
// SIGBUS, on the stack and at the entry that it could not change, and so waits in the handler. The signal brings a token that was not to be known before, and
// that the handler hands back. Seats that were stopped are summoned once they all have been, when they are to be used again. A context that still wants the extended
// state of a seat that was summoned finds it in the frame, where the host has left it.
// Before a blank process is given to another address
// space, all its seats but one are killed, that one is summoned, and all that the guest had is unmapped but the seat's area. It takes registers and extended
// state from the sentry. A thread that computes on when kicked, in a loop of the handler's code entered at
// a wrong byte, is given up with its guest process. A seat that dies is noticed by whoever waits for it, at the latest after a second.
//
// A seat that dies leaves two things to others. Its area is mapped in the blank process, so it is nobody else's before that has ended or has been
// emptied. And a seat that sets its stack pointer so that there is no room for a signal's frame has the host give SIGSEGV its default action, for all that share the
// process. So a process whose last seat was found dead is ended, and where seats had to be killed the leader sets the actions anew.
//
// The leader of the blank process, whose code and orders the guest cannot write, carries out changes. It shares
// the sentry's descriptors; the seats do not.
//
// # Handing over
//
// Both sides spin for a while before they sleep on the state word. A side that is about to sleep says so, and is woken only then.
// A thread that waits long sleeps: an idle guest takes no processor time.
//
// What a call costs then is lines of memory that go from one processor to the other. A patched call sends one and gets it back: the
// state, the number, the first arguments, the flags and the result lie in it, and are written just before the state; the other registers are
// stored where they differ from what the area has. If none does the call says so, and the sentry, which keeps those of the last call, does not
// look.
//
// # Patched calls
//
// A call made often is patched (package patch). The trampoline knows the way back, finds the
// thread's area in the base of GS, and goes to the handler without a signal. The extended state stays in the processor; the handler stores it
// before it sleeps, before it reports where it is not to spin, or when asked.
//
// A call whose result the kernel has told beforehand (platform.Answerer) comes back from the trampoline with it. The results are in a page
// of the area that is mapped for reading alone in the blank process, so neither the guest's instructions nor the handler's write to it; they are those of the
// context that holds the seat, and taken back before that lets it go. The sentry takes them back while the guest runs, too: one
// word a call says whether there is a result, and is read with it. A kick that comes in a trampoline finds the call not begun: it has
// written to nothing but registers that the call is going to write to, so the thread goes on at the site.
//
// Where the host's CPUID is dear, it is a breakpoint in programs that are executed often. The handler finds the breakpoint and what CPUID would leave in a
// page that the leader maps, read-only, and the guest goes on; what it does not find is the sentry's to answer, as are those leaves that tell processors
// apart. A kick that comes meanwhile is remembered until that is done. A thread that has met a breakpoint just before something else was mapped there executes
// what is there then. A guest that copies its own text copies breakpoints with it, which are not answered elsewhere.
//
// The sentry reads text from the file, so that a tracer sees it plain; the guest itself
// sees the patch, the table of pointers, and a base of GS that it has not set. When the guest is single-stepped, all patches of
// its address space are undone for good. Where the guest has a GS of its own, the trampoline makes
// the call where it was.
//
// Linux answers uprobe(2) (ENXIO) and uretprobe(2) (SIGILL) before it asks a filter. The second is made a call again.
//
// Locks: those of package pool, Platform.areaMu; then those of packages patch and blank. None is
// held while guest code runs.
package systrap
