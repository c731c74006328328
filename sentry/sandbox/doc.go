// Package sandbox is the process shape: it puts a kernel together in a process
// that may do almost nothing, and stands between it and the caller.
//
// # Two processes
//
// Run, in the outer process, opens what the sandbox may have: the root and the bound
// directories, the standard streams, the log, the trace. Then it executes its own
// program once more into new user, mount, pid, network, ipc, uts and cgroup
// namespaces, as pid 1 there. Main of the program (or TestMain of a test) sees
// IsInner and calls Inner, which never returns. The two talk over one socket, lines of JSON
// both ways: the config, then signals, go in; one report comes out. What
// Go's runtime prints when the inner process fails arrives on a pipe that is the
// inner process's standard error; it goes to the log, and the caller sees one plain line.
//
// # Directories
//
// Where the outer process may (CAP_SYS_ADMIN), it clones the mount tree under each
// directory, detached, and makes the clone nosuid, nodev and, unless the directory
// was given as writable, read-only: no later mistake in the sentry can undo that,
// since the clone belongs to the outer user namespace. Else the inner process does the
// same by path in its own mount namespace. Where the host has no such calls, a plain
// descriptor of the directory is used, and read-only rests on fs/host alone. What these trees have of the host's kernel and its devices
// (/proc, /sys, /dev and their like) fs/host hides; a directory that is one of those is refused.
//
// # Ids
//
// A caller who may set ids (CAP_SETUID, CAP_SETGID, CAP_SETFCAP) gets every id that it has
// mapped as itself, so that owners show right. Any other caller gets its own user and group mapped
// as themselves; everybody else's files show as 65534.
//
// # Limits of the caller's
//
// The guest has the caller's resource limits, which the kernel inside keeps. Where they are too low for the sentry itself the outer process raises its
// own if it may (CAP_SYS_RESOURCE); else the guest gets as much memory as a file may be large and be mapped, and what cannot do at all is
// an error that names the limit.
//
// # The way to the lock
//
// In this order, and each step's error ends the sandbox with a line that names it:
// config, directories, empty root (with Spec.Persist the container's root and directories are mounted on top of it, for those to see who enter
// the mount namespace), no capabilities (but those over files, where Spec.Persist asks for them) and no_new_privs, the boot function
// (platform with its template process, kernel, standard streams), the seccomp filter on all
// threads, and only then Guest.Start, which is the first to look at anything that the guest controls.
//
// # The end
//
// When the outer process ends in any way, its end of the socket closes and the parent-death
// signal comes: either ends the inner process, which as pid 1 takes everything with it.
// When the inner process is killed, the outer one sees the socket close without a report
// and says so. Exit status: the guest's; 128+n when signal n ended it, or the sandbox;
// 126 and 127 as shells have them; Failed (125) when the sandbox itself could not go on.
//
// There are no locks: the outer process has one goroutine for signals, one for the pipe, and the caller's;
// the inner one has one that reads the socket.
package sandbox
