// Package netlink is sockets of family AF_NETLINK as far as the C library needs them to be told of POSIX message queues: with SIGEV_THREAD,
// mq_notify(3) hands the kernel a socket and a cookie, and a thread of the library's waits until the kernel sends the cookie back by it.
//
// There is no network to ask about, so a socket only receives: it has no address, and what programs would bind it for or send is
// EOPNOTSUPP, which libraries take for a kernel without networks. Room for a notification is reserved when it is asked for, and so a
// notification never fails. What waits and what is reserved is bounded for each socket and, in bytes, for each network namespace.
//
// Lock order: a socket's lock is innermost but for that of its queue.
package netlink
