package kernel

import (
	"sync"
	"sync/atomic"
	"time"

	"gosentry/fs/cgroup"
	"gosentry/fs/mqueue"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/cred"
	"gosentry/sentry/futex"
	"gosentry/sentry/ipc"
	"gosentry/sentry/klog"
	"gosentry/sentry/ktime"
	"gosentry/sentry/loader"
	"gosentry/sentry/signal"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Config is what a kernel is made of. New takes all of it over.
type Config struct {
	Platform    platform.Platform
	Memory      *mm.MemoryFile
	VDSO        *loader.VDSO
	Clocks      *ktime.Clocks
	Mounts      *vfs.Namespace
	Personality Personality
	Hostname    string
	Log         *logrus.Entry
	// Tracing is for the first program; nil: its events are not told.
	Tracing *Tracing
	// Tasks is how many tasks there may be in the sandbox; 0: as many as the kernel takes.
	Tasks int
	// ForkPolicy has a say in each fork.
	ForkPolicy ForkPolicy
}

// Kernel is one guest system.
type Kernel struct {
	platform platform.Platform
	memory   *mm.MemoryFile
	vdso     *loader.VDSO
	// timelessVDSO is for time namespaces with offsets; made when first needed.
	timelessVDSO func() (*loader.VDSO, error)
	clocks       *ktime.Clocks
	personality  Personality
	log          *logrus.Entry
	futexes      *futex.Manager[mm.FutexKey]
	users        *userTable
	ipcBudget    *ipc.Budget
	// mqueueAccounts count what users may hold in POSIX message queues.
	mqueueAccounts mqueue.Accounts
	rootPIDNS      *PIDNamespace
	rootUserNS     *cred.UserNamespace
	first          *Namespaces // of the first task; never released
	whole          *Container
	boot           time.Time
	bootUptime     int64 // ns of the boot-time clock when the kernel was made
	bootClock      int64 // ns of the monotonic clock then
	lastNSIno      atomic.Uint64
	counts         counters
	forkCounts     forkCounts
	forkHooks      *ForkHooks
	contracts      contracts
	cgroups        *cgroup.Tree
	tracing        *Tracing
	warned         sync.Map
	knobs          forkKnobs
	messages       klog.Log
	refusals       forkRefusals
	policy         ForkPolicy
	// answersAfter is how often a task has left guest code before it is given answers.
	answersAfter int64
	// forkFault makes forks fail in tests, before the step of the given number.
	forkFault func(step int) error

	// awake counts the tasks whose processor time is counted now.
	awake atomic.Int64

	// running counts the goroutines of tasks.
	running sync.WaitGroup

	// tree guards the process tree and pid namespaces; see the package's doc.
	tree sync.RWMutex
	init *ThreadGroup // the kernel's own first process
	// terminal is the one among the standard streams, if there is one. It is set before the first task runs.
	terminal *TTY
	// terminals is how many pseudo-terminals there are.
	terminals atomic.Int64
	// fileSystems are what mount(2) knows; set before the first task runs.
	fileSystems map[string]MakeFileSystem

	// Guarded by endMu.
	endMu  sync.Mutex
	ended  bool
	status ExitStatus
	err    error
	// end is closed once the sandbox is to end.
	end chan struct{}
}

// counters are what /proc/stat and its like show.
type counters struct {
	processes atomic.Int64 // that exist
	forks     atomic.Uint64
}

// New returns a kernel without processes but for its own init, which adopts
// orphans and reaps them.
func New(c Config) (*Kernel, error) {
	k := &Kernel{
		platform: c.Platform, memory: c.Memory, vdso: c.VDSO, clocks: c.Clocks,
		personality: c.Personality, log: c.Log,
		futexes: futex.New[mm.FutexKey](), users: newUserTable(), ipcBudget: newIPCBudget(c.Memory),
		boot: time.Now(), bootUptime: c.Clocks.Boottime().Now(), bootClock: c.Clocks.Rough(),
		end:       make(chan struct{}),
		forkHooks: newForkHooks(c.Log), policy: c.ForkPolicy,
		answersAfter: usualAnswersAfter,
	}
	k.setTracing(c.Tracing)
	k.forkHooks.Register(&ForkHook{Name: "contracts", Call: contractFork})
	k.cgroups = cgroup.New(cgroupTasks{k})
	k.cgroups.Root().GiveMemory(k.memory)
	k.knobs.init()
	k.messages.Clock = c.Clocks.Monotonic().Now
	k.timelessVDSO = sync.OnceValues(func() (*loader.VDSO, error) { return k.vdso.Timeless() })
	if err := k.makeNamespaces(c.Hostname, c.Mounts); err != nil {
		return nil, err
	}
	k.makeWhole(c.Tasks)
	k.VFS().OnAsync(k.tellAsync)
	if err := k.makeInit(); err != nil {
		return nil, err
	}
	return k, nil
}

// newTask returns a task with nothing but an identity.
func (k *Kernel) newTask(in *Container, pid *PID, ns *PIDNamespace, c *cred.Credentials, name string) *Task {
	t := &Task{
		k: k, container: in, pid: pid, pidns: ns, personality: k.personality,
		altStack: signal.NoStack(), ioPriority: new(atomic.Int32), wake: make(chan struct{}, 1),
	}
	t.creds.Store(c)
	c.UserNS.Hold()
	t.name.Store(&name)
	t.slackAtStart = defaultSlack
	t.slackNS.Store(defaultSlack)
	t.ns.Store(k.first.incRef())
	return t
}

// defaultSlack is the timer slack of prctl(2) in ns.
const defaultSlack = 50_000

// linkFirstLocked puts the first process of a program from outside into the tree, a child of init's in a session
// and group of its own. ENODEV when its container's control group was removed; nothing is done then.
func (k *Kernel) linkFirstLocked(t *Task, tg *ThreadGroup) error {
	group := t.container.group
	if err := group.AdmitAnyway(); err != nil {
		return err
	}
	tg.cgroup, t.cgroup = group, group
	t.tg, tg.leader, tg.tasks, tg.live = tg, t, []*Task{t}, 1
	t.pid.task, t.pid.tg = t, tg
	tg.exitSignal = unix.SIGCHLD
	tg.leadSessionLocked()
	for n := t.pid.ns; n != nil; n = n.parent {
		n.tasks++
	}
	tg.meterTask(t)
	tg.armCPULimit()
	k.init.addChildLocked(tg, k.init.leader)
	k.counts.processes.Add(1)
	return nil
}

// Log returns the kernel's log.
func (k *Kernel) Log() *logrus.Entry { return k.log }

// Clocks returns the kernel's clocks.
func (k *Kernel) Clocks() *ktime.Clocks { return k.clocks }

// Memory returns the memory file.
func (k *Kernel) Memory() *mm.MemoryFile { return k.memory }

// VFS returns what all files of the kernel share.
func (k *Kernel) VFS() *vfs.System { return k.first.Mount.System() }

// Cgroups returns the tree of control groups.
func (k *Kernel) Cgroups() *cgroup.Tree { return k.cgroups }

// Boot returns when the kernel was made.
func (k *Kernel) Boot() time.Time { return k.boot }

// Processes returns the number of tasks that exist, and of forks so far.
func (k *Kernel) Processes() (now int64, forks uint64) {
	return k.counts.processes.Load(), k.counts.forks.Load()
}

// warnOnce logs a message the first time that key is met.
func (k *Kernel) warnOnce(key, msg string) {
	if _, met := k.warned.LoadOrStore(key, true); !met {
		k.log.Warn(msg)
	}
}

// MissingCall logs a call that is not built, once for each name.
func (k *Kernel) MissingCall(name string) {
	k.warnOnce("call "+name, "system call "+name+" is not built: ENOSYS")
}

// later runs f once the caller's locks are free.
func (k *Kernel) later(f func()) { go f() }

// groupExited ends the container whose program has ended; that of the whole is the sandbox's end. The tree is locked.
func (k *Kernel) groupExited(tg *ThreadGroup, status ExitStatus) {
	c := tg.leader.container
	k.whole.used.Add(tg.deadUsage)
	if c != k.whole {
		c.used.Add(tg.deadUsage)
	}
	switch {
	case tg != c.main:
	case c == k.whole:
		k.finish(status, nil)
	default:
		c.endLocked()
	}
}

// fail ends the sandbox for a fault of the sentry's own.
func (k *Kernel) fail(err error) {
	k.log.Errorf("the sentry failed: %v", err)
	k.finish(ExitStatus{}, err)
}

func (k *Kernel) finish(s ExitStatus, err error) {
	k.endMu.Lock()
	defer k.endMu.Unlock()
	if k.ended {
		if k.err == nil {
			k.err = err
		}
		return
	}
	k.ended, k.status, k.err = true, s, err
	close(k.end)
}

// Wait waits for the program to end, and everything that it left behind with init, and returns its
// status. The error is a fault of the sentry's own.
func (k *Kernel) Wait() (ExitStatus, error) {
	<-k.end
	if _, err := k.outcome(); err != nil {
		return ExitStatus{}, err
	}
	k.running.Wait()
	return k.outcome()
}

func (k *Kernel) outcome() (ExitStatus, error) {
	k.endMu.Lock()
	defer k.endMu.Unlock()
	return k.status, k.err
}
