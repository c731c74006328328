package pool

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// MaxProcesses bounds the blank processes of a platform, in use and in store.
const MaxProcesses = 128

// Config is what a platform brings.
type Config[S Seat] struct {
	Factory *blank.Factory
	Pairs   *pairs.Set
	Limit   int    // of processes
	High    uint64 // end of what a guest may map

	// LeaveFor is at least how long a process is left as it is for the next space, at most twice as long. 0: for tidyDelay.
	LeaveFor time.Duration

	// Spawn makes a guest thread of p. EAGAIN and ENOMEM when the host refuses.
	Spawn func(p *Process[S]) (S, error)
	// Halt sees to it that none of the seats of a process runs guest code when it returns or later, whatever the guest does.
	// No context runs in them, but some may hold them, and want the state that is left there. nil if a seat that is not inside has always stopped.
	Halt func(seats []S)
	// Rouse undoes Halt of seats that no context holds, and returns them, ready to be used, but for those that have died. What the guest had
	// there is as it should be again. nil if Halt is.
	Rouse func(seats []S) []S
	// Clean makes p, which no context has a seat of, as good as new. An error when it is not to be used any more.
	Clean func(p *Process[S]) (Cleaning, error)
	// Alike tells whether two seats serve the same OS thread; nil if any does.
	Alike func(a, b S) bool
	// End ends a seat whose process is about to be killed. It may be nil.
	End func(S)
}

// Cleaning is what is left to do for a process to be as good as new.
type Cleaning struct {
	All  []blank.Call // these unmap all that a guest had there
	Rest []blank.Call // of that what no change has mapped
	// Done is called once the calls of either have been made. It leaves nothing of the guest's running. An error when the process is not to be used any more.
	Done func() error
}

// Pool is the blank processes of a platform.
type Pool[S Seat] struct {
	Config[S]

	dying atomic.Int32 // processes that are being taken down
	uses  atomic.Uint64

	mu       sync.Mutex
	procs    map[*Process[S]]*Space[S] // nil for those in store or retired
	kept     map[*Process[S]]struct{}  // set aside by their spaces, at most maxKept
	spares   []*Process[S]             // empty
	retired  []*Process[S]             // to be emptied
	left     []*Process[S]             // to be emptied before long, unless a space takes them as they are
	tidying  bool                      // tidy is to come by
	making   int                       // processes that are being made
	working  bool                      // keepStore runs
	released bool
}

// New returns a pool whose first process, with a seat of it, has been tried with try, which may be nil.
func New[S Seat](cfg Config[S], try func(*Process[S], S) error) (*Pool[S], error) {
	cfg.LeaveFor = cmp.Or(cfg.LeaveFor, tidyDelay)
	p := &Pool[S]{Config: cfg, procs: make(map[*Process[S]]*Space[S]), kept: make(map[*Process[S]]struct{})}
	p.mu.Lock()
	proc, err := p.make(nil)
	p.mu.Unlock()
	if err == nil && try != nil {
		err = try(proc, proc.idle[0])
	}
	if err != nil {
		p.Release()
		return nil, err
	}
	p.mu.Lock()
	p.spares = append(p.spares, proc)
	p.mu.Unlock()
	return p, nil
}

// find returns a process for as, whose lock is held, where there is a choice the one that suits r best: one that another space has just left, one from the
// store, a new one, or one of another space. used tells whether it has to be filled.
func (p *Pool[S]) find(as *Space[S], r Runner[S]) (proc *Process[S], used bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil, false, unix.ESHUTDOWN
	}
	if proc, used := p.pick(r.Rank, &as.queue); proc != nil {
		p.procs[proc] = as
		p.work()
		return proc, used, nil
	}
	if p.mayMake() {
		if proc, err := p.make(as); err == nil {
			return proc, false, nil
		}
	}
	if proc = p.evict(); proc == nil {
		return nil, false, unix.EAGAIN
	}
	p.procs[proc] = as
	return proc, true, nil
}

// fromStore is take for an as whose context is not here to ask; nil if none is in store.
func (p *Pool[S]) fromStore(as *Space[S]) *Process[S] {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, _ := fittest(p.spares, func(s S) int {
		if p.Alike == nil || p.Alike(s, as.lastSeat) {
			return Own
		}
		return Usable
	}, nil)
	proc := takeOut(&p.spares, at)
	if proc != nil {
		p.procs[proc] = as
		p.work()
	}
	return proc
}

// mayMake tells whether there may be one more process. mu is held.
func (p *Pool[S]) mayMake() bool { return len(p.procs)+p.making < p.Limit }

// make makes a process for as, or for the store if that is nil. mu is held, and let go meanwhile.
func (p *Pool[S]) make(as *Space[S]) (*Process[S], error) {
	p.making++
	p.mu.Unlock()
	proc, err := p.newProcess()
	p.mu.Lock()
	p.making--
	if err != nil {
		return nil, err
	}
	if p.released {
		go proc.doom()
		return nil, unix.ESHUTDOWN
	}
	p.procs[proc] = as
	p.work()
	return proc, nil
}

// newProcess makes a process with a seat.
func (p *Pool[S]) newProcess() (*Process[S], error) {
	b, err := p.Factory.New()
	if err != nil {
		return nil, err
	}
	proc := &Process[S]{Process: b, pool: p, leaderCPU: pairs.AnyCPU, ended: make(chan struct{})}
	s, err := p.Spawn(proc)
	if err != nil {
		b.Kill()
		proc.emptied()
		return nil, err
	}
	proc.idle = append(proc.idle, s)
	return proc, nil
}

// evict takes a process to be emptied, or else the process of the address space that was left longest ago; nil when all are
// in use. mu is held.
func (p *Pool[S]) evict() *Process[S] {
	for _, list := range []*[]*Process[S]{&p.retired, &p.left} {
		if n := len(*list); n > 0 {
			proc := (*list)[n-1]
			*list = (*list)[:n-1]
			return proc
		}
	}
	var victim *Space[S]
	for _, as := range p.procs {
		if as == nil || !as.mu.TryLock() {
			continue
		}
		if as.proc != nil && as.proc.idleNow() && (victim == nil || as.lastUse < victim.lastUse) {
			if victim != nil {
				victim.mu.Unlock()
			}
			victim = as
			continue
		}
		as.mu.Unlock()
	}
	if victim == nil {
		return nil
	}
	proc := victim.lose()
	proc.halt()
	victim.forget()
	victim.mu.Unlock()
	return proc
}

// shrink ends a process that is not in use, and tells whether there was one.
func (p *Pool[S]) shrink() bool {
	p.mu.Lock()
	var proc *Process[S]
	if n := len(p.spares); n > 0 {
		proc = p.spares[n-1]
		p.spares = p.spares[:n-1]
	} else {
		proc = p.evict()
	}
	delete(p.procs, proc)
	p.mu.Unlock()
	if proc != nil {
		proc.doom()
	}
	return proc != nil
}

// Release ends all processes, those that are in use as soon as they are not.
func (p *Pool[S]) Release() {
	p.mu.Lock()
	p.released = true
	var all []*Process[S]
	for proc := range p.procs {
		all = append(all, proc)
	}
	for proc := range p.kept {
		all = append(all, proc)
	}
	clear(p.procs)
	clear(p.kept)
	p.spares, p.retired, p.left = nil, nil, nil
	p.mu.Unlock()
	p.Factory.Release()
	for _, proc := range all {
		proc.doom()
	}
}
