//go:build !race

package sandbox

import (
	"syscall"

	"gosentry/sentry/sandbox/seccomp"
)

// raceDetector says whether this program looks for its own data races, as only tests do: its lock is worth nothing then.
const raceDetector = false

func detectorCalls() []seccomp.Rule { return nil }

func detectorEnv() []string { return nil }

func reportTo(int) {}

// everyThread makes a system call on every thread of the process.
//
//go:uintptrescapes
func everyThread(number, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(number, a1, a2, a3)
	return nonzero(errno)
}
