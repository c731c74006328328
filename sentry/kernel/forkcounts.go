package kernel

import (
	"sync/atomic"

	"gosentry/fs/proc"
	"gosentry/mm"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// forkKind sorts forks for the counters: those with exactly the flags of fork and of vfork, threads, processes of the
// kernel's own, and the rest.
type forkKind int

const (
	kindFork forkKind = iota
	kindVfork
	kindThread
	kindKernel
	kindOther
	forkKinds
)

func (k forkKind) String() string {
	return [...]string{"fork", "vfork", "thread", "kernel", "other"}[k]
}

// kind tells how the fork is counted.
func (a *ForkArgs) kind() forkKind {
	plain := a.Fresh == 0 && a.ExitSignal == unix.SIGCHLD && !a.CleanFiles && !a.ClearActions
	switch {
	case a.Main != nil:
		return kindKernel
	case a.shares(ShareThread):
		return kindThread
	case plain && a.Share == 0 && !a.Vfork:
		return kindFork
	case plain && a.Share == ShareMM && a.Vfork:
		return kindVfork
	}
	return kindOther
}

// refusal is why a fork failed, for the counters and the event stream.
type refusal int

const (
	// refusedOther is what no step has named: the errno tells.
	refusedOther refusal = iota
	refusedPolicy
	refusedUserLimit
	refusedTableFull
	refusedIDs
	refusedCgroup
	refusedContainer
	refusedKilled
	refusedShutdown
	refusedMemory
	refusals
)

func (r refusal) String() string {
	return [...]string{"other", "policy", "user_limit", "table_full", "ids", "cgroup", "container", "killed", "shutdown", "memory"}[r]
}

// refuse remembers why the task's fork is going to fail and returns err; only for the task itself.
func (t *Task) refuse(why refusal, err error) error {
	t.refusal = why
	return err
}

// forkCounts is what /proc/sentry/forks shows.
type forkCounts struct {
	kinds        [forkKinds]kindCounts
	blocked      atomic.Uint64 // forks that made the parent wait
	sharedMemory atomic.Uint64
	refused      [refusals]atomic.Uint64
	cpus         [maxCPUs]cpuForks
}

// kindCounts has the pages of the children's address spaces at their birth.
type kindCounts struct{ forks, dataPages, stackPages atomic.Uint64 }

// cpuForks counts where the parents ran.
type cpuForks struct{ forks, vforks atomic.Uint64 }

// maxCPUs bounds the processors that are told apart.
const maxCPUs = 64

func (c *forkCounts) add(child *Task, a *ForkArgs) {
	k := &c.kinds[a.kind()]
	k.forks.Add(1)
	if m := child.MM(); m != nil {
		data, stack := m.Sizes()
		k.dataPages.Add(data / mm.PageSize)
		k.stackPages.Add(stack / mm.PageSize)
	}
	cpu := &c.cpus[arch.CPU()%maxCPUs]
	if a.Vfork {
		c.blocked.Add(1)
		cpu.vforks.Add(1)
	} else {
		cpu.forks.Add(1)
	}
	if a.shares(ShareMM) {
		c.sharedMemory.Add(1)
	}
}

// show returns the counters for package proc.
func (c *forkCounts) show() proc.ForkCounts {
	f := proc.ForkCounts{Blocked: c.blocked.Load(), SharedMemory: c.sharedMemory.Load()}
	for k := range forkKinds {
		n := &c.kinds[k]
		f.Kinds = append(f.Kinds, proc.ForkKind{
			Name: k.String(), Forks: n.forks.Load(), DataPages: n.dataPages.Load(), StackPages: n.stackPages.Load(),
		})
	}
	for r := range refusals {
		f.Refused = append(f.Refused, proc.ForkRefusals{Reason: r.String(), Count: c.refused[r].Load()})
	}
	for i := range c.cpus {
		if n := [2]uint64{c.cpus[i].forks.Load(), c.cpus[i].vforks.Load()}; n != [2]uint64{} {
			f.CPUs = append(f.CPUs, proc.ForkCPU{CPU: i, Forks: n[0], Vforks: n[1]})
		}
	}
	return f
}
