//go:build race

package sandbox

import (
	"os"

	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// raceDetector says that this program looks for its own data races, as one does that was built with -race. The detector
// comes with a C library and threads that Go does not know of, so the lock holds such a program only in part: it
// is for the sentry's tests, and says so whenever it starts.
const raceDetector = true

// detectorCalls are the host calls that the detector and the C library make beside Go's runtime. The library's allocator looks
// for a file that counts processors and does without.
func detectorCalls() []seccomp.Rule {
	return seccomp.Allow(
		unix.SYS_CLONE3, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_BRK, unix.SYS_MREMAP, unix.SYS_OPENAT,
	)
}

// detectorEnv has the inner process's detector do as it is told here, but for where it reports to: no path leads
// to a file there.
func detectorEnv() []string { return []string{"GORACE=" + os.Getenv("GORACE") + " log_path=stderr"} }

// reportTo has the detector's reports go where the log does: nobody reads the runtime's words of a sandbox that goes on.
func reportTo(log int) {
	if log >= 0 {
		unix.Dup3(log, 2, 0) //nolint:errcheck // both are descriptors
	}
}

// everyThread makes a system call on the calling thread alone, from which the platform forks its template: where there
// is a C library, Go has no way to the other threads, so those keep what privileges they have in the sandbox's namespaces.
//
//go:uintptrescapes
func everyThread(number, a1, a2, a3 uintptr) error {
	_, _, errno := unix.RawSyscall(number, a1, a2, a3)
	return nonzero(errno)
}
