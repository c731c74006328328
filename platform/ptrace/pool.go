package ptrace

import (
	"slices"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

const (
	// maxProcesses bounds the blank processes in use and in store.
	maxProcesses = 128
	// maxSpares is how many emptied processes are kept, minSpares how many are made in advance:
	// a fork may need one for either side.
	maxSpares = 8
	minSpares = 2
	// maxTracees is how many tracees a process may have to be used again.
	maxTracees = 4
	// maxDying is how many processes with much memory may take their time to end.
	maxDying = 8
	// unmapDelay is how long such a process is left alone: what a fork was made for is done first.
	unmapDelay = 10 * time.Millisecond
)

// take returns a process for as, whose lock is held, where there is a choice one that tr has a tracee of.
func (p *Platform) take(as *addressSpace, tr *tracer) (*process, error) {
	for range 3 {
		proc, err := p.find(as, tr)
		if err != nil {
			return nil, err
		}
		if proc != nil {
			return proc, nil
		}
	}
	return nil, unix.EAGAIN
}

// find looks in the store, makes a process, or takes one from another address
// space. nil without an error: the one it found was dead.
func (p *Platform) find(as *addressSpace, tr *tracer) (*process, error) {
	p.mu.Lock()
	if p.released {
		p.mu.Unlock()
		return nil, unix.ESHUTDOWN
	}
	if proc := p.spare(tr); proc != nil {
		p.procs[proc] = as
		p.work()
		p.mu.Unlock()
		return proc, nil
	}
	if p.mayMake() {
		proc, err := p.make(as)
		if err == nil {
			p.mu.Unlock()
			return proc, nil
		}
	}
	proc := p.evict()
	if proc == nil {
		p.mu.Unlock()
		return nil, unix.EAGAIN
	}
	p.procs[proc] = as
	p.mu.Unlock()
	if proc.crowded() || proc.Reset() != nil {
		p.discard(proc)
		return nil, nil
	}
	return proc, nil
}

// spare takes a process from the store; nil if there is none. mu is held.
func (p *Platform) spare(tr *tracer) *process {
	i := len(p.spares) - 1
	if i < 0 {
		return nil
	}
	if j := slices.IndexFunc(p.spares, func(proc *process) bool { return proc.knows(tr) }); j >= 0 {
		i = j
	}
	proc := p.spares[i]
	p.spares = slices.Delete(p.spares, i, i+1)
	return proc
}

// mayMake tells whether there may be one more process. mu is held.
func (p *Platform) mayMake() bool { return len(p.procs)+p.making < p.limit }

// make makes a process for as, or for the store if that is nil. mu is held, and let go meanwhile.
func (p *Platform) make(as *addressSpace) (*process, error) {
	p.making++
	p.mu.Unlock()
	proc, err := p.newProcess()
	p.mu.Lock()
	p.making--
	if err != nil {
		return nil, err
	}
	if p.released {
		go proc.Kill()
		return nil, unix.ESHUTDOWN
	}
	p.procs[proc] = as
	p.work()
	return proc, nil
}

// newProcess makes a process with a thread to trace.
func (p *Platform) newProcess() (*process, error) {
	b, err := p.factory.New()
	if err != nil {
		return nil, err
	}
	proc := &process{Process: b, leaderCPU: pairs.AnyCPU}
	tid, err := b.SpawnThread()
	if err != nil {
		b.Kill()
		return nil, err
	}
	proc.parked = append(proc.parked, tid)
	return proc, nil
}

// evict takes a process to be emptied, or else the process of the address space that was left longest ago; nil when all are
// in use. mu is held.
func (p *Platform) evict() *process {
	if n := len(p.retired); n > 0 {
		proc := p.retired[n-1]
		p.retired = p.retired[:n-1]
		return proc
	}
	var victim *addressSpace
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
	proc := victim.proc
	victim.proc = nil
	victim.forget()
	victim.mu.Unlock()
	return proc
}

// shrink ends a process that is not in use, and tells whether there was one.
func (p *Platform) shrink() bool {
	p.mu.Lock()
	var proc *process
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

// idleNow tells whether no context holds a tracee.
func (p *process) idleNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held == 0
}

// retire takes the process of a released address space back.
func (p *Platform) retire(proc *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	p.procs[proc] = nil
	p.retired = append(p.retired, proc)
	p.work()
}

// discard forgets and kills a process.
func (p *Platform) discard(proc *process) {
	p.mu.Lock()
	delete(p.procs, proc)
	p.mu.Unlock()
	go proc.doom()
}

// discardFull is discard for a process with much memory, pieces of the address space. The host frees it page by page and
// may not let go of the processor meanwhile, so it is unmapped bit by bit when little else is to be done.
func (p *Platform) discardFull(proc *process, pieces [][2]uint64) {
	p.mu.Lock()
	delete(p.procs, proc)
	p.mu.Unlock()
	go func() {
		defer proc.doom()
		if p.dying.Add(1) > maxDying {
			p.dying.Add(-1)
			return
		}
		defer p.dying.Add(-1)
		proc.YieldToOthers(p.pairs.Mask(pairs.AnyCPU))
		time.Sleep(unmapDelay)
		var calls []blank.Call
		for _, piece := range pieces {
			calls = append(calls, blank.UnmapCall(piece[0], piece[1]-piece[0]))
		}
		_ = proc.Do(calls) // else its end does it
	}()
}

// work sees to it that retired processes are emptied and the store is filled. mu is held.
func (p *Platform) work() {
	if !p.working && !p.released && (len(p.retired) > 0 || p.lacking()) {
		p.working = true
		go p.keepStore()
	}
}

// lacking tells whether a process should be made in advance. mu is held.
func (p *Platform) lacking() bool {
	return len(p.spares) < minSpares && p.mayMake()
}

// keepStore works until there is nothing to do.
func (p *Platform) keepStore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.released {
		if n := len(p.retired); n > 0 {
			proc := p.retired[n-1]
			p.retired = p.retired[:n-1]
			p.store(proc)
			continue
		}
		if !p.lacking() {
			break
		}
		proc, err := p.make(nil)
		if err != nil {
			break
		}
		p.spares = append(p.spares, proc)
	}
	p.working = false
}

// store empties a process and keeps it, or kills it if there are enough. mu is
// held, and let go meanwhile.
func (p *Platform) store(proc *process) {
	var err error
	enough := len(p.spares) >= maxSpares || proc.crowded()
	p.mu.Unlock()
	if !enough {
		err = proc.Reset()
	}
	p.mu.Lock()
	if enough || err != nil {
		delete(p.procs, proc)
		p.mu.Unlock()
		proc.doom()
		p.mu.Lock()
		return
	}
	p.spares = append(p.spares, proc)
}
