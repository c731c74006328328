package kernel

import (
	"bytes"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/ipc"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// Bounds of the sentry's memory behind objects of interprocess communication, in bytes.
const (
	minIPCBudget = 32 << 20
	maxIPCBudget = 256 << 20
)

// newIPCBudget bounds the objects of all namespaces: a part of the guest's memory.
func newIPCBudget(memory *mm.MemoryFile) *ipc.Budget {
	return ipc.NewBudget(int64(min(max(memory.Limit()/16, minIPCBudget), maxIPCBudget)))
}

// sysV returns the System V objects of an IPC namespace.
func (k *Kernel) sysV(n *IPCNamespace) *ipc.Namespace {
	return n.Part("sysv", func() IPCPart {
		return ipc.New(ipc.Config{
			Owner: n.Owner(), Memory: k.memory, Budget: k.ipcBudget,
			Now: func() int64 { return k.clocks.Realtime().Now() / 1e9 },
		})
	}).(*ipc.Namespace)
}

// SysV returns the System V objects of the task's IPC namespace.
func (t *Task) SysV() *ipc.Namespace { return t.k.sysV(t.Namespaces().IPC) }

// IPCCaller is the task as package ipc sees it.
func (t *Task) IPCCaller() ipc.Caller {
	return ipc.Caller{Creds: t.Creds(), Process: t.tg.pid, MemLock: t.Limits().Soft(limits.MemLock)}
}

// ProcessID returns the number of a process that package ipc has kept, in the task's own pid namespace; 0 for
// none, or one that is not visible there. It also has one for a process that has ended.
func (t *Task) ProcessID(p ipc.Process) int32 { return idIn(t.pidns, p) }

func idIn(ns *PIDNamespace, p ipc.Process) int32 {
	if pid, ok := p.(*PID); ok {
		return pid.In(ns)
	}
	return 0
}

// SemUndo returns the task's list of semaphore adjustments; only for the task itself.
func (t *Task) SemUndo() *ipc.UndoList {
	u := t.semUndo.Load()
	if u == nil {
		u = ipc.NewUndoList()
		t.semUndo.Store(u)
	}
	return u
}

// forkSemUndo shares the list with a child that asks for it; others begin without one (fork(2)).
func (t *Task) forkSemUndo(c *Task, a *ForkArgs, undo *undoStack) error {
	if a.shares(ShareSysVSem) {
		c.semUndo.Store(t.SemUndo().Share())
		undo.push(c.dropSemUndo)
	}
	return nil
}

// dropSemUndo ends the task's part in its list; the last one's adjustments are made.
func (t *Task) dropSemUndo() {
	if u := t.semUndo.Swap(nil); u != nil {
		u.Drop(t.tg.pid)
	}
}

// ipcOf returns the IPC namespace of who asks, the initial one for the sentry itself.
func (v *ProcView) ipcOf(c vfs.Caller) *IPCNamespace {
	if t := taskOf(c); t != nil {
		if ns := t.Namespaces(); ns != nil {
			return ns.IPC
		}
	}
	return v.in.ns.IPC
}

// IPCTable implements proc.Processes.
func (v *ProcView) IPCTable(c vfs.Caller, name string, b *bytes.Buffer) {
	user := c.Creds().UserNS
	v.k.sysV(v.ipcOf(c)).Table(b, name, ipc.Viewer{
		Process: func(p ipc.Process) int32 { return idIn(v.ns, p) },
		User:    func(u cred.UID) uint32 { return user.ShowUID(u) },
		Group:   func(g cred.GID) uint32 { return user.ShowGID(g) },
	})
}

// ipcKnobs are what has files in a directory of /proc/sys.
type ipcKnobs interface {
	Knob(name string) (string, error)
	SetKnob(name, text string) error
}

// knobsOf returns what has the files in directory dir of /proc/sys, "kernel" or "fs/mqueue".
func (v *ProcView) knobsOf(c vfs.Caller, dir string) ipcKnobs {
	if dir == "kernel" {
		return v.k.sysV(v.ipcOf(c))
	}
	return v.k.mqueues(v.ipcOf(c))
}

// IPCKnob implements proc.Processes.
func (v *ProcView) IPCKnob(c vfs.Caller, dir, name string) (string, error) {
	return v.knobsOf(c, dir).Knob(name)
}

// SetIPCKnob implements proc.Processes.
func (v *ProcView) SetIPCKnob(c vfs.Caller, dir, name, text string) error {
	if !c.Creds().HasIn(unix.CAP_SYS_ADMIN, v.ipcOf(c).Owner()) {
		return unix.EPERM
	}
	return v.knobsOf(c, dir).SetKnob(name, text)
}
