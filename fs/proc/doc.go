// Package proc is the file system at /proc (proc(5)).
//
// It declares what it needs of the kernel, Processes and Task, in plain data; the
// kernel implements them. One instance shows one pid namespace, so numbers do not
// depend on who reads and names can be cached.
//
// Directories of threads are made when they are looked up, from tables of
// entries (tables.go), and so are the files in them. A cached name is good as
// long as its thread exists. A file's content is generated when it is read from
// the start; a read further on goes on with the same content. What a file of a
// thread that is gone says is ESRCH.
//
// Looking into a process (maps, environ, fd and so on) takes what ptrace(2)
// would; Task.MayAccess decides, at open and at each use of a link. What shows memory shows that of the program that ran
// at open, and nothing once that has ended.
//
// The package holds no lock of its own while it calls the kernel, mm or vfs, so it is
// free of lock order.
package proc
