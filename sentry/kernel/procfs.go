package kernel

import (
	"slices"

	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// ProcView is the processes of one pid namespace as package proc shows them.
type ProcView struct {
	k  *Kernel
	ns *PIDNamespace
	in *Container
	// System are the parts of Info that the personality knows.
	System proc.Info
}

// NewProcView returns the view of the initial pid namespace.
func (k *Kernel) NewProcView(system proc.Info) *ProcView {
	return &ProcView{k: k, ns: k.rootPIDNS, in: k.whole, System: system}
}

// NewProcView returns the view of the container's pid namespace.
func (c *Container) NewProcView(system proc.Info) *ProcView {
	return &ProcView{k: c.k, ns: c.pids, in: c, System: system}
}

// NewProcViewFor returns the view that t's mount(2) shows: of its own pid namespace.
func (t *Task) NewProcViewFor(system proc.Info) *ProcView {
	return &ProcView{k: t.k, ns: t.pidns, in: t.container, System: system}
}

// taskOf returns the task that a caller is, nil for the sentry itself.
func taskOf(c vfs.Caller) *Task {
	switch t := c.(type) {
	case *Task:
		return t
	case realUser:
		return t.Task
	}
	return nil
}

// Self implements proc.Processes.
func (v *ProcView) Self(c vfs.Caller) (pid, tid int32) {
	t := taskOf(c)
	if t == nil {
		return 0, 0
	}
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	return t.tg.pid.In(v.ns), t.pid.In(v.ns)
}

// Root implements proc.Processes.
func (v *ProcView) Root(c vfs.Caller) vfs.Path {
	if t := taskOf(c); t != nil {
		return t.FS().Root()
	}
	return v.in.ns.Mount.Root()
}

// PIDs implements proc.Processes.
func (v *ProcView) PIDs() []int32 {
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	var all []int32
	for nr, p := range v.ns.ids {
		if p.tg != nil {
			all = append(all, nr)
		}
	}
	return all
}

// Task implements proc.Processes.
func (v *ProcView) Task(id int32) proc.Task {
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	if p := v.ns.ids[id]; p != nil && p.task != nil {
		return procTask{p.task, v.ns}
	}
	return nil
}

// Names implements proc.Processes.
func (v *ProcView) Names(c vfs.Caller) (host, domain string) {
	return v.utsOf(c).Names()
}

func (v *ProcView) utsOf(c vfs.Caller) *UTSNamespace {
	if t := taskOf(c); t != nil {
		return t.Namespaces().UTS
	}
	return v.in.ns.UTS
}

// SetNames implements proc.Processes.
func (v *ProcView) SetNames(c vfs.Caller, host, domain string) error {
	if !c.Creds().HasIn(unix.CAP_SYS_ADMIN, v.utsOf(c).Owner()) {
		return unix.EPERM
	}
	if host != "" {
		v.utsOf(c).SetHost(host)
	}
	if domain != "" {
		v.utsOf(c).SetDomain(domain)
	}
	return nil
}

// Info implements proc.Processes.
func (v *ProcView) Info() proc.Info {
	k := v.k
	i := v.System
	i.BootTime = k.clocks.Realtime().Now() - k.clocks.Boottime().Now()
	i.Uptime = k.clocks.Boottime().Now()
	i.OpenFiles, i.MaxFiles = k.VFS().OpenFiles(), k.memory.MostAside()/fileCost
	i.MemTotal = v.in.memory.Limit()
	i.Anonymous = min(v.in.memory.Usage(), i.MemTotal)
	i.MemFree = i.MemTotal - i.Anonymous
	i.MemAvailable = i.MemFree
	i.Committed = i.Anonymous
	k.tree.RLock()
	defer k.tree.RUnlock()
	for _, p := range v.ns.ids {
		if p.task == nil {
			continue
		}
		i.Tasks++
		if runState(p.task.state.Load()) == running {
			i.Running++
		}
		u := p.task.Usage()
		i.UserTime += int64(u.User)
		i.SysTime += int64(u.System)
	}
	i.LastPID = v.ns.last
	i.Forks = k.counts.forks.Load()
	i.ForkCounts = k.forkCounts.show()
	return i
}

// stateLetters are those of proc(5), by runState.
var stateLetters = [...]byte{running: 'R', sleeping: 'S', stopped: 'T', zombie: 'Z', traceStopped: 't'}

// procTask is a task seen from a pid namespace.
type procTask struct {
	t  *Task
	ns *PIDNamespace
}

var _ proc.Processes = (*ProcView)(nil)

// Exists implements proc.Task.
func (p procTask) Exists() bool {
	p.t.k.tree.RLock()
	defer p.t.k.tree.RUnlock()
	if p.t == p.t.tg.leader {
		return !p.t.tg.reaped
	}
	return !p.t.exited
}

// Status implements proc.Task.
func (p procTask) Status(process bool) proc.Status {
	t := p.t
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	s := proc.Status{Name: t.Name(), State: stateLetters[t.state.Load()], TTYGroup: -1}
	p.idsLocked(&s)
	p.timesLocked(&s, process)
	p.signalsLocked(&s)
	tg := t.tg
	s.Threads = tg.live
	s.ExitSignal = tg.exitSignal
	if tg.exited {
		s.ExitStatus = uint32(tg.exitStatus.Wait())
	}
	if fs := t.FS(); fs != nil {
		s.Umask = fs.Umask()
	}
	if fds := t.FDs(); fds != nil {
		s.FDSize = fds.size()
	}
	r := t.rules.Load()
	if s.Seccomp = r.seccompMode(); s.Seccomp == SeccompFilter {
		s.SeccompCount = r.chain.Count()
	}
	s.Personality = tg.persona.Load()
	s.Dumpable = tg.Dumpable() && t.MM() != nil
	s.KernelThread = t.main != nil
	s.Nice, s.Affinity = t.nice.Load(), t.sched.Affinity
	s.StartTime = int64(tg.start.Sub(t.k.boot)) + t.k.bootUptime
	s.TimerSlack = int64(t.slackNS.Load())
	s.OOMScoreAdj = tg.oomScore.Load()
	s.CoreFilter, s.StopForks = tg.coreFilter.Load(), tg.stopForks.Load()
	return s
}

func (p procTask) idsLocked(s *proc.Status) {
	tg := p.t.tg
	s.TID, s.TGID = p.t.pid.In(p.ns), tg.pid.In(p.ns)
	if tg.parent != nil {
		s.PPID = tg.parent.pid.In(p.ns)
	}
	s.ProcessGroup = tg.group.pid.In(p.ns)
	s.Session = tg.group.session.pid.In(p.ns)
	level := p.ns.level
	s.TIDs = slices.Clone(p.t.pid.numbers[level:])
	s.TGIDs = slices.Clone(tg.pid.numbers[level:])
	s.ProcessGroups = slices.Clone(tg.group.pid.numbers[min(level, len(tg.group.pid.numbers)):])
	s.Sessions = slices.Clone(tg.group.session.pid.numbers[min(level, len(tg.group.session.pid.numbers)):])
	if tty := tg.group.session.tty; tty != nil {
		s.TTY = tty.device
		if tty.foreground != nil {
			s.TTYGroup = tty.foreground.pid.In(p.ns)
		}
	}
}

func (p procTask) timesLocked(s *proc.Status, process bool) {
	u, c := p.t.Usage(), Usage{}
	if process {
		u, c = p.t.tg.usageLocked(), p.t.tg.childUsage
	}
	s.UserTime, s.SystemTime = int64(u.User), int64(u.System)
	s.ChildUser, s.ChildSystem = int64(c.User), int64(c.System)
	s.MinorFaults, s.MajorFaults = u.MinorFaults, u.MajFaults
	s.ChildMinor, s.ChildMajor = c.MinorFaults, c.MajFaults
	s.Switches, s.Preemptions = u.VoluntarySwitches, u.InvoluntarySwitches
}

func (p procTask) signalsLocked(s *proc.Status) {
	tg := p.t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	s.Pending, s.SharedPending = p.t.pending.Pending(), tg.pending.Pending()
	s.Blocked = p.t.mask
	s.Ignored, s.Caught = tg.handlers.Sets()
	s.SignalsQueued = p.t.k.users.signals(keyOf(p.t.Creds()))
	if tr := p.t.tracee; tr != nil {
		s.TracerPID = tr.tracer.pid.In(p.ns)
	}
	if s.State != 't' && tg.stop.complete && !tg.exited {
		s.State = stateLetters[stopped]
	}
}

// Limits implements proc.Task.
func (p procTask) Limits() *limits.Set { return p.t.tg.limits }

// Places implements proc.Task.
func (p procTask) Places() proc.Places {
	var places proc.Places
	if ns := p.t.Namespaces(); ns != nil {
		places.Mounts = ns.Mount.Namespace
	}
	if fs := p.t.FS(); fs != nil {
		places.Root, places.WorkDir = fs.Root(), fs.CWD()
	}
	if exe := p.t.exe.Load(); exe != nil {
		places.Executable = exe.Path()
	}
	return places
}

// Descriptors implements proc.Task.
func (p procTask) Descriptors() []int32 {
	var all []int32
	if fds := p.t.FDs(); fds != nil {
		fds.Each(func(fd int32, _ *vfs.File, _ bool) bool {
			all = append(all, fd)
			return true
		})
	}
	return all
}

// Descriptor implements proc.Task.
func (p procTask) Descriptor(fd int32) (*vfs.File, bool) {
	fds := p.t.FDs()
	if fds == nil {
		return nil, false
	}
	f, err := fds.Get(fd)
	if err != nil {
		return nil, false
	}
	cloexec, _ := fds.CloseOnExec(fd)
	return f, cloexec
}

// Threads implements proc.Task.
func (p procTask) Threads() []int32 {
	p.t.k.tree.RLock()
	defer p.t.k.tree.RUnlock()
	var all []int32
	for _, t := range p.t.tg.tasks {
		if !t.exited || t == p.t.tg.leader {
			all = append(all, t.pid.In(p.ns))
		}
	}
	return all
}

// MayAccess implements proc.Task.
func (p procTask) MayAccess(c vfs.Caller, _ bool) error {
	if t := taskOf(c); t == nil || t.tg == p.t.tg {
		return nil
	}
	if a := c.Creds(); p.t.opensTo(a, a.FSUID, a.FSGID, a.Effective) {
		return nil
	}
	return unix.EACCES
}

// SetName implements proc.Task.
func (p procTask) SetName(name string) error {
	p.t.SetName(name)
	return nil
}

// SetOOMScoreAdj implements proc.Task.
func (p procTask) SetOOMScoreAdj(c vfs.Caller, adj int32) error {
	if adj < p.t.tg.oomScore.Load() && !c.Creds().HasGlobal(unix.CAP_SYS_RESOURCE) {
		return unix.EACCES
	}
	p.t.tg.oomScore.Store(adj)
	return nil
}

// SetCoreFilter implements proc.Task.
func (p procTask) SetCoreFilter(bits uint32) { p.t.tg.coreFilter.Store(bits) }

// SetStopForks implements proc.Task.
func (p procTask) SetStopForks(on bool) { p.t.tg.stopForks.Store(on) }
