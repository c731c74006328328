// Package kernel holds the guest's processes: tasks, thread groups, process
// groups, sessions, pid namespaces, signals, and what creates and ends them.
//
// A Task is one guest thread and one goroutine. The goroutine runs a plain loop:
// it lets the platform run guest code until an Event, has the personality answer
// a system call or mm a fault, and before it goes back into the guest it does
// the work that others have asked of it (signals, stops, death). Whoever wants
// something of a task sets data under the signal lock and calls
// Task.interrupt: the guest code, or the blocked call, ends soon and the
// task looks. A blocked call never keeps anything on its goroutine's stack that
// it needs to go on: it fails with one of the ERESTART errors, and what the
// restart needs is in Task.restart.
//
// Processor time is charged when a task changes between guest code, the kernel's
// work and waiting, and also by anyone who wants to know it now (cputime.go). A
// task that only computes changes nothing, so a timer of the host looks at the
// clocks of its process when an alarm may be due; without alarms there is none.
//
// A traced thread (ptrace(2)) stops at the edge of user mode or of a call: it
// says so under its sigMu and waits on its wake channel, with nothing held. Until its
// tracer wakes it, or it is killed, the tracer may change its registers under the
// same lock. What watches calls and single steps is a bit in Task.hooks, the only
// thing that others pay for.
//
// A process of the kernel's own (kproc.go) runs a function on its task's goroutine in place of that loop, and has nothing that guest code
// could run in. Init, process 1, is one: the end of the sandbox is init's, which takes its pid namespace along as every init does.
// A program from outside waits on its goroutine until it is started, so that whoever kills it needs to know nothing of that.
//
// A fork tells ForkHooks of its child once that is visible and before it runs, with no lock held; the
// event stream (events.go) and contracts are such hooks. Ends of tasks are recorded
// with the tree locked, so that a parent that learns of one finds it in the stream.
//
// Which cgroup a process is in is the kernel's to know (cgroup.go), guarded by Kernel.tree; limits and
// counts are package cgroup's. A fork takes its place in a group early, and its commit moves the place along
// when the parent was moved meanwhile.
//
// The field groups of a Task say who may touch them: the task's own goroutine,
// or holders of a lock.
//
// Lock order, outermost first:
//
//	Kernel.tree              pids, parents and children, process groups, sessions
//	ThreadGroup.sigMu        pending signals, stops, the group's exit
//	signal.Handlers          signal actions
//	FDTable.mu, FSContext.mu
//	locks of mm, vfs, cgroup, ktime and futex
//	cpuWatch.mu              whose processor time counts; taken by clocks
//
// No lock is held while guest code runs, while a guest copy may fault, or while
// a call blocks.
package kernel
