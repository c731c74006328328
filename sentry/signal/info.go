package signal

import "golang.org/x/sys/unix"

// Values of Info.Code that any signal may have. Those below or equal to 0 were
// made by a process, those above by the kernel.
const (
	CodeUser    int32 = 0    // kill(2)
	CodeKernel  int32 = 0x80 // the kernel
	CodeQueue   int32 = -1   // sigqueue(3)
	CodeTimer   int32 = -2   // a POSIX timer
	CodeMesgQ   int32 = -3   // mq_notify(3)
	CodeAsyncIO int32 = -4   // asynchronous I/O
	CodeSigIO   int32 = -5   // queued SIGIO
	CodeTkill   int32 = -6   // tkill(2), tgkill(2)
)

// Values of Info.Code by signal, as in sigaction(2).
const (
	CldExited    int32 = 1
	CldKilled    int32 = 2
	CldDumped    int32 = 3
	CldTrapped   int32 = 4
	CldStopped   int32 = 5
	CldContinued int32 = 6

	SegvMapErr int32 = 1
	SegvAccErr int32 = 2
	SegvBndErr int32 = 3
	SegvPKUErr int32 = 4

	BusAdrAln int32 = 1
	BusAdrErr int32 = 2
	BusObjErr int32 = 3

	TrapBrkpt  int32 = 1
	TrapTrace  int32 = 2
	TrapBranch int32 = 3
	TrapHWBkpt int32 = 4

	FPEIntDiv int32 = 1
	FPEIntOvf int32 = 2

	IllIllOpc int32 = 1
	IllIllOpn int32 = 2

	PollIn  int32 = 1
	PollOut int32 = 2
	PollMsg int32 = 3
	PollHup int32 = 6

	SysSeccomp      int32 = 1
	SysUserDispatch int32 = 2
)

// Info is a siginfo_t in a neutral form. Which fields beyond the first three
// count depends on Layout; the others are zero.
type Info struct {
	Signo Signal
	Errno int32
	Code  int32

	PID    int32  // sender or child, in the receiver's pid namespace
	UID    uint32 // sender's or child's real user id, in the receiver's user namespace
	Value  uint64 // sigval of sigqueue(3), timers, mq_notify(3)
	Status int32  // exit status or signal of a child
	UTime  int64  // child's user time in clock ticks (100 a second)
	STime  int64  // child's system time in clock ticks

	Addr    uint64 // faulting address; for LayoutSys that of the call
	AddrLSB int16  // least significant valid bit of Addr, for machine checks
	Lower   uint64 // SegvBndErr: bounds
	Upper   uint64
	PKey    uint32 // SegvPKUErr

	TimerID int32 // POSIX timer
	Overrun int32 // its overrun count

	Band int64 // SIGPOLL
	FD   int32

	Syscall int32  // LayoutSys: number of the call
	Arch    uint32 // LayoutSys: AUDIT_ARCH_*
}

// Layout says which member of siginfo_t's union an Info fills.
type Layout int

// Layouts, with the fields of Info that count.
const (
	LayoutKill  Layout = iota // PID, UID
	LayoutTimer               // TimerID, Overrun, Value
	LayoutRT                  // PID, UID, Value
	LayoutChild               // PID, UID, Status, UTime, STime
	LayoutFault               // Addr, AddrLSB, Lower, Upper, PKey
	LayoutPoll                // Band, FD
	LayoutSys                 // Addr, Syscall, Arch
)

// codesOf is the highest code with a layout of its own for a signal.
var codesOf = [...]struct {
	sig    Signal
	max    int32
	layout Layout
}{
	{unix.SIGILL, 11, LayoutFault},
	{unix.SIGFPE, 15, LayoutFault},
	{unix.SIGSEGV, 10, LayoutFault},
	{unix.SIGBUS, 5, LayoutFault},
	{unix.SIGTRAP, 6, LayoutFault},
	{unix.SIGCHLD, 6, LayoutChild},
	{unix.SIGPOLL, 6, LayoutPoll},
	{unix.SIGSYS, 2, LayoutSys},
}

// Layout tells which fields of i count. It follows from signal and code alone,
// so that a guest's own siginfo cannot claim another.
func (i *Info) Layout() Layout {
	switch {
	case i.Code > CodeUser && i.Code < CodeKernel:
		for _, c := range codesOf {
			if c.sig == i.Signo && i.Code <= c.max {
				return c.layout
			}
		}
		if i.Code <= PollHup {
			return LayoutPoll
		}
		return LayoutKill
	case i.Code == CodeTimer:
		return LayoutTimer
	case i.Code == CodeSigIO:
		return LayoutPoll
	case i.Code < CodeUser:
		return LayoutRT
	}
	return LayoutKill
}

// HasCodes tells whether the kernel gives codes of their own meaning with sig.
func HasCodes(sig Signal) bool {
	for _, c := range codesOf {
		if c.sig == sig {
			return true
		}
	}
	return false
}

// FromUser tells whether a process made the signal, and not the kernel.
func (i *Info) FromUser() bool { return i.Code <= CodeUser }

// KernelInfo is the siginfo of a signal that the kernel sends for no process.
func KernelInfo(sig Signal) Info { return Info{Signo: sig, Code: CodeKernel} }
