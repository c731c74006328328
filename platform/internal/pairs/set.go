package pairs

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tickPeriod is how often the monitor looks, and how long a turn is.
	tickPeriod = 10 * time.Millisecond
	// rebalanceTicks is how often a busy pair is let go for the host to balance.
	rebalanceTicks = 16
)

// Runner is what runs guest code: a context of a platform.
type Runner interface {
	// Kick brings it out of guest code if it is there. It may do so once too often.
	Kick()
	// Inside is the guest thread that runs for it now, nil if none does.
	Inside() *Guest
}

// Guest is a guest thread.
type Guest struct {
	TID int
	cpu int // where it is pinned
}

// NewGuest returns the guest with this thread id, which is pinned to cpu or, with AnyCPU, not at all.
func NewGuest(tid, cpu int) Guest { return Guest{tid, cpu} }

// Place is the guest itself, for whoever has one in something else.
func (g *Guest) Place() *Guest { return g }

// pin lets the guest run on cpu only, or with AnyCPU on any.
func (g *Guest) pin(c *cpus, cpu int) {
	if g.cpu != cpu {
		setAffinity(g.TID, c.mask(cpu))
		g.cpu = cpu
	}
}

// Set is the OS threads that run guest code for a platform.
type Set struct {
	cpus  *cpus
	slots chan struct{}

	waiting atomic.Int32 // runners that wait for a slot
	ticking atomic.Bool  // the monitor has a timer
	ticks   atomic.Uint32
	due     atomic.Int64 // when the next tick is, by clock
	entries atomic.Uint64
	begun   time.Time

	follower *follower // or nil; set once

	mu      sync.RWMutex
	threads map[int]*Thread // by thread id
}

// New returns a set for so many runners at a time, and has the calling thread, and what it forks, ask for short time
// slices.
func New(running int) (*Set, error) {
	c, err := newCPUs()
	if err != nil {
		return nil, err
	}
	shortSlice()
	return &Set{cpus: c, slots: make(chan struct{}, running), threads: make(map[int]*Thread), begun: time.Now()}, nil
}

// CPUs is how many processors there are.
func (s *Set) CPUs() int { return len(s.cpus.list) }

// Mask is the set of processors of a thread placed at cpu, which may be AnyCPU.
func (s *Set) Mask(cpu int) *unix.CPUSet { return s.cpus.mask(cpu) }

// Pin pins g to cpu, or with AnyCPU not at all, wherever Interrupt left it.
func (s *Set) Pin(g *Guest, cpu int) {
	setAffinity(g.TID, s.cpus.mask(cpu))
	g.cpu = cpu
}

// Interrupt tells whether it is certain that thread tid has been in the host's kernel since before the call: it may run on the processor
// of the caller alone, who is running there. A thread that is not in user mode gets there no more before it takes a signal that it was sent.
func (s *Set) Interrupt(tid int) bool {
	here := s.Here()
	return here != AnyCPU && setAffinity(tid, s.cpus.mask(here)) == 0 && s.Here() == here
}

// Here is the processor that the caller is on, if it may be used.
func (s *Set) Here() int {
	if cpu := currentCPU(); cpu < len(s.cpus.masks) && s.cpus.all.IsSet(cpu) {
		return cpu
	}
	return AnyCPU
}

// Busy tells whether the monitor ticks.
func (s *Set) Busy() bool { return s.ticking.Load() }

// Loads are the numbers of busy pairs by processor.
func (s *Set) Loads() map[int]int {
	loads := make(map[int]int)
	for _, i := range s.cpus.list {
		loads[i] = int(s.cpus.load[i].Load())
	}
	return loads
}

// Thread returns the record of the calling OS thread.
func (s *Set) Thread() *Thread {
	tid := unix.Gettid()
	s.mu.RLock()
	t := s.threads[tid]
	s.mu.RUnlock()
	if t != nil {
		return t
	}
	shortSlice()
	t = &Thread{tid: tid, cpus: s.cpus, cpu: AnyCPU, away: AnyCPU}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.threads[tid] = t
	return t
}

// Enter waits for a turn of r, locks its goroutine to the OS thread it is on and returns that.
func (s *Set) Enter(r Runner) *Thread {
	select {
	case s.slots <- struct{}{}:
	default:
		s.waiting.Add(1)
		s.slots <- struct{}{}
		s.waiting.Add(-1)
	}
	s.entries.Add(1)
	runtime.LockOSThread()
	t := s.Thread()
	t.enter(r)
	s.monitor()
	return t
}

// Leave ends the turn of a runner that has left its thread.
func (s *Set) Leave() {
	runtime.UnlockOSThread()
	<-s.slots
}

// monitor sees to it that the monitor ticks.
func (s *Set) monitor() {
	if !s.ticking.Load() && s.ticking.CompareAndSwap(false, true) {
		s.again()
	}
}

// again has the monitor tick once more.
func (s *Set) again() {
	s.due.Store(int64(s.clock() + tickPeriod))
	time.AfterFunc(tickPeriod, s.tick)
}

// clock is the time since the set began.
func (s *Set) clock() time.Duration { return time.Since(s.begun) }

// tick looks at all OS threads, and comes back while there is one to look after.
func (s *Set) tick() {
	late := s.clock() - time.Duration(s.due.Load())
	n := s.ticks.Add(1)
	any, busy := s.look(n)
	s.follower.note(busy, s.entries.Load(), late)
	if any {
		s.again()
		return
	}
	s.ticking.Store(false)
	if any, _ := s.look(n); any {
		s.monitor()
	}
}

// look looks at all OS threads and tells whether any needs looking after, and how many pairs are busy.
func (s *Set) look(n uint32) (any bool, busy int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.threads {
		needed, inside := t.look(s, n)
		any = any || needed
		if inside {
			busy++
		}
	}
	return any, busy
}
