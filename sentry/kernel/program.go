package kernel

import (
	"slices"

	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Program is a program that was started from outside.
type Program struct {
	task *Task
}

// NewPIDNamespace returns a pid namespace without processes, for a program to be the init of; it belongs to the
// user namespace of c.
func (k *Kernel) NewPIDNamespace(c *cred.Credentials) (*PIDNamespace, error) {
	return k.newPIDNamespace(k.rootPIDNS, c)
}

// SetDomain sets the domain name that programs from outside see.
func (k *Kernel) SetDomain(name string) { k.first.UTS.SetDomain(name) }

// Start lets the program run.
func (p *Program) Start() { p.task.start() }

// Wait waits for the program's end.
func (p *Program) Wait() ExitStatus {
	tg := p.task.tg
	<-tg.dead
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tg.exitStatus
}

// ID is the program's process id in its own pid namespace.
func (p *Program) ID() int32 { return p.task.tg.pid.In(p.task.pidns) }

// Signal sends a signal from outside to the process with the given id in the program's pid namespace, 0
// for the program itself. ESRCH.
func (p *Program) Signal(id int32, sig signal.Signal) error {
	if !signal.Valid(sig) {
		return unix.EINVAL
	}
	k := p.task.k
	k.tree.RLock()
	defer k.tree.RUnlock()
	tg := p.task.tg
	if id != 0 {
		o := p.task.pidns.ids[id]
		if o == nil || o.tg == nil {
			return unix.ESRCH
		}
		tg = o.tg
	}
	return tg.signalFromOutside(sig)
}

// signalFromOutside sends a signal that nobody inside sent. The init of a namespace has no say about SIGKILL and
// SIGSTOP from here, as from any ancestor.
func (tg *ThreadGroup) signalFromOutside(sig signal.Signal) error {
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	return tg.sendLocked(&signal.Info{Signo: sig, Code: signal.CodeUser}, nil, true)
}

// SignalAll sends a signal to every process in the program's pid namespace.
func (p *Program) SignalAll(sig signal.Signal) error {
	if !signal.Valid(sig) {
		return unix.EINVAL
	}
	for _, id := range p.Processes() {
		if err := p.Signal(id, sig); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// Processes returns the ids of the processes that live in the program's pid namespace, in order.
func (p *Program) Processes() []int32 {
	k := p.task.k
	k.tree.RLock()
	defer k.tree.RUnlock()
	var ids []int32
	for id, o := range p.task.pidns.ids {
		if o.tg != nil && o.tg.live > 0 && o.tg != k.init {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Pause makes all processes stand still, or go on, whatever their control groups say.
func (k *Kernel) Pause(on bool) {
	k.tree.Lock()
	defer k.tree.Unlock()
	k.paused = on
	for _, p := range k.rootPIDNS.ids {
		if p.tg != nil && p.tg != k.init && p.tg.live > 0 {
			p.tg.freezeLocked()
		}
	}
}

// freezeLocked makes the process do what its group and the kernel want of it.
func (tg *ThreadGroup) freezeLocked() { tg.setFreezing(tg.k.paused || tg.cgroup.Freezing()) }

// Abort ends a sandbox whose program has not run, as if sig had killed it.
func (k *Kernel) Abort(sig signal.Signal) { k.finish(ExitStatus{Signal: sig}, nil) }

// Credentials returns those of a user of the sandbox's first user namespace.
func (k *Kernel) Credentials(uid cred.UID, gid cred.GID, groups []cred.GID) *cred.Credentials {
	return cred.New(uid, gid, groups, k.rootUserNS)
}

// EnterUserNamespace makes a user namespace with the given maps, as written to /proc/PID/uid_map, that owns the kernel's
// first namespaces from now on, and returns the credentials of its maker in it, to whom all its capabilities
// belong. It is for before the first program. EINVAL for bad maps.
func (k *Kernel) EnterUserNamespace(uids, gids string) (*cred.Credentials, error) {
	maker := k.Credentials(0, 0, nil)
	c, err := maker.NewUserNamespace(k.nextNSIno(), cred.Most{Tasks: limits.Infinity, Signals: limits.Infinity})
	if err != nil {
		return nil, err
	}
	for _, m := range []struct {
		kind cred.MapKind
		text string
	}{{cred.MapUID, uids}, {cred.MapGID, gids}} {
		if err := c.UserNS.WriteMap(m.kind, m.text, maker, maker); err != nil {
			c.UserNS.Drop()
			return nil, err
		}
	}
	for _, n := range []*nsCommon{
		&k.first.Mount.nsCommon, &k.first.UTS.nsCommon, &k.first.IPC.nsCommon, &k.first.Net.nsCommon, &k.first.Cgroup.nsCommon,
	} {
		c.UserNS.Hold()
		n.owner.Drop()
		n.owner = c.UserNS
	}
	return c, nil
}
