package ptrace

import (
	"slices"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// maxTracees is how many tracees a process may have to be used again.
const maxTracees = 5

// process is a blank process with its tracees.
type process = pool.Process[*tracee]

// addressSpace is a guest address space.
type addressSpace = pool.Space[*tracee]

// tracee is a traced thread of a blank process, or one that can be. It belongs to the context that
// holds it, or is idle.
type tracee struct {
	pairs.Guest
	proc  *process
	owner *tracer // the OS thread that traces it; nil if none does yet
	last  uint64  // id of the context whose extended state it holds, if that has it as home
}

// Kick implements pool.Seat.
func (t *tracee) Kick() { unix.Tgkill(t.proc.PID(), t.TID, kickSignal) }

// spawn makes one more thread of proc.
func spawn(proc *process) (*tracee, error) {
	tid, err := proc.SpawnThread()
	if err != nil {
		return nil, err
	}
	return &tracee{Guest: pairs.NewGuest(tid, proc.LeaderCPU()), proc: proc}, nil
}

// clean unmaps what is the guest's, and sees to it that there is a thread for an OS thread that has none there. A process with many
// tracees is not used again: each is a host thread, and most serve OS threads that will not come back.
func clean(proc *process) (pool.Cleaning, error) {
	seats := proc.Idle()
	proc.Keep(seats...)
	if len(seats) > maxTracees {
		return pool.Cleaning{}, unix.E2BIG
	}
	done := func() error {
		if slices.ContainsFunc(seats, func(t *tracee) bool { return t.owner == nil }) {
			return nil
		}
		t, err := spawn(proc)
		if err == nil {
			proc.Keep(t)
		}
		return err
	}
	return pool.Cleaning{All: []blank.Call{blank.UnmapCall(0, blank.High)}, Done: done}, nil
}

// attach has the calling OS thread trace t.
func (t *tracee) attach(tr *tracer) error {
	if errno := seize(t.TID); errno != 0 {
		return errno
	}
	for {
		ws, err := wait(t.TID)
		if err != nil {
			return err
		}
		if !ws.Stopped() {
			return blank.ErrDead
		}
		if ws>>16 == unix.PTRACE_EVENT_STOP {
			t.owner = tr
			return nil
		}
		if errno := ptrace(unix.PTRACE_CONT, t.TID, 0, nil); errno != 0 {
			return errno
		}
	}
}

// wait waits for tid to stop or end. The Go scheduler knows of it.
func wait(tid int) (unix.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(tid, &ws, unix.WALL, nil)
		if err != unix.EINTR {
			return ws, err
		}
	}
}
