package kernel

import (
	"time"

	"gosentry/mm"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Share says what a child has in common with its parent; the rest is copied.
type Share uint32

// What can be shared.
const (
	ShareMM Share = 1 << iota
	ShareFS
	ShareFiles
	ShareActions
	ShareThread // same thread group
	ShareParent // the child's parent is the caller's parent
	ShareSysVSem
	ShareIO
)

// Fresh says which namespaces a child gets anew.
type Fresh uint32

// Namespaces.
const (
	FreshMount Fresh = 1 << iota
	FreshCgroup
	FreshUTS
	FreshIPC
	FreshUser
	FreshPID
	FreshNet
	FreshTime
)

// ForkArgs tell Fork what to make. They are general: each personality decodes
// its own calls into a fresh one.
type ForkArgs struct {
	Kind       string // "fork", "vfork", "clone", "kernel": for the log
	Share      Share
	Fresh      Fresh
	Vfork      bool // the caller waits until the child has let go of the address space
	ExitSignal signal.Signal
	Stack      uint64  // the child's stack pointer; 0: as the parent's
	TLS        *uint64 // the child's thread pointer
	ParentTID  mm.Addr // where to store the child's id in the parent; 0: nowhere
	ChildTID   mm.Addr // where to store it in the child
	ClearTID   mm.Addr // where to store 0 when the child ends
	PIDFD      mm.Addr // where to store a pidfd in the parent
	WantPIDFD  bool
	SetTID     []int32 // ids asked for, innermost namespace first

	Untraced bool  // the tracer is not told
	Traced   bool  // the child gets the caller's tracer, if there is one, in any case
	event    int32 // what the fork is to the tracer, PTRACE_EVENT_*, 0 for nothing

	ClearActions bool // caught signals start at default
	CleanFiles   bool // the child's descriptor table is empty

	IntoCgroup bool  // the child is born in the cgroup whose directory is CgroupFD
	CgroupFD   int32 // else in its parent's

	began       time.Time // when Fork was called
	HoldProcess bool      // with Vfork: every thread of the process waits, and stops while it waits
	BornStopped bool      // the child runs once it is continued
	ToInit      bool      // the child is init's from the beginning
	WaitByID    bool      // only a wait for the child's own id reaps it
	HighPID     bool      // the child takes no low number, nor the place of the next

	// Main makes the child a process of the kernel's own, which runs this function instead of guest code; Name is its name.
	Main func(*Task)
	Name string
}

func (a *ForkArgs) shares(s Share) bool { return a.Share&s == s }

// validate refuses what clone(2) refuses; it has no side effects.
func (a *ForkArgs) validate() error {
	bad := []bool{
		a.shares(ShareThread) && !a.shares(ShareActions),
		a.shares(ShareActions) && !a.shares(ShareMM),
		a.shares(ShareActions) && a.ClearActions,
		a.shares(ShareFS) && a.Fresh&(FreshMount|FreshUser) != 0,
		a.shares(ShareThread) && a.Fresh&(FreshUser|FreshPID) != 0,
		a.shares(ShareFiles) && a.CleanFiles,
		a.HoldProcess && !a.Vfork,
		a.shares(ShareThread) && (a.BornStopped || a.ToInit || a.WaitByID || a.HoldProcess),
		a.Main != nil && (a.Share != 0 || a.Vfork || a.BornStopped || !a.CleanFiles),
	}
	for _, b := range bad {
		if b {
			return unix.EINVAL
		}
	}
	return nil
}

// permit refuses what the caller may not have.
func (t *Task) permitFork(a *ForkArgs) error {
	if may := t.k.policy.MayFork; may != nil && a.Main == nil && !may(t.Creds()) {
		return t.refuse(refusedPolicy, unix.EPERM)
	}
	if t.k.ending() {
		return t.refuse(refusedShutdown, unix.EAGAIN)
	}
	if t.k.shortOfMemory() {
		return t.refuse(refusedMemory, unix.EAGAIN)
	}
	if a.shares(ShareParent) && t.tg.initOf != nil {
		return unix.EINVAL
	}
	if a.shares(ShareThread) && t.Namespaces().PIDForChildren != t.pidns {
		return unix.EINVAL
	}
	return t.permitIDs(a)
}

// permitIDs refuses to choose numbers in namespaces where the caller may not; in one that is to be made, it may.
func (t *Task) permitIDs(a *ForkArgs) error {
	wanted := len(a.SetTID)
	if a.Fresh&FreshPID != 0 {
		wanted--
	}
	for ns := t.Namespaces().PIDForChildren; ns != nil && wanted > 0; ns, wanted = ns.parent, wanted-1 {
		if !ns.mayChoose(t.Creds()) {
			return unix.EPERM
		}
	}
	return nil
}
