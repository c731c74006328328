package proc

import (
	"bytes"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
)

// Processes is the guest's processes as seen from one pid namespace, the one that
// a mount of procfs shows: all ids that go in and out are that namespace's.
// Methods may be called on any goroutine and take the kernel's locks.
type Processes interface {
	// Self returns the ids of the caller's process and thread, 0 and 0 when the
	// caller is no task or not visible in the namespace.
	Self(c vfs.Caller) (pid, tid int32)
	// Root returns the caller's root directory, from which names are shown.
	Root(c vfs.Caller) vfs.Path
	// PIDs returns the ids of all processes, zombies too, in any order.
	PIDs() []int32
	// Task returns the thread with this id, nil when there is none. A process's id
	// is its leader's, who stays until the process is reaped.
	Task(id int32) Task
	// PIDFD returns the ids of what a pidfd is of in the namespaces from this one down to its own: -1 when it has gone, 0 when it is not
	// visible here; nil for other files.
	PIDFD(file vfs.FileOps) []int32
	// Info tells of the system as a whole.
	Info() Info
	// BootOffset returns how far CLOCK_BOOTTIME is ahead for the caller, in ns.
	BootOffset(c vfs.Caller) int64
	// Names returns host and domain name as the caller has them.
	Names(c vfs.Caller) (host, domain string)
	// IPCTable writes a table of /proc/sysvipc, "sem", "shm" or "msg", of the caller's IPC namespace.
	IPCTable(c vfs.Caller, name string, b *bytes.Buffer)
	// IPCKnob returns what a file of the caller's IPC namespace in directory dir of /proc/sys holds, without
	// its final newline; SetIPCKnob changes it. EINVAL, EPERM.
	IPCKnob(c vfs.Caller, dir, name string) (string, error)
	SetIPCKnob(c vfs.Caller, dir, name, text string) error
	// Contract tells of the caller's process contract, and SetContract says what contracts its
	// children get: "none" for its own, "new", or "new fork" for one whose forks it is told of; EINVAL.
	Contract(c vfs.Caller) string
	SetContract(c vfs.Caller, text string) error
	// SetNames sets the host or the domain name, the one that is not empty; EPERM.
	SetNames(c vfs.Caller, host, domain string) error
	// Knobs returns the numbers in /proc/sys that can be changed.
	Knobs() []Knob
	// NetKnobs returns the settings of network namespaces in /proc/sys/net.
	NetKnobs() []NetKnob
	// CorePattern and SetCorePattern are the file kernel/core_pattern (core(5)); EINVAL.
	CorePattern() string
	SetCorePattern(pattern string) error
}

// Knob is a number below /proc/sys.
type Knob struct {
	Name     string // with its directory, "kernel/pid_max"
	Everyone bool   // may open it for writing; else its owner, root
	Get      func(c vfs.Caller) int64
	// Set is given what was written; EINVAL for a number that does not fit.
	Set func(c vfs.Caller, n int64) error
}

// Task is a thread, or as the leader in /proc/PID its process. Values for the
// same thread are equal. All methods but Exists may also be called when the thread is
// gone, and return zero values or ESRCH then.
type Task interface {
	// Exists tells whether the thread has not ended; a leader exists until its
	// process is reaped.
	Exists() bool
	// Status tells of the thread. With process, times, faults and counters are sums
	// over the process, those of ended threads included.
	Status(process bool) Status
	// Creds returns the credentials, never nil.
	Creds() *cred.Credentials
	// Limits returns the resource limits.
	Limits() *limits.Set
	// Memory returns the address space, nil for a zombie or a task of the kernel. It
	// may end at any time.
	Memory() *mm.MemoryManager
	// OpenMemory is Memory for who may look into the task as MayAccess says, both as of one moment; EACCES.
	OpenMemory(c vfs.Caller, attach bool) (*mm.MemoryManager, error)
	// OpenAuxv returns the auxiliary vector as the program got it, with its end, to whom OpenMemory returns the program's memory; nil
	// when there is none.
	OpenAuxv(c vfs.Caller) ([]byte, error)
	// Places returns what the task refers to in the file system.
	Places() Places
	// Descriptors returns the numbers of open descriptors, ascending.
	Descriptors() []int32
	// Descriptor returns the file of an open descriptor, with a reference that
	// the caller of Descriptor drops; nil when it is not open.
	Descriptor(fd int32) (file *vfs.File, cloexec bool)
	// Threads returns the ids of the process's threads, in any order.
	Threads() []int32
	// TimeOffsets returns the offsets that clocks have for the task's next children, false when it has ended.
	TimeOffsets() (TimeOffsets, bool)
	// SetTimeOffsets sets them for who opened the file; EPERM, ERANGE, EACCES once somebody is in the namespace.
	SetTimeOffsets(opener *cred.Credentials, all []TimeOffset) error
	// Namespaces returns the namespaces for /proc/PID/ns.
	Namespaces() []Namespace
	// Cgroup returns the name of the task's control group as the caller sees it.
	Cgroup(c vfs.Caller) string
	// Sockets returns the lines of a table of sockets in /proc/net, by its name there, without their
	// heading.
	Sockets(table string) []byte
	// MayAccess tells whether the caller may look into the task (ptrace(2), access
	// mode check PTRACE_MODE_READ_FSCREDS); with attach, whether it may change it
	// (PTRACE_MODE_ATTACH_FSCREDS). EACCES. Threads of the task's own process always may.
	MayAccess(c vfs.Caller, attach bool) error
	// SetName sets the thread's name, cut to 15 bytes.
	SetName(name string) error
	// SetOOMScoreAdj sets the process's adjustment, -1000 to 1000; EACCES when the caller may
	// not lower it.
	SetOOMScoreAdj(c vfs.Caller, adj int32) error
	// SetCoreFilter sets which memory a core file is to hold (core(5)).
	SetCoreFilter(bits uint32)
	// SetStopForks sets whether the process's children are born stopped, and theirs.
	SetStopForks(on bool)
}

// Status is what /proc/PID/stat, status and their like show of a thread. Ids are
// those of the namespace, 0 for what is not visible in it. Times are in ns.
type Status struct {
	Name  string
	State byte // R, S, D, T, t, Z or X as in proc(5)

	TID, TGID, PPID, TracerPID int32
	ProcessGroup, Session      int32
	// The same ids in the namespaces from this one down to the thread's own,
	// this one first.
	TIDs, TGIDs, ProcessGroups, Sessions []int32

	TTY      uint32 // device of the controlling terminal, 0 for none
	TTYGroup int32  // its foreground process group, -1 for none

	// Affinity has a bit for each processor that the thread may use; nil: all.
	Affinity []uint64

	KernelThread bool
	Threads      int
	ExitSignal   signal.Signal
	ExitStatus   uint32 // as wait4(2) tells it; of a zombie
	Umask        uint32
	FDSize       int // slots of the descriptor table
	Personality  uint32
	Dumpable     bool

	Pending, SharedPending   signal.Set
	Blocked, Ignored, Caught signal.Set
	SignalsQueued            uint64 // of the user

	Nice         int32
	CPU          int32 // the one it ran on last
	StartTime    int64 // since boot
	UserTime     int64
	SystemTime   int64
	ChildUser    int64 // of children waited for
	ChildSystem  int64
	MinorFaults  uint64
	MajorFaults  uint64
	ChildMinor   uint64
	ChildMajor   uint64
	Switches     uint64 // voluntary
	Preemptions  uint64
	WaitChannel  string // where it sleeps, "" when it does not
	TimerSlack   int64
	OOMScoreAdj  int32
	CoreFilter   uint32
	StopForks    bool // children are born stopped
	Seccomp      int  // mode
	SeccompCount int  // filters

	IO IO
}

// IO is /proc/PID/io: bytes and calls.
type IO struct {
	ReadChars, WriteChars, ReadCalls, WriteCalls uint64
	ReadBytes, WriteBytes, CancelledBytes        uint64
}

// Places are what a task refers to in the file system; the zero Path for what is gone.
type Places struct {
	Root, WorkDir, Executable vfs.Path
	Mounts                    *vfs.Namespace
}

// Namespace is one entry of /proc/PID/ns.
type Namespace struct {
	Name string // as "mnt", or "pid_for_children"
	Kind string // as "mnt", or "pid"
	ID   uint64 // inode number
	// Open returns what the link leads to, nil when it cannot be opened.
	Open func(c vfs.Caller) (vfs.Path, error)
}

// Info tells of the system as a whole. Times are in ns, sizes in bytes.
type Info struct {
	Sysname, Release, Version, Machine string
	// CPUInfo is the text of /proc/cpuinfo; "" for a made-up one.
	CPUInfo string
	CPUs    int

	BootTime int64 // realtime
	Uptime   int64
	Idle     int64 // of all CPUs

	Load              [3]float64
	Running           int // tasks that can run
	Tasks             int // threads in all
	Blocked           int
	LastPID           int32
	Forks             uint64
	ForkCounts        ForkCounts
	ContextSwitches   uint64
	UserTime, SysTime int64
	MemTotal, MemFree uint64
	MemAvailable      uint64
	Cached, Shmem     uint64
	Anonymous, Mapped uint64
	Committed         uint64
	FileSystems       []string // types, as "tmpfs"
	OpenFiles         int64
	MaxFiles          int64
	BootID            string
}
