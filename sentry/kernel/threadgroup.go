package kernel

import (
	"container/list"
	"gosentry/fs/cgroup"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
	"gosentry/sentry/waiter"
)

// ThreadGroup is a process: threads that share pending signals, limits, a parent
// and a place in the process tree.
type ThreadGroup struct {
	k      *Kernel
	pid    *PID
	start  time.Time
	limits *limits.Set

	// Written with Kernel.tree and sigMu held, so either is enough to read.
	leader *Task
	tasks  []*Task // those that have not exited, and a leader that has

	// Guarded by Kernel.tree.
	live        int // threads that have not exited
	parent      *ThreadGroup
	parentTask  *Task
	children    map[*ThreadGroup]struct{}
	zombies     *list.List // of children, in order of death
	zombie      *list.Element
	group       *ProcessGroup
	exitSignal  signal.Signal
	exited      bool // every thread is gone; a zombie until reaped
	reaped      bool
	execs       int // programs that the process has begun
	parentExecs int // execs of the parent when it got this child
	subreaper   bool
	quietSince  uint64        // see quietLocked; 0: not known
	cgroup      *cgroup.Group // also of the process that has ended
	waitByID    bool          // reaped by a wait for its id only
	childUsage  Usage
	deadUsage   Usage // of threads that are gone

	// Guarded by sigMu.
	sigMu      sync.Mutex
	handlers   *signal.Handlers
	pending    signal.Queue
	stop       groupStop
	thaw       chan struct{} // closed when the cgroup's freeze ends; nil: there is none
	exiting    bool
	exitStatus ExitStatus
	core       *coreDump     // the end is one with a core file
	execing    *Task         // thread in exec that waits for the others to end
	initOf     *PIDNamespace // the namespace whose init this is, or nil
	hold       *hold         // what holds the threads still, or nil
	timers     itimers
	posix      posixTimers
	cpuLimit   ktime.Alarm // of RLIMIT_CPU, nil if there never was one

	// childWait is notified when a child changes state.
	childWait waiter.Queue
	// execWait has something when the thread in exec should look whether it is
	// the last one.
	execWait chan struct{}
	// dead is closed when the group has exited; pidfds wait for it.
	dead        chan struct{}
	exitQueue   waiter.Queue
	signalQueue waiter.Queue             // notified when a signal becomes pending
	contract    atomic.Pointer[contract] // nil for none
	oomScore    atomic.Int32
	stopForks   atomic.Bool // children are born stopped, and theirs
	coreFilter  atomic.Uint32
	dumpable    atomic.Int32
	thpDisabled atomic.Bool
	persona     atomic.Uint32
	cpu         ktime.CPUClock
	userCPU     ktime.CPUClock // without the kernel's work
	watch       cpuWatch
}

// groupStop is the job-control state of a thread group.
type groupStop struct {
	signal    signal.Signal // 0: not stopped nor stopping
	complete  bool          // every thread has stopped
	remaining int           // threads that have yet to stop
	resume    chan struct{} // closed when the stop ends
	// What wait4 has to report.
	reportStop, reportContinue bool
}

func newThreadGroup(k *Kernel, pid *PID, lim *limits.Set, h *signal.Handlers) *ThreadGroup {
	tg := &ThreadGroup{
		k: k, pid: pid, limits: lim, handlers: h, start: time.Now(),
		children: make(map[*ThreadGroup]struct{}),
		zombies:  list.New(),
		dead:     make(chan struct{}),
		execWait: make(chan struct{}, 1),
	}
	tg.coreFilter.Store(defaultCoreFilter)
	return tg
}

// defaultCoreFilter is anonymous memory, headers of programs and huge pages (core(5)).
const defaultCoreFilter = 0x33

// Limits returns the group's resource limits.
func (tg *ThreadGroup) Limits() *limits.Set { return tg.limits }

// PID returns the group's identity.
func (tg *ThreadGroup) PID() *PID { return tg.pid }

// Leader returns the thread whose id is the process id.
func (tg *ThreadGroup) Leader() *Task {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.leader
}

// Dead returns a channel that is closed once the group has exited.
func (tg *ThreadGroup) Dead() <-chan struct{} { return tg.dead }

// addChildLocked makes c a child of tg.
func (tg *ThreadGroup) addChildLocked(c *ThreadGroup, by *Task) {
	c.parent, c.parentTask, c.parentExecs = tg, by, tg.execs
	tg.children[c] = struct{}{}
	if c.exited && !c.reaped {
		c.zombie = tg.zombies.PushBack(c)
	}
}

// removeChildLocked takes c from its parent.
func (tg *ThreadGroup) removeChildLocked(c *ThreadGroup) {
	delete(tg.children, c)
	if c.zombie != nil {
		tg.zombies.Remove(c.zombie)
		c.zombie = nil
	}
	c.parent, c.parentTask = nil, nil
}
