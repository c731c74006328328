package kernel

import (
	"container/list"
	"sync/atomic"

	"gosentry/fs/cgroup"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/cred"
	"gosentry/sentry/futex"
	"gosentry/sentry/ipc"
	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
)

// Task is one guest thread.
type Task struct {
	k     *Kernel
	tg    *ThreadGroup
	pidns *PIDNamespace // the one its own id belongs to
	// container is where it began, and its children too.
	container *Container
	// tracing is where its events go, nil for nowhere; set before it runs.
	tracing *Tracing
	// main is what a process of the kernel's own runs, nil for programs; gate, unless nil, is closed when the task may begin.
	main func(*Task)
	gate <-chan struct{}

	// Only the task's own goroutine touches these.
	ctx platform.Context
	// Regs are the registers with which the guest goes on.
	Regs        arch.Registers
	personality Personality
	call        callState
	restart     Restart
	altStack    signal.Stack
	setTID      mm.Addr // where it stores its id before it runs
	clearTID    mm.Addr
	answers     answering
	vforkDone   chan struct{} // closed when the mm lent by a vfork is given back
	overNProc   bool          // became a user that had more tasks than RLIMIT_NPROC says
	begun       chan struct{} // closed at the first call; a parent may wait for it
	buffer      mm.Buffer     // what Buffer returns
	sleeper     *ktime.Sleeper
	futexWaiter *futex.Waiter[mm.FutexKey]
	template    *template // of contracts
	refusal     refusal   // why its last fork failed, until the next one
	returned    bool      // main came to its end by itself

	// Read by anyone, replaced by the task itself.
	mm         atomic.Pointer[mm.MemoryManager]
	creds      atomic.Pointer[cred.Credentials]
	fds        atomic.Pointer[FDTable]
	fs         atomic.Pointer[FSContext]
	ns         atomic.Pointer[Namespaces]
	semUndo    atomic.Pointer[ipc.UndoList] // nil: none yet
	robustList atomic.Uint64                // where set_robust_list(2) said
	exe        atomic.Pointer[vfs.File]
	auxv       atomic.Pointer[[]byte] // as the program got it
	name       atomic.Pointer[string]
	pdeath     atomic.Int32 // parent-death signal, 0 for none
	state      atomic.Int32 // a runState
	acct       accounting
	meter      cpuMeter
	cpu        ktime.CPUClock
	wchan      atomic.Pointer[string]
	nice       atomic.Int32
	// ioPriority is as ioprio_set(2) has it, in common with those who share the I/O context (CLONE_IO).
	ioPriority *atomic.Int32

	// Timer slack in ns: now, and what 0 sets it back to (prctl(2)).
	slackNS      atomic.Uint64
	slackAtStart uint64

	// Guarded by Kernel.tree.
	pid    *PID
	exited bool
	// leaving is set on the way out of the init of a pid namespace.
	leaving bool
	sched   Scheduling
	// cgroup is the group that the thread is charged to; standing says that it stands still there.
	cgroup   *cgroup.Group
	standing bool
	tracees  list.List // threads that it traces, the newest first
	// tracesNoMore is set on the way out, when its tracees are let go of.
	tracesNoMore bool

	// Guarded by ThreadGroup.sigMu.
	pending   signal.Queue
	mask      signal.Set
	savedMask *signal.Set // put back when the call that changed the mask ends
	waitSet   signal.Set  // what sigtimedwait waits for
	forced    bool        // a fault whose default action not even an init survives
	dying     bool        // the thread is to end before it runs guest code again
	stopping  bool        // the thread counts in tg.stop.remaining
	held      bool        // waits for tg.hold
	stopTaken bool        // took a signal, and no SIGCONT came since
	gone      bool        // the thread is off the group's list
	status    ExitStatus  // of the thread itself
	parked    bool        // waits in a stop for job control
	// unlistened is set once the thread no longer counts for the listener to its filters.
	unlistened bool
	tracee     *tracee // nil unless traced; written with Kernel.tree held too

	// work is set when the loop must look for signals, stops or death before
	// guest code runs; wake ends a blocked call.
	work atomic.Bool
	// hooks says who watches the task's calls and steps.
	hooks atomic.Uint32
	rules atomic.Pointer[callRules] // nil: every call; written with sigMu held
	wake  chan struct{}
}

type runState int32

// States as /proc/PID/stat shows them.
const (
	running runState = iota
	sleeping
	stopped
	zombie
	traceStopped // in a ptrace-stop
)

// callState is what the loop keeps of the system call in hand.
type callState struct {
	number uint64 // noCall when the guest was left for something else
	err    error  // a restart error, or nil
	// keepRegisters: the call set every register itself (sigreturn, exec).
	keepRegisters bool
	inside        bool // in the middle of the call, with a ptrace-stop there
}

// Restart is what a call interrupted with ERESTARTBLOCK needs to go on.
type Restart struct {
	Call     func(*Task, *Restart) (uint64, error)
	Deadline int64 // ns of Clock
	Clock    int32
	Addr     [2]mm.Addr
	Value    [3]uint64
}

// Kernel returns the kernel the task belongs to.
func (t *Task) Kernel() *Kernel { return t.k }

// ThreadGroup returns the process.
func (t *Task) ThreadGroup() *ThreadGroup { return t.tg }

// PIDNamespace returns the namespace the task's own ids belong to.
func (t *Task) PIDNamespace() *PIDNamespace { return t.pidns }

// MM returns the address space; nil once the task has ended.
func (t *Task) MM() *mm.MemoryManager { return t.mm.Load() }

// FDs returns the descriptor table.
func (t *Task) FDs() *FDTable { return t.fds.Load() }

// FS returns root, working directory and umask.
func (t *Task) FS() *FSContext { return t.fs.Load() }

// Namespaces returns the namespaces other than the user namespace and that of the task's own ids; nil once the
// task has ended.
func (t *Task) Namespaces() *Namespaces { return t.ns.Load() }

// Creds returns the credentials; they are not to be changed.
func (t *Task) Creds() *cred.Credentials { return t.creds.Load() }

// Limits returns the resource limits of the process.
func (t *Task) Limits() *limits.Set { return t.tg.limits }

// FileSizeLimit is RLIMIT_FSIZE in bytes, for package vfs.
func (t *Task) FileSizeLimit() uint64 { return t.tg.limits.Soft(limits.FileSize) }

// Interrupted tells whether a blocked call would have to end now.
func (t *Task) Interrupted() bool { return t.work.Load() && t.interrupted(false) }

// Killed implements mm.Caller.
func (t *Task) Killed() bool { return t.work.Load() && t.interrupted(true) }

// TID returns the thread's id in its own namespace.
func (t *Task) TID() int32 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.pid.In(t.pidns)
}

// TGID returns the process id in the task's own namespace.
func (t *Task) TGID() int32 { return t.tg.pid.In(t.pidns) }

// PPID returns the parent's process id in the task's own namespace, 0 if it is
// not visible there.
func (t *Task) PPID() int32 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if t.tg.parent == nil {
		return 0
	}
	return t.tg.parent.pid.In(t.pidns)
}

// Name returns the thread's name, at most 15 bytes (prctl(2), PR_GET_NAME).
func (t *Task) Name() string { return *t.name.Load() }

// SetName sets the thread's name, cutting it to 15 bytes.
func (t *Task) SetName(s string) {
	if len(s) > 15 {
		s = s[:15]
	}
	t.name.Store(&s)
}

// Executable returns the program file, which stays the caller's to look at but
// not to release; nil for the kernel's own tasks.
func (t *Task) Executable() *vfs.File { return t.exe.Load() }

// AltStack returns the alternate signal stack; only for the task itself.
func (t *Task) AltStack() *signal.Stack { return &t.altStack }

// ClearTID returns the address of set_tid_address(2).
func (t *Task) ClearTID() mm.Addr { return t.clearTID }

// SetClearTID sets the address of set_tid_address(2).
func (t *Task) SetClearTID(a mm.Addr) { t.clearTID = a }

// ParentDeathSignal returns and SetParentDeathSignal sets what prctl(2) calls
// PR_SET_PDEATHSIG.
func (t *Task) ParentDeathSignal() signal.Signal { return signal.Signal(t.pdeath.Load()) }

// SetParentDeathSignal sets the signal sent when the parent thread ends.
func (t *Task) SetParentDeathSignal(s signal.Signal) { t.pdeath.Store(int32(s)) }

// Context returns the platform's side of the task; only for the task itself.
func (t *Task) Context() platform.Context { return t.ctx }

// Restart returns what a restarted call goes on with; only for the task itself.
func (t *Task) Restart() *Restart { return &t.restart }

// KeepRegisters says that the running call has set every register itself.
func (t *Task) KeepRegisters() { t.call.keepRegisters, t.call.number = true, noCall }

// RegistersKept tells whether the running call has set every register itself.
func (t *Task) RegistersKept() bool { return t.call.keepRegisters }

// CopyIn copies len(dst) bytes from guest memory; EFAULT if not all could be.
func (t *Task) CopyIn(addr mm.Addr, dst []byte) error {
	_, err := t.MM().CopyIn(addr, dst)
	return err
}

// CopyOut copies src to guest memory; EFAULT if not all could be.
func (t *Task) CopyOut(addr mm.Addr, src []byte) error {
	_, err := t.MM().CopyOut(addr, src)
	return err
}

// CopyInString copies a string of at most limit bytes without its final zero;
// ENAMETOOLONG when it is longer.
func (t *Task) CopyInString(addr mm.Addr, limit int) (string, error) {
	return t.MM().CopyInString(addr, limit)
}

// Buffer returns the n bytes of guest memory at addr as a buffer that is valid
// until the next call of Buffer.
func (t *Task) Buffer(addr mm.Addr, n uint64) *mm.Buffer {
	t.buffer.Reset(t.MM(), addr, n)
	return &t.buffer
}

// realUser is a task as access(2) sees it: with its real ids.
type realUser struct {
	*Task
	creds *cred.Credentials
}

func (r realUser) Creds() *cred.Credentials { return r.creds }

// AsRealUser returns the task as a caller with its real user and group id; a root
// user then has its permitted capabilities, another none (access(2)).
func AsRealUser(t *Task) vfs.Caller {
	c := t.Creds()
	if c.FSUID == c.RUID && c.FSGID == c.RGID && c.IsRoot() == (c.Effective != 0) {
		return t
	}
	real := c.Copy()
	real.FSUID, real.FSGID = c.RUID, c.RGID
	real.Effective = 0
	if c.IsRoot() {
		real.Effective = c.Permitted
	}
	return realUser{t, real}
}
