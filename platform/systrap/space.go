package systrap

import (
	"errors"
	"slices"
	"sync"

	"gosentry/platform"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/changes"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"

	"golang.org/x/sys/unix"
)

const (
	// maxPending bounds the changes that wait for a Run.
	maxPending = 1024
	// muchMapped is how many bytes are dearer to unmap than another process to make.
	muchMapped = 8 << 20
	// unmapPiece is how much the host unmaps at a time where nobody waits for it.
	unmapPiece = 1 << 20
)

// addressSpace is a guest address space. Its blank process is a cache of it.
type addressSpace struct {
	p *Platform

	mu       sync.Mutex
	proc     *process // nil before the first Run, after eviction and at the end
	queue    changes.Queue
	inside   []*seat   // of contexts in guest code
	left     sync.Cond // inside has got shorter
	dropping bool      // abandon waits
	died     *platform.Died
	released bool
	lastUse  uint64 // Platform.uses when a context last took a seat
	drops    uint64 // how often everything was forgotten
	text     *patch.Text
}

// Apply implements platform.AddressSpace.
func (as *addressSpace) Apply(list []platform.Change) error {
	for _, c := range list {
		end := c.Addr + c.Length
		if (c.Addr|c.Length|c.Offset)%pageSize != 0 || end < c.Addr || c.Addr < blank.Low || end > userHigh {
			return unix.EINVAL
		}
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	for as.dropping {
		as.left.Wait()
	}
	if as.released || as.died != nil {
		return nil
	}
	for _, c := range list {
		switch {
		case c.Length == 0:
		case c.Op == platform.Unmap && c.Length == userHigh-blank.Low && as.queue.Mapped() >= muchMapped:
			as.abandon()
		default:
			as.text.Before(c)
			as.queue.Add(c)
			as.text.After(c)
		}
	}
	switch {
	case len(as.inside) > 0 && as.proc != nil:
		return as.flush(pairs.AnyCPU)
	case as.queue.Len() <= maxPending:
		return nil
	case as.proc != nil:
		return as.flush(pairs.AnyCPU)
	}
	as.forget()
	return nil
}

// Drops counts how often everything was forgotten other than by Apply.
func (as *addressSpace) Drops() uint64 {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.drops
}

// forget says that nothing is mapped any more. mu is held.
func (as *addressSpace) forget() {
	as.queue.Wipe()
	as.text.Lose()
	as.drops++
}

// abandon unmaps everything by giving the process up: contexts in guest code are stopped and
// go on in another one. mu is held, and let go meanwhile.
func (as *addressSpace) abandon() {
	old, pieces := as.proc, as.queue.Pieces(unmapPiece)
	as.proc = nil
	as.queue.Wipe()
	as.text.Lose()
	if old == nil {
		return
	}
	as.dropping = true
	for _, t := range as.inside {
		t.kick()
	}
	for slices.ContainsFunc(as.inside, func(t *seat) bool { return t.proc == old }) {
		as.left.Wait()
	}
	as.dropping = false
	as.left.Broadcast()
	as.p.discardFull(old, pieces)
}

// begin gives c a seat of the address space and brings that up to date.
func (as *addressSpace) begin(c *context) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.died != nil || as.released {
		return &platform.Died{Reason: "it died before"}
	}
	if as.proc == nil {
		proc, err := as.p.take(as)
		if err != nil {
			return as.unlessRefused(err)
		}
		as.proc = proc
	}
	if c.s != nil && c.s.proc != as.proc {
		c.drop()
	}
	if c.s == nil {
		s, err := as.seat(c)
		if err != nil {
			return as.unlessRefused(err)
		}
		c.s = s
		as.lastUse = as.p.uses.Add(1)
	}
	c.tr.Follow(&c.s.Guest)
	as.text.Recover()
	if as.queue.Len() > 0 {
		if err := as.flush(c.tr.CPU()); err != nil {
			return as.dead(err)
		}
	}
	as.inside = append(as.inside, c.s)
	return nil
}

// seat takes a seat. When the host refuses one more thread, others' idle processes
// have to go. mu is held.
func (as *addressSpace) seat(c *context) (*seat, error) {
	for {
		s, err := as.proc.seat(c)
		if !blank.Refused(err) || !as.p.shrink() {
			return s, err
		}
	}
}

// finish says that t's context has left guest code, with err if that ended the process.
func (as *addressSpace) finish(t *seat, err error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	i, n := slices.Index(as.inside, t), len(as.inside)-1
	as.inside[i] = as.inside[n]
	as.inside = as.inside[:n]
	if as.dropping {
		as.left.Broadcast()
	}
	var died *platform.Died
	if errors.As(err, &died) {
		as.dead(err)
	}
}

// unlessRefused is dead for all errors but those that a context waits out. mu is held.
func (as *addressSpace) unlessRefused(err error) error {
	if blank.Refused(err) {
		return err
	}
	return as.dead(err)
}

// giveUp is dead without mu held.
func (as *addressSpace) giveUp(err error) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	return as.dead(err)
}

// dead gives the blank process up after err and returns what Run is to return.
// mu is held.
func (as *addressSpace) dead(err error) error {
	var died *platform.Died
	if !errors.As(err, &died) {
		died = &platform.Died{Reason: err.Error()}
	}
	if as.died == nil {
		as.died = died
	}
	if as.proc != nil {
		as.p.discard(as.proc)
		as.proc = nil
	}
	as.queue.Wipe()
	return died
}

// flush has the leader carry out what is pending, on processor cpu. mu is held.
func (as *addressSpace) flush(cpu int) error {
	if as.proc.leaderCPU != cpu {
		as.proc.Pin(as.p.pairs.Mask(cpu))
		as.proc.leaderCPU = cpu
	}
	return as.proc.CarryOut(&as.queue, as.forget)
}

// Release implements platform.AddressSpace.
func (as *addressSpace) Release() {
	as.mu.Lock()
	proc, queue := as.proc, as.queue
	as.proc = nil
	as.released = true
	as.queue.Wipe()
	free := as.text.End()
	as.mu.Unlock()
	if proc != nil {
		proc.afterwards(free)
	} else if free != nil {
		free()
	}
	switch {
	case proc == nil:
	case queue.Mapped() >= muchMapped:
		as.p.discardFull(proc, queue.Pieces(unmapPiece))
	default:
		proc.disuse()
	}
}
