package host

import "golang.org/x/sys/unix"

// Condition holds for a host call when its argument Arg (0 to 5), cut to 32 bits
// and masked with Mask, is Value.
type Condition struct {
	Arg         int
	Mask, Value uint32
}

// Call allows a host system call by number when All conditions hold. Calls with the same number
// are alternatives.
type Call struct {
	Number uintptr
	All    []Condition
}

const signBit = 1 << 31

// below is the condition that a name is taken relative to a descriptor, never to the
// current directory.
func below(arg int) Condition { return Condition{arg, signBit, 0} }

func equal(arg int, value uint32) Condition { return Condition{arg, ^uint32(0), value} }

// Calls are the host system calls that trees and streams make once they stand, besides
// those of Go's runtime. changes adds what writable trees need. It is for a filter on system calls.
func Calls(changes bool) []Call {
	calls := append(treeCalls(), streamCalls()...)
	if changes {
		calls = append(calls, changeCalls()...)
	}
	return calls
}

// anyArguments allows numbers with all arguments.
func anyArguments(numbers ...uintptr) (calls []Call) {
	for _, n := range numbers {
		calls = append(calls, Call{Number: n})
	}
	return calls
}

func treeCalls() []Call {
	return append(
		anyArguments(
			unix.SYS_PREAD64, unix.SYS_PREADV, unix.SYS_CLOSE, unix.SYS_GETDENTS64, unix.SYS_LSEEK,
			unix.SYS_FSTATFS, unix.SYS_FGETXATTR, unix.SYS_FLISTXATTR,
		),
		Call{unix.SYS_OPENAT2, []Condition{below(0), equal(3, unix.SizeofOpenHow)}},
		Call{unix.SYS_STATX, []Condition{below(0), equal(2, statFlags)}},
		Call{unix.SYS_STATX, []Condition{below(0), equal(2, statFlags|unix.AT_EMPTY_PATH)}},
		Call{unix.SYS_READLINKAT, []Condition{below(0)}},
	)
}

func streamCalls() []Call {
	calls := append(
		anyArguments(
			unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PWRITE64, unix.SYS_PWRITEV,
			unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_EPOLL_CTL,
		),
		Call{unix.SYS_PREADV2, []Condition{equal(5, unix.RWF_NOWAIT)}},
		Call{unix.SYS_PWRITEV2, []Condition{equal(5, unix.RWF_NOWAIT)}},
		Call{unix.SYS_PPOLL, []Condition{equal(3, 0)}},
		Call{unix.SYS_EPOLL_WAIT, []Condition{equal(3, 0)}},
	)
	for _, r := range ioctlRules {
		calls = append(calls, Call{unix.SYS_IOCTL, []Condition{equal(1, r.cmd)}})
	}
	return calls
}

func changeCalls() []Call {
	return append(
		anyArguments(
			unix.SYS_PWRITE64, unix.SYS_PWRITEV, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
			unix.SYS_FCHMOD, unix.SYS_FSETXATTR, unix.SYS_FREMOVEXATTR,
		),
		Call{unix.SYS_MKDIRAT, []Condition{below(0)}},
		Call{unix.SYS_MKNODAT, []Condition{below(0), {2, unix.S_IFMT, unix.S_IFIFO}}},
		Call{unix.SYS_MKNODAT, []Condition{below(0), {2, unix.S_IFMT, unix.S_IFSOCK}}},
		Call{unix.SYS_SYMLINKAT, []Condition{below(1)}},
		Call{unix.SYS_LINKAT, []Condition{below(0), below(2), equal(4, 0)}},
		Call{unix.SYS_UNLINKAT, []Condition{below(0)}},
		Call{unix.SYS_RENAMEAT2, []Condition{below(0), below(2)}},
		Call{unix.SYS_FCHMODAT2, []Condition{below(0)}},
		Call{unix.SYS_FCHOWNAT, []Condition{below(0)}},
		Call{unix.SYS_UTIMENSAT, []Condition{below(0)}},
	)
}
