package kernel

import (
	"sync"

	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/ktime"
	"gosentry/sentry/loader"

	"golang.org/x/sys/unix"
)

// TimeNamespace is a time namespace (time_namespaces(7)). The clocks in one with offsets cannot be read without a
// call: its processes have a vDSO that knows no time.
type TimeNamespace struct {
	nsCommon

	mu sync.Mutex
	// Guarded by mu. Written until the first task is in the namespace.
	offsets proc.TimeOffsets
	fixed   bool
}

func (n *TimeNamespace) shift() proc.TimeOffsets {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.offsets
}

// fix ends the time in which offsets can be set: somebody enters.
func (n *TimeNamespace) fix() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fixed = true
}

// freshTime makes a time namespace for the next children.
func (t *Task) freshTime(n *Namespaces, c *cred.Credentials) (*nsCommon, error) {
	n.TimeForChildren = &TimeNamespace{offsets: n.Time.shift()}
	return &n.TimeForChildren.nsCommon, n.TimeForChildren.initFor(t.k, cred.KindTime, c)
}

// Monotonic returns CLOCK_MONOTONIC as the task's time namespace has it.
func (t *Task) Monotonic() ktime.Clock {
	return ktime.Shifted(t.k.clocks.Monotonic(), t.Namespaces().Time.shift().Monotonic)
}

// Boottime returns CLOCK_BOOTTIME as the task's time namespace has it.
func (t *Task) Boottime() ktime.Clock {
	return ktime.Shifted(t.k.clocks.Boottime(), t.Namespaces().Time.shift().Boottime)
}

// inTime returns n with the children's time namespace as its own, when that is another: a program that starts, or
// a process with a copy of memory, is in it. The reference on n is taken over.
func (n *Namespaces) inTime() *Namespaces {
	if n.Time == n.TimeForChildren {
		return n
	}
	m := n.copy()
	m.Time = n.TimeForChildren
	m.Time.fix()
	m.publish()
	n.decRef()
	return m
}

// vdsoIn returns the vDSO for programs in a time namespace.
func (k *Kernel) vdsoIn(n *TimeNamespace) (*loader.VDSO, error) {
	if k.vdso == nil || n.shift() == (proc.TimeOffsets{}) {
		return k.vdso, nil
	}
	return k.timelessVDSO()
}

// changeTime makes the memory m of a task in the time namespace from read the clocks of to.
func (k *Kernel) changeTime(m *mm.MemoryManager, from, to *TimeNamespace) error {
	if from == to || k.vdso == nil {
		return nil
	}
	v, err := k.vdsoIn(to)
	if err != nil {
		return err
	}
	return v.ReplaceClocks(m)
}

// maxTimeOffset bounds offsets and what clocks read with them, in s.
const maxTimeOffset = 1 << 63 / 1_000_000_000

// TimeOffsets implements proc.Task.
func (p procTask) TimeOffsets() (proc.TimeOffsets, bool) {
	ns := p.t.Namespaces()
	if ns == nil {
		return proc.TimeOffsets{}, false
	}
	return ns.TimeForChildren.shift(), true
}

// SetTimeOffsets implements proc.Task.
func (p procTask) SetTimeOffsets(opener *cred.Credentials, all []proc.TimeOffset) error {
	ns := p.t.Namespaces()
	if ns == nil {
		return unix.ESRCH
	}
	n, k := ns.TimeForChildren, p.t.k
	if !opener.HasIn(unix.CAP_SYS_TIME, n.owner) {
		return unix.EPERM
	}
	for _, o := range all {
		now := k.clocks.Monotonic().Now()
		if o.Boottime {
			now = k.clocks.Boottime().Now()
		}
		if o.Sec > maxTimeOffset || o.Sec < -maxTimeOffset {
			return unix.ERANGE
		}
		if at := now/1e9 + o.Sec; at < 0 || at > maxTimeOffset/2 {
			return unix.ERANGE
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fixed || n == k.first.Time {
		return unix.EACCES
	}
	for _, o := range all {
		ns := o.Sec*1e9 + o.Nsec
		if o.Boottime {
			n.offsets.Boottime = ns
		} else {
			n.offsets.Monotonic = ns
		}
	}
	return nil
}

// BootOffset implements proc.Processes.
func (v *ProcView) BootOffset(c vfs.Caller) int64 {
	if t := taskOf(c); t != nil {
		return t.Namespaces().Time.shift().Boottime
	}
	return 0
}
