package systrap

import (
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// process is a blank process with its guest threads, each of which is a process for the host.
type process = pool.Process[*seat]

// addressSpace is a guest address space, and what is patched in it.
type addressSpace struct {
	*pool.Space[*seat]
	p    *Platform
	text *patch.Text
}

// clean makes proc as good as new. A guest can have its threads run on while the sentry takes them for stopped; what has ended
// runs no more.
func clean(proc *process) error {
	seats := proc.Idle()
	for _, s := range seats {
		unix.Kill(s.TID, unix.SIGKILL)
	}
	calls := [3]blank.Call{
		blank.UnmapCall(0, userHigh), blank.UnmapCall(areasAt, maxSeats*areaSize), blank.UnmapCall(trampolinesAt, patch.TrampolinesSize),
	}
	err := proc.Do(calls[:])
	for _, s := range seats {
		s.end()
	}
	if err != nil {
		return err
	}
	for _, c := range calls {
		if c.Errno != 0 {
			return c.Errno
		}
	}
	return nil
}
