package blank

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stub and its helpers are in stub_amd64.s.
func stub()
func stubAddr() *byte
func forkTemplate(a *forkArgs)

// forkArgs is what forkTemplate reads and writes; the assembly knows the offsets.
type forkArgs struct {
	pid    int64 // out: the template, or an errno less than 0
	middle int64 // out: the process between, or an errno less than 0
	code   uint32
	orders uint32
	all    uint64 // signal mask during the fork
	old    uint64
}

const futexWait, futexWake = 0, 1

// stubCode returns a copy of the stub up to its end mark.
func stubCode() []byte {
	src := unsafe.Slice(stubAddr(), initOffset)
	marks := 0
	for i, b := range src {
		if b != 0xcc {
			marks = 0
			continue
		}
		if marks++; marks == 8 {
			return append([]byte(nil), src[:i+1]...)
		}
	}
	return nil
}

// ordersAt is the i'th page of orders in a mapping of the file of orders.
func ordersAt(mapping []byte, i int) *orders {
	return (*orders)(unsafe.Pointer(&mapping[i*pageSize]))
}

// Wait sleeps until *word is not old, for at most d. It is a system call that
// the Go scheduler knows of.
func Wait(word *uint32, old uint32, d time.Duration) unix.Errno {
	ts := unix.NsecToTimespec(int64(d))
	_, _, e := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(old),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	return e
}

// Wake wakes the sleeper on word, in whichever process.
func Wake(word *uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
}

// Queue sends the process id, of one thread, a signal that brings a value along (rt_tgsigqueueinfo(2)).
func Queue(id int, sig unix.Signal, value uint64) {
	const codeAt, valueAt, queued = 8, 24, -1 // of siginfo_t; SI_QUEUE
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[codeAt])) = queued
	*(*uint64)(unsafe.Pointer(&info[valueAt])) = value
	unix.RawSyscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(id), uintptr(id), uintptr(sig), uintptr(unsafe.Pointer(&info)), 0, 0)
}

// Exited tells whether the process or traced thread id has ended, without
// reaping it. ECHILD when it is neither a child nor traced by us.
func Exited(id int) (bool, unix.Errno) {
	const codeAt, killed, exited, dumped = 8, 2, 1, 3 // si_code
	var info [128]byte
	_, _, e := unix.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(id), uintptr(unsafe.Pointer(&info)),
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
	// Of who is traced a stop is told, too, that the tracer has not waited for yet, whatever was asked for.
	code := *(*int32)(unsafe.Pointer(&info[codeAt]))
	return e == 0 && (code == exited || code == killed || code == dumped), e
}

// awaitStop waits until the process id has stopped or ended, and changes nothing about it.
func awaitStop(id int) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(id), 0, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|unix.WALL, 0, 0)
	return e
}

// setAffinity lets thread tid run on the processors of mask only.
func setAffinity(tid int, mask *unix.CPUSet) error {
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask)))
	if e != 0 {
		return e
	}
	return nil
}

// sigaction is the kernel's struct sigaction, not a C library's.
type sigaction struct {
	handler  uint64
	flags    uint64
	restorer uint64
	mask     uint64
}

const saNoCldStop = 1

// noChildStops sets SA_NOCLDSTOP for SIGCHLD and leaves the rest of its action:
// without it each stop of a process or a traced thread sends the whole process a signal.
func noChildStops() error {
	var a sigaction
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&a)), 8, 0, 0); e != 0 {
		return e
	}
	a.flags |= saNoCldStop
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&a)), 0, 8, 0, 0); e != 0 {
		return e
	}
	return nil
}
