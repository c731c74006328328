// Package socket is what all families of sockets have in common: the interface
// through which calls reach them, messages, and the options of level SOL_SOCKET.
//
// A Socket is the FileOps of its file. Like every file's its methods never
// wait: where nothing can be done yet they return EAGAIN, and package syscalls
// waits, on the socket itself or on the queue that the answer names, and tries again. So a
// call that a signal ends has left nothing behind in the socket.
//
// Addresses are struct sockaddr as programs know them, family first, of the length that
// the program gave; each family checks its own.
//
// Options has one lock, innermost: nothing is called with it held.
package socket
