package kernel

import "golang.org/x/sys/unix"

// Errors of an interrupted call; none of them reaches the guest. Numbers are
// those by which Linux's signal(7) behaviour is usually described.
const (
	// ERESTARTSYS: restart if no handler runs or the handler has SA_RESTART, else EINTR.
	ERESTARTSYS = unix.Errno(512)
	// ERESTARTNOINTR: always restart.
	ERESTARTNOINTR = unix.Errno(513)
	// ERESTARTNOHAND: restart only if no handler runs.
	ERESTARTNOHAND = unix.Errno(514)
	// ERESTARTBLOCK: as ERESTARTNOHAND, going on with Task.restart.
	ERESTARTBLOCK = unix.Errno(516)
)

// IsRestart tells whether err is one of the above.
func IsRestart(err error) bool {
	switch err {
	case ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTARTBLOCK:
		return true
	}
	return false
}
