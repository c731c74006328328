package kvm

import (
	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"

	"golang.org/x/sys/unix"
)

// Syscalls returns the host system calls that the platform makes after New, besides those of
// the Go runtime (futex, mmap and munmap without PROT_EXEC, madvise, close, signals to its own threads), those
// made most often first.
func Syscalls() []platform.HostCall {
	return []platform.HostCall{
		{Number: unix.SYS_IOCTL, Arg: 1, Values: kvmapi.Requests()},
		{Number: unix.SYS_GETTID},
		{Number: unix.SYS_GETPID},
		{Number: unix.SYS_GETCPU},
		{Number: unix.SYS_SCHED_SETAFFINITY},
		{Number: unix.SYS_MADVISE},
		{Number: unix.SYS_FSTAT},
		{Number: unix.SYS_FCNTL, Arg: 1, Values: []uint32{unix.F_GETFL}},
		{Number: unix.SYS_MUNMAP},
		{Number: unix.SYS_CLOSE},
	}
}
