// Package cgroup is the file system "cgroup2" (cgroups(7)): a tree of groups of
// processes that belongs to the sandbox alone, with two controllers, pids and memory.
//
// The tree is here: groups, their counts and limits, the rules of who may go where, and
// the files. Tasks are the kernel's: it keeps which group a process is in, calls Admit, Leave
// and Uncharge as tasks come and go, and does what takes tasks to do (interface Tasks).
//
// Counts of a group are of its whole subtree, so each change walks to the root; the depth of
// the tree and the number of groups are bounded. A group that was removed stays as an object as long as
// zombies are charged to it: nothing can be put into it, and its files say ENODEV.
//
// Memory is charged by the memory file itself, in parts of parts: a group with the controller has one, made of its parent's, and the kernel
// says for each process which part pays for what it allocates from now on. The groups of the sandbox and of its containers have parts from
// outside, with limits that the guest can see and not change.
//
// All threads of a process are in one group: threaded groups are not built. A group with tasks
// and controllers for its children is a "domain threaded" one as on Linux, and its children take no tasks.
//
// Tree.mu guards everything that changes. It is taken with the kernel's tree lock
// held, or with none, and nothing is called with it held but waiter's queues and the memory file.
package cgroup
