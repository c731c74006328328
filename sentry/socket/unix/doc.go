// Package unix is sockets of family AF_UNIX, as of unix(7): streams, datagrams and
// sequenced packets, in pairs or by names in the file system and in the abstract
// namespace, with descriptors and credentials as part of messages.
//
// # How it works
//
// A Socket is a queue of messages that others have sent to it. Who sends pays: a message is
// counted in its sender's buffer (SO_SNDBUF), by what it costs to keep it, until the
// receiver has taken it, and then the sender is told of the room. A datagram socket that many
// send to has a bound of its own on how many messages wait, and so has a socket that listens
// on how many connections wait; who finds either full waits on the
// socket's room queue. All message bytes of a Namespace together are bounded too.
//
// connect(2) on a stream makes the other end at once, without a file; it waits in the
// listener's list until accept(2) gives it one. A socket bound in the file
// system is found through the state of the inode that bind(2) made
// (vfs.InodeState), so it goes by whatever name that inode has; the node stays when the socket is
// closed.
//
// # Descriptors in flight
//
// Files sent with a message (SCM_RIGHTS) keep a reference while they wait in a queue.
// Sockets that wait in each other's queues and have no other reference would stay for ever. So
// the Namespace counts how often each socket is in flight, and when sockets are closed looks for
// those with no other references that no reachable queue holds (see flight.garbage): what
// waits in their queues is thrown away, and then they close by themselves. How many descriptors are
// in flight is bounded, for a user by RLIMIT_NOFILE and for all together.
//
// A file is released with no lock held, and never from within the release of another: what a closing
// socket still held goes to a list that one goroutine works off, so that sockets within sockets within sockets
// do not use up the stack.
//
// # Lock order, outermost first
//
//	Socket.bindMu     held while a name is made, for all that vfs and the file system do
//	Socket.readMu     held by readers of one socket, for a whole call with its copy to the guest
//	flight.mu         descriptors in flight; files in messages
//	Socket.mu         a listening socket before one that does not listen; no other two together
//	Namespace.mu, inode.mu, trash.mu, buffers.mu, socket.Options and waiter queues,
//	innermost; a room queue before the queue of a socket
//
// A writer copies the guest's bytes before it takes a lock.
package unix
