// Package control is the socket through which commands reach a running sandbox.
//
// A container's sandbox has no process that stays beside it: whoever wants something of
// it connects to the socket in the container's state directory. The listening
// descriptor was handed to the sandbox when it was made; the sandbox itself never sees
// a path.
//
// A connection carries one request and its answers, each a line of JSON behind a
// length. A request may bring descriptors (SCM_RIGHTS), which arrive with its
// length. The side that answers bounds what it reads, the number of connections
// that it serves at once and the time that one may take to state its request: who may
// connect is for the directory's permissions to say, but a caller that hangs must
// not cost the sandbox more than one connection. Those that wait for the end of a program or a container have a bound of their
// own, beyond which they are refused, so that others are answered however many wait; one that goes is not waited for.
//
// A sandbox can have several containers: the one that it was made for, whose socket this is, and others that were
// added to it (OpCreate). Each request names the one that it is about.
//
// Exec and Create are the requests with two answers: that it was done, and later how the program ended. The end of the
// connection before that means nothing to a program of Exec, and is the end of a container that was added: the
// process that holds the connection stands for the container on the host.
//
// There are no locks.
package control
