package sandbox

import (
	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// memoryCalls are what mm needs for the memory file and for mapped host files.
func memoryCalls() []seccomp.Rule {
	return seccomp.Allow(
		unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_FALLOCATE, unix.SYS_FTRUNCATE, unix.SYS_MINCORE, unix.SYS_FSTAT,
	)
}

// fileCalls are what fs/host needs for the caller's streams and for directories that are only read.
// Every call with a path has a descriptor beside it, and the process's own root is empty.
func fileCalls() []seccomp.Rule {
	rules := seccomp.Allow(
		unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2,
		unix.SYS_OPENAT2, unix.SYS_STATX, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_LSEEK, unix.SYS_FSTATFS,
		unix.SYS_FGETXATTR, unix.SYS_FLISTXATTR, unix.SYS_PPOLL, unix.SYS_POLL, unix.SYS_EPOLL_WAIT,
		// The caller's streams may be regular files.
		unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	)
	return append(rules,
		seccomp.OneOf(unix.SYS_IOCTL, 1,
			unix.TCGETS, unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCGETS2, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2,
			unix.TIOCGWINSZ, unix.TIOCSWINSZ, unix.TIOCINQ, unix.TIOCOUTQ, unix.TCFLSH, unix.TCXONC, unix.TCSBRK),
	)
}

// changeCalls are what fs/host needs besides for directories that the guest may change.
func changeCalls() []seccomp.Rule {
	return seccomp.Allow(
		unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2,
		unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
		unix.SYS_FSETXATTR, unix.SYS_FREMOVEXATTR,
	)
}

// hostCalls are the host calls of a sandbox's kernel on a platform, those made most often first.
func (in *Inside) hostCalls(platform []seccomp.Rule) []seccomp.Rule {
	rules := append(append(platform, memoryCalls()...), fileCalls()...)
	for _, d := range in.Binds {
		if d.Writable {
			return append(rules, changeCalls()...)
		}
	}
	return rules
}
