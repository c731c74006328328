package sandbox

import (
	"golang.org/x/sys/unix"
)

// lastCapability is the highest that any kernel has; dropping one that does not exist is refused with EINVAL.
const lastCapability = 63

// secureBits take from user 0 what execve and setuid would give it, for good.
const secureBits = 1<<0 | 1<<1 | // SECBIT_NOROOT, locked
	1<<2 | 1<<3 | // SECBIT_NO_SETUID_FIXUP, locked
	1<<5 | // SECBIT_KEEP_CAPS locked, off
	1<<6 | 1<<7 // SECBIT_NO_CAP_AMBIENT_RAISE, locked

// fileCapabilities are those over files of others, as a mask: to give them away, to pass by their modes, to change what only owners may, and to
// leave set-id bits to the kernel inside.
const fileCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// dropPrivileges takes every capability but those of the mask from every thread, and new privileges
// from the calling one and those that it makes; the lock hands that on to the rest.
//
// What is kept counts in the user namespace of the sandbox alone, and the platform's template gives it up.
//
// The bounding set matters to execve alone. It is emptied on the calling thread, from
// which the platform forks its template; on the others, where each call
// would cost a stop of all threads, the secure bits do the same work.
func dropPrivileges(keep uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &Failure{What: "cannot give up new privileges", Cause: err}
	}
	for c := uintptr(0); c <= lastCapability; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break
		} else if err != nil {
			return &Failure{What: "cannot empty the capability bounding set", Cause: err}
		}
	}
	if err := prctlAllThreads(unix.PR_SET_SECUREBITS, secureBits); err != nil {
		return &Failure{What: "cannot set the secure bits", Cause: err}
	}
	if err := keepCapabilitiesAllThreads(keep); err != nil {
		return &Failure{What: "cannot drop capabilities", Cause: err}
	}
	if err := widenLimits(); err != nil {
		return &Failure{What: "cannot set resource limits", Cause: err}
	}
	// The memory of a sentry that failed is not for the host's core files.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return &Failure{What: "cannot set the limit of core files", Cause: err}
	}
	return nil
}

// dieWithParent asks for the parent-death signal again: execve into user 0 of a new namespace
// leaves it, other changes of ids clear it.
func dieWithParent() error {
	return wrap("cannot set the parent-death signal", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0))
}

// widenLimits raises the soft limits that would count the guest's doings as the
// sentry's own: its memory file would be cut at the size limit of files.
func widenLimits() error {
	for _, resource := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_NPROC} {
		var l unix.Rlimit
		if err := unix.Getrlimit(resource, &l); err != nil {
			return err
		}
		l.Cur = l.Max
		if err := unix.Setrlimit(resource, &l); err != nil {
			return err
		}
	}
	return nil
}

// wrap makes a Failure of an error that may be nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return &Failure{What: what, Cause: err}
}
