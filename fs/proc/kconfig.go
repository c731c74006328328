package proc

import (
	"bytes"
	"compress/gzip"
	"strings"
)

// options are the build options of Linux whose features this kernel has; a program that
// looks for one of them finds what it stands for.
var options = []string{
	"64BIT", "X86_64", "MMU", "SMP", "PRINTK", "PROC_FS", "PROC_SYSCTL", "PROC_PAGE_MONITOR", "PROC_CHILDREN", "SYSCTL", "SYSFS", "TMPFS", "TMPFS_XATTR",
	"TMPFS_POSIX_ACL", "SHMEM", "OVERLAY_FS", "MULTIUSER", "BINFMT_ELF", "BINFMT_SCRIPT", "COREDUMP", "ELF_CORE",
	"NAMESPACES", "UTS_NS", "TIME_NS", "IPC_NS", "USER_NS", "PID_NS", "NET_NS", "CGROUPS", "CGROUP_PIDS",
	"CHECKPOINT_RESTORE", "SECCOMP", "SECCOMP_FILTER", "SYSVIPC", "SYSVIPC_SYSCTL", "POSIX_MQUEUE", "POSIX_MQUEUE_SYSCTL",
	"FUTEX", "FUTEX_PI", "EPOLL", "SIGNALFD", "TIMERFD", "EVENTFD", "MEMFD_CREATE", "MEMBARRIER", "ADVISE_SYSCALLS", "POSIX_TIMERS", "KCMP",
	"CROSS_MEMORY_ATTACH", "FILE_LOCKING", "INOTIFY_USER", "NET", "UNIX", "TTY", "UNIX98_PTYS", "HIGH_RES_TIMERS", "NO_HZ",
	"HAVE_ARCH_SECCOMP_FILTER", "IKCONFIG", "IKCONFIG_PROC",
}

func writeOptions(b *bytes.Buffer, _ *Info) {
	w := gzip.NewWriter(b)
	// A buffer takes everything.
	_, _ = w.Write([]byte("CONFIG_" + strings.Join(options, "=y\nCONFIG_") + "=y\n"))
	_ = w.Close()
}
