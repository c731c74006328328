// Package inherited remembers what the process got from its parent before Go's
// standard library changed it: package syscall raises the soft limit of open files
// when it is initialized. This package is initialized earlier, since it imports
// nothing and Go initializes the packages that are ready in the order of their import paths; so it makes the
// system call itself.
package inherited

// openFiles is RLIMIT_NOFILE at the start of the process.
var openFiles = read()

// fallback is what Linux gives where nobody chose.
const fallback = 1024

type rlimit struct{ soft, hard uint64 }

func read() rlimit {
	var l rlimit
	if getOpenFiles(&l) != 0 {
		return rlimit{fallback, fallback}
	}
	return l
}

// getOpenFiles is getrlimit(2) of RLIMIT_NOFILE; the result is 0, or less on failure.
//
//go:noescape
func getOpenFiles(l *rlimit) int64

// OpenFiles returns the soft and the hard limit of open files (RLIMIT_NOFILE).
func OpenFiles() (soft, hard uint64) { return openFiles.soft, openFiles.hard }
