package pool

import (
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/changes"
)

const (
	// maxKept bounds the processes that are kept beside those that address spaces have.
	maxKept = 8
	// keepFrom is how many bytes mapped for writing are dearer to protect than another process to take and give back.
	keepFrom = 16 << 20
	// keepTime is how long one is kept. What it saves, some 50 ms a GiB, is little to whoever has gone on without for that long.
	keepTime = time.Second
)

// kept is a process that its space has set aside. Nothing of the guest's runs there: what is mapped may be another's by now.
type kept[S Seat] struct {
	proc  *Process[S]
	queue changes.Queue // what is mapped; nothing is pending
	timer *time.Timer
}

// KeepFrom implements platform.Keeper.
func (as *Space[S]) KeepFrom() uint64 { return keepFrom }

// SetAside implements platform.Keeper.
func (as *Space[S]) SetAside(drops uint64) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	for as.dropping != nil {
		as.left.Wait()
	}
	as.dismiss()
	if as.proc == nil || as.ahead != nil || as.queue.Len() > 0 || as.drops != drops || !as.pool.keep(as.proc) {
		return false
	}
	k := &kept[S]{}
	k.proc, k.queue = as.part()
	k.timer = time.AfterFunc(keepTime, func() {
		as.mu.Lock()
		defer as.mu.Unlock()
		if as.kept == k {
			as.dismiss()
		}
	})
	as.kept = k
	return true
}

// dismiss gives up what was set aside. mu is held.
func (as *Space[S]) dismiss() {
	k := as.kept
	if k == nil {
		return
	}
	as.kept = nil
	k.timer.Stop()
	as.pool.unkeep(k.proc)
	as.pool.discardFull(k.proc, &k.queue)
}

// GoBack implements platform.Keeper.
func (as *Space[S]) GoBack(list []platform.Change) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	for as.dropping != nil {
		as.left.Wait()
	}
	k := as.kept
	if k == nil || as.died != nil || check(list, as.pool.High) != nil || !k.proc.idleNow() || !as.pool.exchange(as, k.proc) {
		return false
	}
	as.kept = nil
	k.timer.Stop()
	if as.proc != nil {
		as.pool.takeBack(as.part()) // no context takes another one before all have left
	}
	as.wipe()
	as.proc, as.queue = k.proc, k.queue
	for _, c := range list {
		as.add(c)
	}
	if as.watch != nil {
		as.watch.Recover()
	}
	err := as.flush(as.pool.Pairs.Here())
	if err == nil {
		as.proc.rouse()
	} else {
		as.pool.discard(as.lose())
		as.forget()
	}
	return err == nil
}

// rouse undoes halt.
func (p *Process[S]) rouse() {
	if p.pool.Rouse != nil {
		p.Keep(p.pool.Rouse(p.Idle())...)
	}
}

// keep counts proc, which a space has, as kept, if there may be one more.
func (p *Pool[S]) keep(proc *Process[S]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released || len(p.kept) >= maxKept {
		return false
	}
	delete(p.procs, proc)
	p.kept[proc] = struct{}{}
	return true
}

// unkeep says that proc is not kept any more.
func (p *Pool[S]) unkeep(proc *Process[S]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kept, proc)
}

// exchange counts proc, which was kept, as that of as, whose lock is held, instead of the one that it has. It returns false where there may
// not be one more.
func (p *Pool[S]) exchange(as *Space[S], proc *Process[S]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released || as.proc == nil && !p.mayMake() {
		return false
	}
	delete(p.procs, as.proc)
	delete(p.kept, proc)
	p.procs[proc] = as
	return true
}

// takeBack takes a process back that a space has parted with, mapped as q says.
func (p *Pool[S]) takeBack(proc *Process[S], q changes.Queue) {
	p.mu.Lock()
	delete(p.procs, proc)
	p.mu.Unlock()
	switch {
	case q.Mapped() >= muchMapped && !leaves(q.Mapped(), q.Layout()):
		p.discardFull(proc, &q)
	case p.readmit(proc):
		proc.disuse(q.Mapped(), q.Layout())
	default:
		go proc.doom()
	}
}
