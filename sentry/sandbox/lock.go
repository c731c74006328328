package sandbox

import (
	"os"
	"slices"

	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// threadFlags are those with which Go's runtime makes a thread; any other clone is
// a process or a namespace.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD | unix.CLONE_SETTLS

// runtimeCalls are the host calls of Go's runtime, of its poller, and of the outer process's socket and
// the log. They work on memory, threads and open descriptors; none names a path
// or makes a descriptor.
func runtimeCalls() []seccomp.Rule {
	rules := seccomp.Allow(
		unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK,
		unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_MUNMAP, unix.SYS_MADVISE,
		unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_CLOSE, unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGACTION,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL, unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM, unix.SYS_EPOLL_CTL,
	)
	return append(rules,
		seccomp.When(unix.SYS_MMAP, seccomp.Without(2, unix.PROT_EXEC)),
		seccomp.When(unix.SYS_MPROTECT, seccomp.Without(2, unix.PROT_EXEC)),
		seccomp.When(unix.SYS_CLONE, seccomp.Equal(0, threadFlags)),
		seccomp.When(unix.SYS_TGKILL, seccomp.Equal(0, uint32(os.Getpid()))),
		seccomp.OneOf(unix.SYS_FCNTL, 1, unix.F_GETFL, unix.F_GETFD),
		// Names of the runtime's mappings.
		seccomp.OneOf(unix.SYS_PRCTL, 0, unix.PR_SET_VMA),
	)
}

// lock puts the filter on all threads: Go's runtime and what the guest's kernel says it needs. With
// debug set, a forbidden call ends the sandbox with a stack trace instead of at once.
func lock(guest []seccomp.Rule, debug bool) error {
	deny := seccomp.Kill
	if debug {
		deny = seccomp.Trap
	}
	prog, err := seccomp.Assemble(slices.Concat(guest, runtimeCalls(), detectorCalls()), deny)
	if err != nil {
		return &Failure{What: "cannot make the seccomp filter", Cause: err}
	}
	if err := seccomp.Load(prog); err != nil {
		return &Failure{What: "cannot put on the seccomp filter", Cause: err,
			Way: "the host's kernel must have CONFIG_SECCOMP_FILTER and Linux 4.14 or later"}
	}
	return nil
}
