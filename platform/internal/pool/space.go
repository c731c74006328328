package pool

import (
	"errors"
	"slices"
	"sync"

	"gosentry/platform"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/changes"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// maxPending bounds the changes that wait for a Run.
	maxPending = 1024
)

// Watcher is told by a Space, whose lock is held, what becomes of its mappings. It may add changes to the queue.
type Watcher interface {
	// Before is called before a change is queued, After behind that.
	Before(platform.Change)
	After(platform.Change)
	// Lose says that nothing is mapped any more.
	Lose()
	// Recover says that guest code is about to run.
	Recover()
	// End says that the space is not used any more. What it returns is called when no process has anything of it mapped;
	// it may be nil.
	End() func()
}

// Runner is a context of a platform. Begin calls its methods on the goroutine that runs it.
type Runner[S Seat] interface {
	// Thread is the OS thread that the goroutine is locked to.
	Thread() *pairs.Thread
	// Seat is the seat that it holds and the process of that, nil if it holds none.
	Seat() (*Process[S], S)
	// Rank tells how well an idle seat would do: 0 for not at all, Own at the most.
	Rank(S) int
	// Sit gives it a seat of a process. After an error it holds none, and Lose was called.
	Sit(*Process[S], S) error
	// Drop gives its seat back.
	Drop()
}

// Ranks of seats.
const (
	Usable = 1 // as good as any
	Own    = 2 // used last by this runner, or by its OS thread where that matters
)

// Space is a guest address space. Its blank process is a cache of it.
type Space[S Seat] struct {
	pool  *Pool[S]
	watch Watcher // or nil; set once

	mu       sync.Mutex
	queue    changes.Queue
	proc     *Process[S]  // nil before the first Begin, after eviction and at the end
	ahead    []blank.Call // what proc's leader was started on before there was a Begin, or nil
	kept     *kept[S]     // what GoBack goes back to, or nil
	lastSeat S            // that a context took
	dropping *Process[S]  // empty waits until no context runs guest code in it
	left     sync.Cond    // that may be so now
	died     *platform.Died
	lost     *Process[S] // the one it had when it died, or nil
	released bool
	refused  bool   // the host has refused a change that nobody waited for: from now on somebody does
	lastUse  uint64 // Pool.uses when a context last took a seat
	drops    uint64 // how often everything was forgotten
}

// NewSpace returns an empty address space.
func (p *Pool[S]) NewSpace() *Space[S] {
	as := &Space[S]{pool: p}
	as.left.L = &as.mu
	return as
}

// Watch has w told of a space that is still empty.
func (as *Space[S]) Watch(w Watcher) { as.watch = w }

// Lock keeps everything as it is: what a Watcher is told, and what the methods that want the lock do.
func (as *Space[S]) Lock() { as.mu.Lock() }

// Unlock undoes Lock.
func (as *Space[S]) Unlock() { as.mu.Unlock() }

// Queue is the changes of the space, whose lock is held.
func (as *Space[S]) Queue() *changes.Queue { return &as.queue }

// Process is the process of the space, whose lock is held, or nil.
func (as *Space[S]) Process() *Process[S] { return as.proc }

// Apply implements platform.AddressSpace.
func (as *Space[S]) Apply(list []platform.Change) error {
	high := as.pool.High
	if err := check(list, high); err != nil {
		return err
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	for as.dropping != nil {
		as.left.Wait()
	}
	if as.released || as.died != nil {
		as.stopLost()
		return nil
	}
	if err := as.settle(); err != nil {
		return as.gone(err)
	}
	abandoned, taken := as.proc == nil && as.kept != nil, false
	for _, c := range list {
		switch {
		case c.Length == 0:
		case c.Op == platform.Unmap && c.Length == high-blank.Low && as.queue.Mapped() >= muchMapped:
			abandoned = as.proc != nil
			as.abandon()
		default:
			taken = taken || c.Op != platform.Protect && as.queue.Overlaps(c.Addr, c.Addr+c.Length)
			as.add(c)
		}
	}
	switch {
	case as.proc != nil && len(as.proc.inside) == 0 && taken && as.pool.Halt != nil:
		// What was mapped may be another's soon, and whether nothing runs there only the guest says.
		return as.unlessDead(as.flush(as.proc.leaderCPU))
	case as.proc != nil && (len(as.proc.inside) > 0 || as.refused || as.queue.Len() > maxPending):
		return as.unlessDead(as.flush(pairs.AnyCPU))
	case as.queue.Len() > maxPending:
		as.forget()
	case abandoned:
		as.getAhead()
	}
	return nil
}

// check looks for changes that an address space that ends at high cannot have.
func check(list []platform.Change, high uint64) error {
	for _, c := range list {
		end := c.Addr + c.Length
		if (c.Addr|c.Length|c.Offset)%pageSize != 0 || end < c.Addr || c.Addr < blank.Low || end > high {
			return unix.EINVAL
		}
	}
	return nil
}

// getAhead takes a process that is in store, like the one before, and has its leader begin to carry out what is pending: what calls Apply has
// more to do until a context comes back. mu is held.
func (as *Space[S]) getAhead() {
	if as.proc != nil || as.released || as.died != nil || as.queue.Len() == 0 {
		return
	}
	if as.proc = as.pool.fromStore(as); as.proc == nil {
		return
	}
	if as.watch != nil {
		as.watch.Recover()
	}
	as.proc.pin(as.pool.Pairs.Here()) // to wake it on another processor takes as long as what it is to do
	as.ahead = as.proc.StartOut(&as.queue)
}

// settle waits for what getAhead began. mu is held.
func (as *Space[S]) settle() error {
	calls := as.ahead
	if calls == nil || as.proc == nil {
		return nil
	}
	as.ahead = nil
	return as.proc.FinishOut(calls, as.forget)
}

// add queues c. mu is held.
func (as *Space[S]) add(c platform.Change) {
	if as.watch == nil {
		as.queue.Add(c)
		return
	}
	as.watch.Before(c)
	as.queue.Add(c)
	as.watch.After(c)
}

// Drops counts how often everything was forgotten other than by Apply.
func (as *Space[S]) Drops() uint64 {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.drops
}

// wipe says that nothing is mapped any more, as it should be. mu is held.
func (as *Space[S]) wipe() {
	as.queue.Wipe()
	if as.watch != nil {
		as.watch.Lose()
	}
}

// lose takes its process away, if it has one. What is still being mapped there is nobody's: whoever empties the process waits
// for that. mu is held.
func (as *Space[S]) lose() *Process[S] {
	proc := as.proc
	if as.ahead != nil {
		proc.doubt()
	}
	as.proc, as.ahead = nil, nil
	return proc
}

// forget says that nothing is mapped any more. mu is held.
func (as *Space[S]) forget() {
	as.wipe()
	as.drops++
	if as.proc != nil {
		as.proc.doubt() // it was unmapped below High only
	}
}

// Begin gives r a seat of the address space and brings that up to date. EAGAIN and ENOMEM when there is none just now; after
// *platform.Died there never will be.
func (as *Space[S]) Begin(r Runner[S]) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	for as.dropping != nil {
		as.left.Wait() // it may be about to go back to another process
	}
	if as.died != nil || as.released {
		return &platform.Died{Reason: "it died before"}
	}
	if as.proc == nil {
		if err := as.take(r); err != nil {
			return as.unlessRefused(err)
		}
	}
	proc, s := r.Seat()
	if proc != nil && proc != as.proc {
		r.Drop()
		proc = nil
	}
	if proc == nil {
		var err error
		if s, err = as.seat(r); err != nil {
			return as.unlessRefused(err)
		}
		as.lastUse, as.lastSeat = as.pool.uses.Add(1), s
	}
	t := r.Thread()
	t.Follow(s.Place())
	if err := as.update(t.Here()); err != nil {
		return as.dead(err)
	}
	as.proc.inside = append(as.proc.inside, s)
	return nil
}

// update carries out what is pending, on processor cpu. What the host refuses is forgotten with all the rest, and refused to the caller of Apply
// when it is asked for again. mu is held.
func (as *Space[S]) update(cpu int) error {
	if err := as.settle(); err != nil {
		return err
	}
	if as.watch != nil {
		as.watch.Recover()
	}
	if as.queue.Len() == 0 {
		return nil
	}
	err := as.flush(cpu)
	if _, refused := err.(unix.Errno); refused {
		as.refused = true
		return nil
	}
	return err
}

// take takes a process for r, which it makes as good as new where another space has used it. mu is held.
func (as *Space[S]) take(r Runner[S]) error {
	for range 3 {
		proc, used, err := as.pool.find(as, r)
		if err != nil {
			return err
		}
		as.proc = proc
		if !used {
			return nil
		}
		if as.watch != nil {
			as.watch.Recover()
		}
		proc.pin(r.Thread().Here())
		refused, err := proc.fill(&as.queue, as.forget)
		if err == nil {
			as.refused = as.refused || refused
			return nil
		}
		as.pool.discard(as.lose())
	}
	return unix.EAGAIN
}

// seat has r take a seat. When the host refuses one more thread, others' idle processes
// have to go. mu is held.
func (as *Space[S]) seat(r Runner[S]) (S, error) {
	for {
		s, err := as.proc.take(r)
		if err == nil {
			return s, r.Sit(as.proc, s)
		}
		if !blank.Refused(err) || !as.pool.shrink() {
			return s, err
		}
	}
}

// Finish says that the context in s, a seat of proc, has left guest code, with err if that ended the process.
func (as *Space[S]) Finish(proc *Process[S], s S, err error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	i, n := slices.Index(proc.inside, s), len(proc.inside)-1
	proc.inside[i] = proc.inside[n]
	proc.inside = proc.inside[:n]
	if as.dropping != nil {
		as.left.Broadcast()
	}
	if err == nil {
		return // without memory for died
	}
	var died *platform.Died
	if errors.As(err, &died) {
		as.dead(err)
	}
}

// unlessRefused is dead for all errors but those that a context waits out. mu is held.
func (as *Space[S]) unlessRefused(err error) error {
	if blank.Refused(err) {
		return err
	}
	return as.dead(err)
}

// GiveUp ends the address space after err and returns what Run is to return.
func (as *Space[S]) GiveUp(err error) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.dead(err)
}

// dead is GiveUp with mu held.
func (as *Space[S]) dead(err error) error {
	var died *platform.Died
	if !errors.As(err, &died) {
		died = &platform.Died{Reason: err.Error()}
	}
	if as.died == nil {
		as.died = died
	}
	if proc := as.lose(); proc != nil {
		as.lost = proc
		as.pool.discard(proc)
	}
	as.queue.Wipe()
	return died
}

// flush has the leader carry out what is pending, on processor cpu. mu is held.
func (as *Space[S]) flush(cpu int) error {
	as.proc.pin(cpu)
	return as.proc.CarryOut(&as.queue, as.forget)
}

// Release implements platform.AddressSpace. When it returns nothing of the guest's runs, though it is still mapped.
func (as *Space[S]) Release() {
	as.mu.Lock()
	proc, lost, queue := as.lose(), as.lost, as.queue
	as.released = true
	as.dismiss()
	as.queue.Wipe()
	var after func()
	if as.watch != nil {
		after = as.watch.End()
	}
	as.mu.Unlock()
	if lost != nil {
		lost.halt()
	}
	if proc == nil {
		if after != nil {
			after()
		}
		return
	}
	proc.halt()
	if after != nil {
		proc.afterSpace(after)
	}
	if queue.Mapped() >= muchMapped && !leaves(queue.Mapped(), queue.Layout()) {
		as.pool.discardFull(proc, &queue)
	} else {
		proc.disuse(queue.Mapped(), queue.Layout())
	}
}
