package kernel

import (
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/limits"
	"gosentry/sentry/loader"

	"golang.org/x/sys/unix"
)

// Scheduling is what sched_setscheduler(2) sets. It is remembered; the host's
// scheduler decides.
type Scheduling struct {
	Policy   int32
	Priority int32
	// Affinity has a bit for each processor that the thread may use; nil: all.
	// It is not to be changed.
	Affinity []uint64
}

// schedReset in Policy makes children start without real-time policy and raised priority.
const schedReset = 0x40000000 // SCHED_RESET_ON_FORK

// forChild is what a child starts with.
func (s Scheduling) forChild() Scheduling {
	if s.Policy&schedReset != 0 {
		if s.Policy &^= schedReset; s.Priority != 0 {
			s.Policy, s.Priority = 0, 0
		}
	}
	return s
}

// Yield lets other tasks run first (sched_yield(2)), if there are any that do not wait. Tasks that run hold a thread of
// the host each, so the host's scheduler is the one to ask: Go's would
// hand the thread over and back.
func (t *Task) Yield() {
	if t.k.awake.Load() <= 1 {
		return
	}
	if y, ok := t.ctx.(platform.Yielder); ok {
		y.Yield()
	}
	unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

// threadLocked finds thread id, 0 meaning the caller; ESRCH.
func (t *Task) threadLocked(id int32) (*Task, error) {
	if id == 0 {
		return t, nil
	}
	if p := t.pidns.ids[id]; id > 0 && p != nil && p.task != nil {
		return p.task, nil
	}
	return nil, unix.ESRCH
}

// Scheduling returns how thread id is scheduled; EINVAL, ESRCH.
func (t *Task) Scheduling(id int32) (Scheduling, error) {
	if id < 0 {
		return Scheduling{}, unix.EINVAL
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o, err := t.threadLocked(id)
	if err != nil {
		return Scheduling{}, err
	}
	return o.sched, nil
}

// SetScheduling sets it; EPERM for another user's thread.
func (t *Task) SetScheduling(id int32, s Scheduling) error {
	m, err := t.setScheduling(id, s)
	if m != nil && s.Affinity != nil {
		followAffinity(m)
	}
	if m != nil {
		m.DecUsers()
	}
	return err
}

// setScheduling is SetScheduling but for what follows in the thread's memory, which it returns to be released; nil: none.
func (t *Task) setScheduling(id int32, s Scheduling) (*mm.MemoryManager, error) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	o, err := t.threadLocked(id)
	if err != nil {
		return nil, err
	}
	if !t.owns(o) {
		return nil, unix.EPERM
	}
	o.sched = s
	if m := o.MM(); m != nil && m.IncUsers() {
		return m, nil
	}
	return nil, nil
}

// followAffinity has the code of the vDSO in m tell a processor that a thread may use. Without room for that it goes on telling
// the host's.
func followAffinity(m *mm.MemoryManager) { _ = loader.AskCPU(m) }

// owns tells whether t may change the scheduling of o.
func (t *Task) owns(o *Task) bool {
	c, d := t.Creds(), o.Creds()
	return c.EUID == d.RUID || c.EUID == d.EUID || c.HasIn(unix.CAP_SYS_NICE, d.UserNS)
}

// NiceKind says whom getpriority(2) and setpriority(2) are about.
type NiceKind int

// Kinds of NiceKind.
const (
	NiceThread NiceKind = iota
	NiceGroup
	NiceUser
)

// niceTargetsLocked are the tasks that who means.
func (t *Task) niceTargetsLocked(kind NiceKind, who int32) []*Task {
	var all []*Task
	switch kind {
	case NiceThread:
		if o, err := t.threadLocked(who); err == nil {
			all = append(all, o)
		}
	case NiceGroup:
		if g := t.waitGroupLocked(who); g != nil {
			for tg := range g.members {
				all = append(all, tg.tasks...)
			}
		}
	case NiceUser:
		uid, ok := t.Creds().UserNS.ToUID(uint32(who))
		if who == 0 {
			uid, ok = t.Creds().RUID, true
		}
		if !ok {
			return nil
		}
		for _, p := range t.pidns.ids {
			if p.task != nil && p.task.Creds().RUID == uid {
				all = append(all, p.task)
			}
		}
	}
	return all
}

// Nice returns the lowest nice value, -20 to 19, of those meant; ESRCH.
func (t *Task) Nice(kind NiceKind, who int32) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	least, found := int32(20), false
	for _, o := range t.niceTargetsLocked(kind, who) {
		least, found = min(least, o.nice.Load()), true
	}
	if !found {
		return 0, unix.ESRCH
	}
	return least, nil
}

// SetNice sets the nice value of those meant; EPERM for others' tasks, EACCES for
// a value below what RLIMIT_NICE allows.
func (t *Task) SetNice(kind NiceKind, who, nice int32) error {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	result := error(unix.ESRCH)
	for _, o := range t.niceTargetsLocked(kind, who) {
		floor := 20 - int32(min(o.tg.limits.Soft(limits.Nice), 40))
		switch {
		case !t.owns(o):
			result = unix.EPERM
		case nice < o.nice.Load() && nice < floor && !t.Creds().HasGlobal(unix.CAP_SYS_NICE):
			result = unix.EACCES
		default:
			o.nice.Store(nice)
			if result == unix.ESRCH {
				result = nil
			}
		}
	}
	return result
}

// LimitsOf returns the limits of process pid, 0 meaning the caller's; ESRCH, EPERM.
func (t *Task) LimitsOf(pid int32) (*limits.Set, error) {
	tg, err := t.limitsTarget(pid)
	if err != nil {
		return nil, err
	}
	return tg.limits, nil
}

func (t *Task) limitsTarget(pid int32) (*ThreadGroup, error) {
	if pid == 0 {
		return t.tg, nil
	}
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	o, err := t.threadLocked(pid)
	if err != nil {
		return nil, err
	}
	c, d := t.Creds(), o.Creds()
	same := c.RUID == d.EUID && c.RUID == d.SUID && c.RUID == d.RUID &&
		c.RGID == d.EGID && c.RGID == d.SGID && c.RGID == d.RGID
	if o.tg != t.tg && !same && !c.HasIn(unix.CAP_SYS_RESOURCE, d.UserNS) {
		return nil, unix.EPERM
	}
	return o.tg, nil
}

// Bits of personality(2).
const (
	personaNoRandomize = 0x40000 // ADDR_NO_RANDOMIZE
	// personaInsecure are those that a program which gains rights starts without:
	// they would make it easier to attack.
	personaInsecure = personaNoRandomize | 0x100000 | 0x200000 | 0x400000
)

// Persona is the persona of personality(2).
func (tg *ThreadGroup) Persona() uint32 { return tg.persona.Load() }

// SetPersona sets the persona of personality(2) unless it is the query value, and
// returns the old one.
func (tg *ThreadGroup) SetPersona(p uint32) uint32 {
	if p == ^uint32(0) {
		return tg.persona.Load()
	}
	return tg.persona.Swap(p)
}
