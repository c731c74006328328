package pool

import (
	"slices"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/changes"
	"gosentry/platform/internal/pairs"
)

const (
	// maxSpares is how many emptied processes are kept, minSpares how many are made in advance:
	// a fork may need one for either side.
	maxSpares = 8
	minSpares = 2
	// fewMapped is up to how many bytes a process has mapped that is left as it is for the next space, maxLeft the same where it is known what is mapped.
	fewMapped = 4 << 20
	maxLeft   = 64 << 20
	// tidyDelay is how long such a process waits for that, or twice as long.
	tidyDelay = 25 * time.Millisecond
	// muchMapped is how many bytes are dearer to unmap than another process to make.
	muchMapped = 8 << 20
	// unmapPiece is how much the host unmaps in one call where nobody waits for it. After unmapPieces of them it has a rest of unmapPause,
	// longer than they take, so that others get to run.
	unmapPiece  = 1 << 20
	unmapPieces = 8
	unmapPause  = time.Millisecond
	// maxDying is how many processes with much memory may take their time to end.
	maxDying = 8
	// unmapDelay is how long such a process is left alone: what a fork was made for is done first.
	unmapDelay = 10 * time.Millisecond
)

// leaves tells whether a process with so many bytes mapped, as l says if that is known, is left as it is for another space.
func leaves(mapped uint64, l *changes.Layout) bool {
	return mapped <= fewMapped || mapped <= maxLeft && l != nil
}

// retire takes the process of a released address space back. leave tells whether it is left as it is for another one.
func (p *Pool[S]) retire(proc *Process[S], leave bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	p.procs[proc] = nil
	if !leave {
		p.retired = append(p.retired, proc)
		p.work()
		return
	}
	proc.leftLately = true
	p.left = append(p.left, proc)
	if !p.tidying {
		p.tidying = true
		time.AfterFunc(p.LeaveFor, p.tidy)
	}
}

// tidy has emptied what was left before it came by last, and nobody took.
func (p *Pool[S]) tidy() {
	p.mu.Lock()
	var full []*Process[S]
	p.left = slices.DeleteFunc(p.left, func(proc *Process[S]) bool {
		switch {
		case proc.leftLately:
			proc.leftLately = false
			return false
		case proc.mapped >= muchMapped:
			full = append(full, proc)
		default:
			p.retired = append(p.retired, proc)
		}
		return true
	})
	if p.tidying = len(p.left) > 0; p.tidying {
		time.AfterFunc(p.LeaveFor, p.tidy)
	}
	p.work()
	p.mu.Unlock()
	for _, proc := range full {
		p.discardFull(proc, proc.layout)
	}
}

// discard forgets and kills a process.
func (p *Pool[S]) discard(proc *Process[S]) {
	p.mu.Lock()
	delete(p.procs, proc)
	p.mu.Unlock()
	go proc.doom()
}

// pieces is what cuts what is mapped into pieces of at most length bytes.
type pieces interface {
	Pieces(length uint64) [][2]uint64
}

// discardFull takes a process with much memory, mapped as m says, back or kills it. The host frees memory page by page and
// may not let go of the processor meanwhile, so it is unmapped bit by bit, later.
func (p *Pool[S]) discardFull(proc *Process[S], m pieces) {
	p.mu.Lock()
	delete(p.procs, proc)
	p.mu.Unlock()
	if p.dying.Add(1) > maxDying {
		p.dying.Add(-1)
		go proc.doom()
		return
	}
	time.AfterFunc(unmapDelay, func() {
		proc.pin(pairs.AnyCPU)
		p.sweep(proc, m.Pieces(unmapPiece))
	})
}

// sweep unmaps some of the pieces, and comes back for the others.
func (p *Pool[S]) sweep(proc *Process[S], pieces [][2]uint64) {
	n := min(len(pieces), unmapPieces)
	var calls []blank.Call
	for _, piece := range pieces[:n] {
		calls = append(calls, blank.UnmapCall(piece[0], piece[1]-piece[0]))
	}
	err := proc.Do(calls)
	if err == nil && n < len(pieces) {
		time.AfterFunc(unmapPause, func() { p.sweep(proc, pieces[n:]) })
		return
	}
	p.dying.Add(-1)
	if err == nil && p.readmit(proc) {
		proc.disuse(0, nil) // more may be mapped: what was to be unmapped, and what the host did not unmap
	} else {
		proc.doom()
	}
}

// readmit counts a process again, if there may be one more.
func (p *Pool[S]) readmit(proc *Process[S]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released || !p.mayMake() {
		return false
	}
	p.procs[proc] = nil
	return true
}

// work sees to it that retired processes are emptied and the store is filled. mu is held.
func (p *Pool[S]) work() {
	if !p.working && !p.released && (len(p.retired) > 0 || p.lacking()) {
		p.working = true
		go p.keepStore()
	}
}

// lacking tells whether a process should be made in advance. mu is held.
func (p *Pool[S]) lacking() bool {
	return len(p.spares) < minSpares && p.mayMake()
}

// keepStore works until there is nothing to do.
func (p *Pool[S]) keepStore() {
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
func (p *Pool[S]) store(proc *Process[S]) {
	keep := len(p.spares) < maxSpares
	p.mu.Unlock()
	proc.pin(p.Pairs.Here()) // where the caller waits for it, and not where guest code may be running
	keep = keep && proc.clean() == nil
	p.mu.Lock()
	if keep {
		p.spares = append(p.spares, proc)
		return
	}
	delete(p.procs, proc)
	p.mu.Unlock()
	proc.doom()
	p.mu.Lock()
}
