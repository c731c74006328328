package sandbox

import (
	"os"
	"strconv"
	"strings"

	"gosentry/sentry/control"
	"gosentry/sentry/kernel"
	"gosentry/sentry/oci"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// scheduled are the traits of a program whose configuration says how it is scheduled, and little else.
func scheduled(s control.Schedule, oomScoreAdj int32) kernel.Traits {
	return kernel.Traits{
		Scheduling: kernel.Scheduling{Policy: s.Policy, Priority: s.Priority},
		Nice:       s.Nice, IOPriority: s.IOPriority, OOMScoreAdj: oomScoreAdj,
	}
}

// ofProcessors are those of a set that there are, of n; nil where that is all of them, or none.
func ofProcessors(set []uint64, n int) []uint64 {
	const word = 64
	out, count := make([]uint64, (n+word-1)/word), 0
	for i := range n {
		if i/word < len(set) && set[i/word]&(1<<(i%word)) != 0 {
			out[i/word] |= 1 << (i % word)
			count++
		}
	}
	if count == 0 || count == n {
		return nil
	}
	return out
}

// inheritedTraits are what a program would have that this process executed instead of running it in a sandbox, as far as Go's
// runtime leaves it to be seen: of ignored signals those are known that it does not handle itself, SIGHUP and SIGINT among
// them, of blocked ones those that it can do without. It must be called before signals are caught.
func inheritedTraits() kernel.Traits {
	out := scheduled(oci.InheritedSchedule(), oci.InheritedOOMScoreAdj())
	const query = 0xffffffff
	if persona, _, errno := unix.Syscall(unix.SYS_PERSONALITY, query, 0, 0); errno == 0 {
		out.Persona = uint32(persona)
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		out.TimerSlack = uint64(slack)
	}
	off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	out.THPDisabled = err == nil && off == 1
	noNew, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	out.NoNewPrivs = err == nil && noNew == 1
	if text, err := os.ReadFile("/proc/self/coredump_filter"); err == nil {
		filter := uint32(hexadecimal(string(text)))
		out.CoreFilter = &filter
	}
	if text, err := os.ReadFile("/proc/self/status"); err == nil {
		out.Blocked, out.Ignored = signalSets(string(text))
	}
	return out
}

// signalSets finds the blocked and the ignored signals in the status of a process (proc_pid_status(5)).
func signalSets(status string) (blocked, ignored signal.Set) {
	for line := range strings.Lines(status) {
		if set, ok := strings.CutPrefix(line, "SigBlk:"); ok {
			blocked = signal.Set(hexadecimal(set))
		} else if set, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			ignored = signal.Set(hexadecimal(set))
		}
	}
	return blocked, ignored
}

// hexadecimal reads a number as /proc writes it; 0 for what is none.
func hexadecimal(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
	return n
}
