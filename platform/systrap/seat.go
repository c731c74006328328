package systrap

import (
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"

	"golang.org/x/sys/unix"
)

const (
	// firstPatience is how long the sentry sleeps before it looks whether the thread is still there, the
	// first time; lastPatience is the longest.
	firstPatience = 20 * time.Millisecond
	lastPatience  = time.Second
	// kickTime is how much processor time a thread may take to come out of guest code.
	kickTime = 100 * time.Millisecond
)

// process is a blank process with its guest threads, each of which is a process for the host.
type process struct {
	*blank.Process
	p         *Platform
	leaderCPU int // where the leader is pinned; guarded by the address space's lock

	mu     sync.Mutex
	idle   []*seat // not held by a context
	held   int     // seats that are
	doomed bool    // to be killed when held is 0
	killed bool
	unused bool   // to be retired when held is 0
	after  func() // to be called when the guest's part is empty, or nil
}

// seat is a thread that runs guest code. It belongs to the context that holds it, or is idle.
type seat struct {
	pairs.Guest
	proc  *process
	index int // of its area
	area
	last *context // whose extended state it has, if that has it as home
	fpu  uint64   // offset in the area of that state, which restore asked for or a frame holds
	live bool     // that state is in the processor instead
	dead bool     // reaped
}

// base is where the blank process has the area.
func (s *seat) base() uint64 { return areasAt + uint64(s.index)*areaSize }

// seat returns an idle seat of p, or a new one.
func (p *process) seat(c *context) (*seat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return nil, blank.ErrDead
	}
	at := len(p.idle) - 1
	for i, s := range p.idle {
		if s.last == c {
			at = i
		}
	}
	if at >= 0 {
		s := p.idle[at]
		p.idle = append(p.idle[:at], p.idle[at+1:]...)
		p.held++
		return s, nil
	}
	s, err := p.spawn()
	if err == nil {
		p.held++
	}
	return s, err
}

// spawn makes a guest thread and waits until it is ready.
func (p *process) spawn() (*seat, error) {
	i, err := p.p.takeArea()
	if err != nil {
		return nil, err
	}
	s := &seat{proc: p, index: i, area: newArea(p.p.areas[i*areaSize : (i+1)*areaSize])}
	clear(s.mem)
	s.stack = sigaltstack{sp: s.base() + stackOffset, size: areaSize - stackOffset}
	tid, err := p.SpawnGuest(s.base(),
		blank.MapCall(s.base(), areaSize, unix.PROT_READ|unix.PROT_WRITE, int32(p.p.areasFD), uint64(i)*areaSize))
	if err != nil {
		p.p.freeArea(i)
		return nil, err
	}
	s.Guest = pairs.NewGuest(tid, p.leaderCPU)
	if _, err := s.await(0, nil); err != nil || atomic.LoadUint32(&s.kind) != kindReady {
		s.end()
		return nil, blank.ErrDead
	}
	return s, nil
}

// await waits until it is the sentry's turn, first for so many cycles without sleeping, and tells whether it
// slept. It gives up when the thread has ended, or
// does not come out of guest code after interrupted was set.
func (s *seat) await(spin uint64, interrupted *atomic.Bool) (slept bool, err error) {
	if spinWhileClear(&s.state, stateSentry, spin) {
		return false, nil
	}
	since := time.Duration(-1)
	for patience := firstPatience; ; patience = min(2*patience, lastPatience) {
		atomic.CompareAndSwapUint32(&s.state, stateGuest, stateAsleep)
		now := atomic.LoadUint32(&s.state)
		if now&stateSentry == 0 {
			blank.Wait(&s.state, now, patience)
			now = atomic.LoadUint32(&s.state)
		}
		if now&stateSentry != 0 {
			return true, nil
		}
		if end, errno := blank.Exited(s.TID); end || errno != 0 {
			return true, blank.ErrDead
		}
		if interrupted == nil || !interrupted.Load() {
			continue
		}
		s.kick() // it may have gone to sleep by itself
		if used := s.used(); since < 0 {
			since = used
		} else if used-since > kickTime {
			return true, blank.ErrDead
		}
	}
}

// used is the processor time that the thread has taken, 0 where the host does not tell.
func (s *seat) used() time.Duration {
	const processClock = 2 // CPUCLOCK_SCHED, of a process
	var ts unix.Timespec
	if unix.ClockGettime(int32(^s.TID<<3|processClock), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// wake wakes the thread.
func (s *seat) wake() { blank.Wake(&s.state) }

// kick brings the thread out of guest code.
func (s *seat) kick() { unix.Tgkill(s.TID, s.TID, kickSignal) }

// end kills the thread and gives its area back.
func (s *seat) end() {
	if s.dead {
		return
	}
	s.dead = true
	unix.Kill(s.TID, unix.SIGKILL)
	blank.Reap(s.TID)
	s.proc.p.freeArea(s.index)
}

// saveFPU copies the extended state of the context that ran last to b, made harmless.
func (s *seat) saveFPU(b []byte) {
	if s.live {
		s.fetchFPU()
	}
	n := copy(b, s.mem[s.fpu:])
	clear(b[n:])
	arch.SanitizeFPU(b)
}

// fetchFPU has the thread store the extended state that is in the processor. It has done so by itself if it sleeps.
func (s *seat) fetchFPU() {
	s.fpu, s.live = fpuOffset, false
	if atomic.LoadUint32(&s.block.live) == liveSaved {
		return
	}
	// A thread that has died, or does something else, leaves what there was before; whoever runs it next learns of that.
	// One that a kick hits on its way has to be asked again.
	const tries = 10
	var now atomic.Bool
	now.Store(true)
	for range tries {
		s.flags = saveState
		if s.give() {
			s.wake()
		}
		if _, err := s.await(spinCycles, &now); err != nil || atomic.LoadUint32(&s.kind) == kindSaved {
			return
		}
	}
}

// loadFPU has the thread load b when it next runs.
func (s *seat) loadFPU(b []byte) {
	s.fpu, s.live = fpuOffset, false
	clear(s.fpuArea()[copy(s.fpuArea(), b):])
	arch.SanitizeFPU(s.fpuArea()[:len(b)])
}

// leave takes a seat back from a context.
func (p *process) leave(s *seat) {
	p.mu.Lock()
	p.held--
	p.idle = append(p.idle, s)
	p.finish()
}

// lose says that a held seat has ended.
func (p *process) lose(s *seat) {
	s.end()
	p.mu.Lock()
	p.held--
	p.finish()
}

// doom kills p as soon as no context holds a seat of it.
func (p *process) doom() {
	p.mu.Lock()
	p.doomed = true
	p.finish()
}

// disuse has p retired as soon as no context holds a seat of it.
func (p *process) disuse() {
	p.mu.Lock()
	p.unused = true
	p.finish()
}

// finish kills or retires p if it is time to, and unlocks mu.
func (p *process) finish() {
	kill := p.doomed && p.held == 0 && !p.killed
	p.killed = p.killed || kill
	retire := p.unused && p.held == 0 && !p.doomed
	if retire {
		p.unused = false
	}
	p.mu.Unlock()
	if retire {
		p.p.retire(p)
	}
	if kill {
		go func() {
			p.endSeats()
			p.Kill()
			p.emptied()
		}()
	}
}

// afterwards has f, which may be nil, called when what the guest had is unmapped.
func (p *process) afterwards(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// emptied says that nothing of the guest's is mapped.
func (p *process) emptied() {
	p.mu.Lock()
	f := p.after
	p.after = nil
	p.mu.Unlock()
	if f != nil {
		f()
	}
}

// killSeats kills all seats; endSeats must follow.
func (p *process) killSeats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		unix.Kill(s.TID, unix.SIGKILL)
	}
}

// endSeats ends all seats; none is held, and none will be taken meanwhile.
func (p *process) endSeats() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		s.end()
	}
	p.idle = nil
}

// clean makes p as good as new. A guest can have its threads run on while the sentry takes them for stopped; what has ended
// runs no more.
func (p *process) clean() error {
	p.killSeats()
	calls := [3]blank.Call{
		blank.UnmapCall(0, userHigh), blank.UnmapCall(areasAt, maxSeats*areaSize), blank.UnmapCall(trampolinesAt, patch.TrampolinesSize),
	}
	if err := p.Do(calls[:]); err != nil {
		return err
	}
	for _, c := range calls {
		if c.Errno != 0 {
			return c.Errno
		}
	}
	p.endSeats()
	p.emptied()
	return nil
}

// idleNow tells whether no context holds a seat.
func (p *process) idleNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held == 0
}
