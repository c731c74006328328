package sandbox

import (
	"fmt"
	"os"
	"strings"

	"gosentry/mm"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// What the sentry itself needs of what its caller may limit; guests have limits of their own, which the kernel inside keeps.
const (
	// ownSpace is the address space for all but the guests' memory, most of it reserved by Go's runtime and never used, in bytes.
	ownSpace = 2 << 30
	// ownMemory is what is written to of that, at the most.
	ownMemory = 1 << 30
	// leastRoom is the least memory for guests that is worth a start, in bytes.
	leastRoom = 32 << 20
	// leastFiles are the descriptors for a small program, enoughFiles those for a large one; and so for threads.
	leastFiles, enoughFiles = 64, 1024
	// leastSignals are those pending of this user, of which Go's runtime needs a few for its threads: without it waits for ever.
	leastSignals, enoughSignals = 32, 128
)

// makeRoom raises limits of this process, which the sandbox's inherits, where they are too low for a sandbox and the
// caller may raise them (CAP_SYS_RESOURCE). An error says which it cannot do with.
func makeRoom(spec Spec) error {
	for resource, need := range map[int]uint64{
		unix.RLIMIT_FSIZE: 2 * physicalMemory(), unix.RLIMIT_AS: 2*physicalMemory() + ownSpace, unix.RLIMIT_DATA: ownMemory,
		unix.RLIMIT_NPROC: enoughFiles, unix.RLIMIT_NOFILE: enoughFiles, int(limits.SigPending): enoughSignals,
	} {
		raiseLimit(resource, need)
	}
	least := uint64(leastFiles + len(spec.Binds))
	if have := hardLimit(unix.RLIMIT_NOFILE); have < least {
		return lowLimit("open files", "RLIMIT_NOFILE", have, least, "ulimit -n")
	}
	if have := hardLimit(int(limits.SigPending)); have < leastSignals {
		return lowLimit("pending signals", "RLIMIT_SIGPENDING", have, leastSignals, "ulimit -i")
	}
	_, err := guestRoom()
	return err
}

// raiseLimit raises a limit that is below need, as far as the caller may.
func raiseLimit(resource int, need uint64) {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil || l.Cur >= need {
		return
	}
	if l.Max < need && unix.Setrlimit(resource, &unix.Rlimit{Cur: need, Max: need}) == nil {
		return
	}
	l.Cur = l.Max
	unix.Setrlimit(resource, &l) //nolint:errcheck // it stays as it is
}

// guestRoom is how much memory guests may have where nobody limits them, in bytes: what the machine has, or as much as the limits of this
// process let a file be and be mapped. The memory file is larger than that, by a factor of two here.
func guestRoom() (uint64, error) {
	room := physicalMemory()
	for _, r := range []struct {
		resource   int
		own        uint64
		name, flag string
		what       string
	}{
		{unix.RLIMIT_FSIZE, 0, "RLIMIT_FSIZE", "ulimit -f", "the size of files"}, {unix.RLIMIT_AS, ownSpace, "RLIMIT_AS", "ulimit -v", "address space"},
	} {
		have := hardLimit(r.resource)
		if have < r.own+2*leastRoom {
			return 0, lowLimit(r.what, r.name, have, r.own+2*leastRoom, r.flag)
		}
		room = min(room, (have-r.own)/2&^(mm.PageSize-1))
	}
	return room, nil
}

// physicalMemory is how much memory the machine has, in bytes, or a little where that is not told.
func physicalMemory() uint64 {
	const least = 1 << 30
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return least
	}
	return max(least, uint64(info.Totalram)*uint64(info.Unit)) &^ (mm.PageSize - 1)
}

// hardLimit is a resource's, as much as there is where the host does not tell.
func hardLimit(resource int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil {
		return unix.RLIM_INFINITY
	}
	return l.Max
}

func lowLimit(what, name string, have, need uint64, flag string) error {
	return &Failure{
		What: fmt.Sprintf("the hard limit of %s (%s) is %d, and a sandbox needs %d", what, name, have, need),
		Way:  "raise it where it is set, " + flag + " shows it, or start sentry with CAP_SYS_RESOURCE",
	}
}

// wayToThreads is the way out where the host makes no more threads or processes.
const wayToThreads = "the host allows this user or its control group no more threads: raise RLIMIT_NPROC, ulimit -u, or pids.max"

// wayToRoom tells from the first line of what Go's runtime said at its end which limit it has met; "" for none.
func wayToRoom(line string) string {
	switch {
	case strings.Contains(line, "failed to create new OS thread"):
		return wayToThreads
	case strings.Contains(line, "out of memory"), strings.Contains(line, "cannot allocate memory"):
		return "the host gives no more memory: raise RLIMIT_AS, ulimit -v, RLIMIT_DATA, ulimit -d, or the control group's limit"
	}
	return ""
}

// wayToOwnID tells root without capabilities why it cannot be in a user namespace.
func wayToOwnID() string {
	if os.Getuid() == 0 && !hasCapabilities(unix.CAP_SETFCAP) {
		return "root must have the capability CAP_SETFCAP to be mapped into a user namespace: keep it, or run as another user"
	}
	return ""
}
