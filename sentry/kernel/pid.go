package kernel

import (
	"runtime"
	"sync/atomic"

	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// maxPIDLevel is the level of the innermost pid namespace that can be (pid_namespaces(7)).
	maxPIDLevel = 32
	// defaultPIDMax is the first id that is never used (proc(5), pid_max).
	defaultPIDMax = 1 << 22
	// reservedPIDs are not used again once the numbers have wrapped around.
	reservedPIDs = 300
)

// PID is one identity: a number in its namespace and in each of its ancestors.
// It names a thread, and as long as they live also a thread group, a process
// group and a session; the numbers are free again when none of them is left.
type PID struct {
	// numbers[i] is the number in the namespace of level i; immutable once
	// published, and so is ns.
	numbers []int32
	ns      *PIDNamespace
	// gone says that no thread has the identity any more.
	gone atomic.Bool
	// watched says that a pidfd may be asked for once the process is gone.
	watched atomic.Bool

	// Guarded by Kernel.tree.
	reserved bool // the numbers are taken, and a reference on ns is held
	task     *Task
	tg       *ThreadGroup
	was      *ThreadGroup // the process that is gone, if it was watched
	group    *ProcessGroup
	session  *Session
}

// Watch has the process of p, which may be nil, kept after it was waited for, as long as somebody has p: a socket whose peer it is, a
// message that it sent.
func (p *PID) Watch() {
	if p != nil {
		p.watched.Store(true)
	}
}

// goneCost is about what a process that is gone costs the sentry, in bytes.
const goneCost = 4096

// reapedLocked ends the identity of a process. It is kept if it was watched and there is room for what guests have the sentry keep.
func (p *PID) reapedLocked(memory *mm.MemoryFile) {
	if p.watched.Load() && memory.TakeAside(goneCost) {
		p.was = p.tg
		runtime.AddCleanup(p, func(m *mm.MemoryFile) { m.TakeAside(-goneCost) }, memory)
	}
	p.tg = nil
}

// In returns the number of p in ns, 0 when p is not visible there.
func (p *PID) In(ns *PIDNamespace) int32 {
	if p == nil || ns.level >= len(p.numbers) {
		return 0
	}
	for n := p.ns; n != nil; n = n.parent {
		if n == ns {
			return p.numbers[ns.level]
		}
	}
	return 0
}

// leaveLocked ends the identity of thread t. Those who wait for it by pidfds learn so.
func (p *PID) leaveLocked(t *Task) {
	p.task = nil
	p.gone.Store(true)
	t.tg.exitQueue.Notify(waiter.In | waiter.RdNorm | waiter.HUp)
	p.dropLocked()
}

// PIDNamespace is a pid namespace as of pid_namespaces(7).
type PIDNamespace struct {
	nsCommon
	parent *PIDNamespace
	level  int
	steps  *atomic.Int64 // the bound of random steps, of all namespaces
	// reports counts the stops and continues that parents may wait for, here and below.
	reports atomic.Uint64

	// Guarded by Kernel.tree.
	ids  map[int32]*PID
	used pidMap // the keys of ids
	// last is the number found last, 0 at first; max is never used.
	last  int32
	max   int32
	init  *ThreadGroup
	dying bool
	tasks int
	// emptied has something when a task of a dying namespace has gone.
	emptied chan struct{}
}

// newPIDNamespace makes a namespace below parent for the holder of c, with one reference; without a parent, the initial
// one. ENOSPC too deep or over a limit, EINVAL where c's user namespace is not the one of parent's owner or below it.
func (k *Kernel) newPIDNamespace(parent *PIDNamespace, c *cred.Credentials) (*PIDNamespace, error) {
	ns := &PIDNamespace{parent: parent, ids: make(map[int32]*PID), used: make(pidMap), steps: &k.knobs.randomStep, max: defaultPIDMax}
	if parent == nil {
		ns.initFirst(k, cred.KindPID, inoPIDNS)
		return ns, nil
	}
	switch {
	case !c.UserNS.Within(parent.owner):
		return nil, unix.EINVAL
	case parent.level >= maxPIDLevel:
		return nil, unix.ENOSPC
	}
	ns.level, ns.max = parent.level+1, parent.max
	if err := ns.initFor(k, cred.KindPID, c); err != nil {
		return nil, err
	}
	parent.incRef()
	ns.close = parent.decRef
	return ns, nil
}

// Level is the number of ancestors of ns.
func (ns *PIDNamespace) Level() int { return ns.level }

// newPIDLocked reserves a number in ns and each of its ancestors. want holds
// numbers asked for (clone3's set_tid), innermost namespace first; with high the numbers
// found are none of the low ones, and the search for the next goes on from where it was.
func newPIDLocked(ns *PIDNamespace, want []int32, high bool) (*PID, error) {
	if len(want) > ns.level+1 {
		return nil, unix.EINVAL
	}
	p := &PID{ns: ns, numbers: make([]int32, ns.level+1)}
	for n, i := ns, 0; n != nil; n, i = n.parent, i+1 {
		var (
			nr  int32
			err error
		)
		if i < len(want) {
			nr, err = want[i], n.checkWantedLocked(want[i])
		} else {
			nr, err = n.nextLocked(high)
		}
		if err != nil {
			p.freeLocked()
			return nil, err
		}
		p.numbers[n.level] = nr
		n.ids[nr] = p
		n.used.set(nr)
	}
	p.reserved = true
	ns.incRef()
	return p, nil
}

func (ns *PIDNamespace) checkWantedLocked(nr int32) error {
	if nr < 1 || nr >= ns.max {
		return unix.EINVAL
	}
	if nr != 1 && ns.init == nil {
		return unix.EINVAL
	}
	if _, used := ns.ids[nr]; used {
		return unix.EEXIST
	}
	return nil
}

// mayChoose tells whether c may say which numbers are used in ns.
func (ns *PIDNamespace) mayChoose(c *cred.Credentials) bool {
	return c.HasIn(unix.CAP_SYS_ADMIN, ns.owner) || c.HasIn(unix.CAP_CHECKPOINT_RESTORE, ns.owner)
}

// freeLocked gives the numbers back.
func (p *PID) freeLocked() {
	for n := p.ns; n != nil; n = n.parent {
		if nr := p.numbers[n.level]; nr != 0 && n.ids[nr] == p {
			delete(n.ids, nr)
			n.used.clear(nr)
		}
	}
	if p.reserved {
		p.reserved = false
		p.ns.decRef()
	}
}

// dropLocked frees p if nothing is named by it any more.
func (p *PID) dropLocked() {
	if p.task == nil && p.tg == nil && p.group == nil && p.session == nil {
		p.freeLocked()
	}
}

// IDOf returns the number of p in the task's own namespace; 0 when nothing has it any
// more, or it is not visible there.
func (t *Task) IDOf(p *PID) int32 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if p.ns.ids[p.numbers[p.ns.level]] != p {
		return 0
	}
	return p.In(t.pidns)
}

// FindPID returns the identity of number nr in the task's own namespace; ESRCH when nothing has it.
func (t *Task) FindPID(nr int32) (*PID, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if p := t.pidns.ids[nr]; p != nil {
		return p, nil
	}
	return nil, unix.ESRCH
}
