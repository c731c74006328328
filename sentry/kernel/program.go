package kernel

import (
	"slices"

	"gosentry/sentry/cred"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Program is a program that was started from outside.
type Program struct {
	task  *Task
	begin chan struct{} // closed by Start
}

// Start lets the program run; it is called once.
func (p *Program) Start() { close(p.begin) }

// Abort ends a program that was not started, as if sig had killed it.
func (p *Program) Abort(sig signal.Signal) { p.task.tg.killAll(ExitStatus{Signal: sig}) }

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

// Signal sends a signal from outside to the process of the program's container with the given id in its pid
// namespace, 0 for the program itself; signal 0 only looks. ESRCH.
func (p *Program) Signal(id int32, sig signal.Signal) error {
	if sig != 0 && !signal.Valid(sig) {
		return unix.EINVAL
	}
	k := p.task.k
	k.tree.RLock()
	defer k.tree.RUnlock()
	tg := p.task.tg
	if id != 0 {
		o := p.task.pidns.ids[id]
		if o == nil || o.tg == nil || o.tg.leader.container != p.task.container {
			return unix.ESRCH
		}
		tg = o.tg
	}
	if sig == 0 {
		return nil
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

// SignalAll sends a signal to every process of the program's container that its pid namespace has.
func (p *Program) SignalAll(sig signal.Signal) error {
	for _, id := range p.Processes() {
		if err := p.Signal(id, sig); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// Processes returns the ids of the processes of the program's container in its pid namespace, in order.
func (p *Program) Processes() []int32 {
	k := p.task.k
	k.tree.RLock()
	defer k.tree.RUnlock()
	var ids []int32
	for id, o := range p.task.pidns.ids {
		if o.tg != nil && o.tg.live > 0 && o.tg != k.init && o.tg.leader.container == p.task.container {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// freezeLocked makes the process do what its group and its container want of it.
func (tg *ThreadGroup) freezeLocked() {
	tg.setFreezing(tg.leader.container.paused || tg.cgroup.Freezing())
}

// Credentials returns those of a user of the sandbox's first user namespace.
func (k *Kernel) Credentials(uid cred.UID, gid cred.GID, groups []cred.GID) *cred.Credentials {
	return cred.New(uid, gid, groups, k.rootUserNS)
}
