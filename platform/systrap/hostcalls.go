package systrap

import (
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Syscalls returns the host system calls that the platform makes after New,
// besides those of the Go runtime (futex, mmap and munmap without PROT_EXEC, close, clone of a
// thread, timers), those made most often first. Their targets are the platform's own processes.
func Syscalls() []platform.HostCall {
	return []platform.HostCall{
		{Number: unix.SYS_FUTEX},
		{Number: unix.SYS_TGKILL, Arg: 2, Values: []uint32{uint32(kickSignal)}},
		{Number: unix.SYS_LSEEK, Arg: 2, Values: []uint32{unix.SEEK_CUR}},
		{Number: unix.SYS_WAITID},
		{Number: unix.SYS_WAIT4, Arg: 2, Values: []uint32{unix.WALL}},
		{Number: unix.SYS_KILL, Arg: 1, Values: []uint32{uint32(unix.SIGKILL), uint32(unix.SIGSTOP), uint32(unix.SIGCONT)}},
		{Number: unix.SYS_RT_TGSIGQUEUEINFO, Arg: 2, Values: []uint32{uint32(summonsSignal)}},
		{Number: unix.SYS_CLOCK_GETTIME},
		{Number: unix.SYS_PREAD64},
		{Number: unix.SYS_FSTAT},
		{Number: unix.SYS_FCNTL, Arg: 1, Values: []uint32{unix.F_GETFL, unix.F_DUPFD_CLOEXEC}},
		{Number: unix.SYS_GETTID},
		{Number: unix.SYS_GETCPU},
		{Number: unix.SYS_SCHED_SETAFFINITY},
		{Number: unix.SYS_SCHED_SETATTR},
		{Number: unix.SYS_SCHED_GETATTR},
		{Number: unix.SYS_MUNMAP},
		{Number: unix.SYS_CLOSE},
	}
}
