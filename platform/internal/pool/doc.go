// Package pool keeps address spaces in blank processes, and gives contexts the guest threads of those.
//
// A Space is an address space. Its blank process is a cache of it: a Pool has a bounded number of them, and a space beyond
// the bound takes the process of the one that was left longest ago, which faults everything in again later. Emptied processes are
// kept in store, so that most spaces begin in one that is there already; when there are few, more are made in advance. A process in which
// not much was mapped is not emptied at once: the next space takes it as it is, and its leader unmaps what was there by the order that maps what is to be. What
// is mapped as it is to be stays, so that most of the children that a program forks one after another need no order at all, and fault less; for that a process has
// on record what the space had mapped that has left it, and where that may not be all everything is unmapped. If none comes soon it is emptied and stored.
//
// What a platform brings is its Seat: a guest thread as it knows it, and in a Config how to make one and how to make a process
// as good as new. A context is a Runner. Between Begin and Finish it runs guest code in its seat, and it keeps the seat until it
// gives it back. A process is given away or killed when no context holds a seat of it.
//
// Changes to a space queue up as long as no context runs guest code in it, but for what is said below; the next Begin has the process's leader carry
// them out (package blank). While contexts run there Apply does so itself.
//
// To unmap all of a space that has much mapped is dear, since the host does it page by page. So the space gives its process up
// and goes on in another one, in a time that does not grow, while the old one is taken down when little else is to be done.
//
// It may also set the process aside, and go back to it as long as that is kept (platform.Keeper): what is mapped there may be another's meanwhile, so it
// is brought up to date first, and no seat of it runs before.
//
// A guest may have a seat run on that has reported to be stopped, if the platform says so by Config.Halt. Memory that a space gives up may be
// another's at once. So there nothing is left to the next Begin that takes something away, and the seats of a process that its space is done with
// are halted first.
//
// Locks: Space.mu, Pool.mu, Process.mu; then those of package blank. None is held while guest code runs.
package pool
