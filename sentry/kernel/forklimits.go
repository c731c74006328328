package kernel

import (
	"runtime"
	"sync/atomic"
	"time"

	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// A fork has three rings to pass, each EAGAIN: the user's (RLIMIT_NPROC), the container's with the sandbox's, and
// the table of all tasks, whose last slot is root's. The child is counted before anything else
// is done, so that no two forks take the same slot.

const (
	// maxTasks bounds the tasks of a sandbox whatever its limits say: each is a
	// goroutine and a few kilobytes of the sentry.
	maxTasks = 32768
	// minTasks is the least that the table can be set to.
	minTasks = 20
	// tableMessageEvery is how often at most a full table is worth a message.
	tableMessageEvery = 10 * time.Second
	// brakeStep is what each refused fork that waits adds to the wait, by processor.
	brakeStep = 10 * time.Millisecond
)

// ForkPolicy has a say in forks. Its functions may be nil; they may not block, nor call the kernel.
type ForkPolicy struct {
	// MayFork tells whether c has the privilege to fork at all; EPERM if not.
	MayFork func(c *cred.Credentials) bool
	// Tasks tells whether c may bring the number of all tasks to n; EAGAIN if not.
	Tasks func(c *cred.Credentials, n int) bool
	// PastLimit tells whether c may pass its RLIMIT_NPROC. Without it root may, and who has
	// CAP_SYS_RESOURCE or CAP_SYS_ADMIN (getrlimit(2)).
	PastLimit func(c *cred.Credentials) bool
}

// forkKnobs are the files in /proc/sys that bear on forks, and others that are numbers of the kernel; see Knobs.
type forkKnobs struct {
	table      atomic.Int64 // tasks, threads-max
	randomStep atomic.Int64 // numbers
	failSleep  atomic.Int64 // ms that a refused fork takes
	brake      atomic.Int64 // 1: and longer the more of them there are
	childFirst atomic.Int64 // 1: a child runs before its parent goes on
	freeFloor  atomic.Int64 // KiB of free memory, below which nothing forks
	openFiles  atomic.Int64 // descriptors of a table, fs.nr_open
	coreByPID  atomic.Int64 // 1: names of core files end in the process's number
	// hideMessages is kernel.dmesg_restrict: 1 keeps the log from all without CAP_SYSLOG.
	hideMessages atomic.Int64
	corePlace    atomic.Pointer[string]
}

func (f *forkKnobs) init() {
	f.table.Store(maxTasks)
	f.openFiles.Store(limits.MaxNoFile)
	f.hideMessages.Store(1)
}

// forkRefusals are what is remembered of forks that were refused.
type forkRefusals struct {
	waiting atomic.Int64 // that sleep just now
	told    atomic.Int64 // when a full table was last told of, ns of the monotonic clock; 0: never
}

// isRootOfAll tells whether c is user 0 of the initial user namespace, whatever namespace it is in.
func isRootOfAll(c *cred.Credentials) bool { return c.RUID == 0 }

func (k *Kernel) pastLimit(c *cred.Credentials) bool {
	if k.policy.PastLimit != nil {
		return k.policy.PastLimit(c)
	}
	return c.HasGlobal(unix.CAP_SYS_RESOURCE) || c.HasGlobal(unix.CAP_SYS_ADMIN) || isRootOfAll(c)
}

// enter counts the new task c for its user; parent's process has the limits. EAGAIN when one of
// the rings is full.
func (k *Kernel) enter(parent, c *Task) error {
	creds, u := c.Creds(), k.users
	past, table := k.pastLimit(parent.Creds()), int(k.knobs.table.Load())
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.tasks + 1
	if now > table || now == table && !isRootOfAll(creds) {
		k.tellFullTable(now)
		return parent.refuse(refusedTableFull, unix.EAGAIN)
	}
	if may := k.policy.Tasks; may != nil && !may(creds, now) {
		k.tellFullTable(now)
		return parent.refuse(refusedTableFull, unix.EAGAIN)
	}
	if c.container.fullLocked() {
		return parent.refuse(refusedContainer, unix.EAGAIN)
	}
	if !past && u.overLocked(keyOf(creds), countTasks, 1, parent.Limits().Soft(limits.NProc)) {
		return parent.refuse(refusedUserLimit, unix.EAGAIN)
	}
	u.addLocked(keyOf(creds), countTasks, 1)
	u.tasks = now
	c.container.tasks++
	c.container.live++
	return nil
}

// tellFullTable logs that there is no room for the given number of tasks, unless it did so lately.
func (k *Kernel) tellFullTable(tasks int) {
	now, last := k.clocks.Monotonic().Now(), k.refusals.told.Load()
	if last != 0 && now-last < int64(tableMessageEvery) || !k.refusals.told.CompareAndSwap(last, now) {
		return
	}
	k.log.Warnf("the process table is full: no room for %d tasks (/proc/sys/kernel/threads-max)", tasks)
}

// checkNProc is EAGAIN for a task that became a user with too many tasks, if it still has too
// many (execve(2)); before the exec it could have ended in peace.
func (t *Task) checkNProc() error {
	over := t.overNProc && t.k.users.over(keyOf(t.Creds()), t.Limits().Soft(limits.NProc))
	t.overNProc = over
	if over {
		return unix.EAGAIN
	}
	return nil
}

// payForRefusal makes a fork that was refused for want of a slot take some time, if the knobs
// say so. Only death ends it early.
func (t *Task) payForRefusal() {
	switch t.refusal {
	case refusedTableFull, refusedContainer, refusedUserLimit, refusedIDs, refusedCgroup:
	default:
		return
	}
	knobs := &t.k.knobs
	wait := time.Duration(knobs.failSleep.Load()) * time.Millisecond
	if knobs.brake.Load() != 0 {
		waiting := t.k.refusals.waiting.Add(1)
		defer t.k.refusals.waiting.Add(-1)
		wait += brakeStep * time.Duration(waiting/int64(runtime.NumCPU())+1)
	}
	if wait > 0 {
		t.blockKillableFor(nil, wait)
	}
}

// shortOfMemory tells whether less memory is free than a fork must find.
func (k *Kernel) shortOfMemory() bool {
	free := int64(k.memory.Limit()) - int64(k.memory.Usage())
	return free < k.knobs.freeFloor.Load()<<10
}

// ending tells whether the sandbox's program has ended.
func (k *Kernel) ending() bool {
	select {
	case <-k.end:
		return true
	default:
		return false
	}
}
