package ptrace

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and options of ptrace(2) that x/sys does not have.
const (
	ptraceSysemu         = 31
	ptraceSyscallInfo    = 0x420e
	ptraceOptions        = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
	regsetXState         = 0x202 // NT_X86_XSTATE
	syscallInfoEntry     = 1
	syscallInfoMinLength = 24
	auditArchI386        = 0x40000003
	siginfoSize          = 128
)

// ptrace makes a request. It does not tell the Go scheduler: no request used here sleeps for
// longer than the tracee needs to leave its processor.
func ptrace(request, tid int, addr uintptr, data unsafe.Pointer) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, uintptr(data), 0, 0)
	return e
}

// seize attaches the calling OS thread to tid and stops it.
func seize(tid int) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, ptraceOptions, 0, 0)
	if e != 0 {
		return e
	}
	return ptrace(unix.PTRACE_INTERRUPT, tid, 0, nil)
}

func getRegs(tid int, regs *unix.PtraceRegs) unix.Errno {
	return ptrace(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(regs))
}

func setRegs(tid int, regs *unix.PtraceRegs) unix.Errno {
	return ptrace(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(regs))
}

// getXState fills b from the start of the tracee's extended state and returns
// how many bytes there were to fill it with.
func getXState(tid int, b []byte) (int, unix.Errno) {
	iov := unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	e := ptrace(unix.PTRACE_GETREGSET, tid, regsetXState, unsafe.Pointer(&iov))
	return int(iov.Len), e
}

// setXState loads b, which has the host's full length.
func setXState(tid int, b []byte) unix.Errno {
	iov := unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	return ptrace(unix.PTRACE_SETREGSET, tid, regsetXState, unsafe.Pointer(&iov))
}

// peek reads a word of the tracee's memory.
func peek(tid int, addr uint64) (word uint64, errno unix.Errno) {
	errno = ptrace(unix.PTRACE_PEEKDATA, tid, uintptr(addr), unsafe.Pointer(&word))
	return word, errno
}

// resume lets tid run until its next system call, which is not made, or signal.
func resume(tid int) unix.Errno { return ptrace(ptraceSysemu, tid, 0, nil) }

// isCompat tells whether the call at which tid stopped came in by the 32-bit entry.
func isCompat(tid int) bool {
	var b [88]byte
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, ptraceSyscallInfo, uintptr(tid),
		unsafe.Sizeof(b), uintptr(unsafe.Pointer(&b)), 0, 0)
	return e == 0 && b[0] == syscallInfoEntry && binary.LittleEndian.Uint32(b[4:]) == auditArchI386
}

// siginfo is the head of the kernel's siginfo_t for a fault.
type siginfo struct {
	signo int32
	errno int32
	code  int32
	_     int32
	addr  uint64
	_     [siginfoSize - 24]byte
}

func getSiginfo(tid int, info *siginfo) unix.Errno {
	return ptrace(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(info))
}
