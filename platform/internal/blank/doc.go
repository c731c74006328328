// Package blank makes blank processes: host processes with nothing mapped but a
// page of code and a page of orders, in which a platform runs guest code.
//
// A Factory forks one template from the caller at its start, before the caller
// locks itself in; every later Process is cloned by the template at the
// caller's order, so neither memory nor a filter of the caller's later life is
// inherited. All of them share the caller's descriptor table: a descriptor of
// the caller can be mapped by its number.
//
// The first thread of a blank process, its leader, is traced by nobody and runs
// the stub: it sleeps on a futex in the page of orders, carries out a list of
// system calls, and answers. Any thread of the caller can give it orders, also
// while other threads of that process run guest code. Those other threads are
// made by the leader (SpawnThread) and sleep until somebody attaches to them.
//
// What keeps a hostile guest in the same address space from misusing the stub:
// the two pages lie above the guest's part of the address space and cannot be
// written there; the stub keeps everything in registers, reads only these two pages and uses no
// stack; it writes its answers with pwrite to the file behind the page of
// orders. A guest thread that jumps to the stub executes it as a guest: each
// of its calls stops under the tracer. The filter on the process allows
// only what the stub does; calls by way of the vsyscall page raise SIGSYS.
//
// No process is left behind: each has PDEATHSIG, tied to the thread that called
// NewFactory, and looks whether its parent is still that caller afterwards.
//
// Locks: Factory.mu and then Process.mu; both are held across an order, which
// is bounded by what the caller asks for.
package blank
