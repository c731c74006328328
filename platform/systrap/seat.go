package systrap

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/spin"

	"golang.org/x/sys/unix"
)

const (
	// firstPatience is how long the sentry sleeps before it looks whether the thread is still there, the
	// first time; lastPatience is the longest.
	firstPatience = 20 * time.Millisecond
	lastPatience  = time.Second
	// kickTime is how much processor time a thread may take to come out of guest code, maxKicks how many kicks that it runs on after.
	kickTime = 100 * time.Millisecond
	maxKicks = 16
	// kickAgain is how long one kick does for. One may come while the thread is not done with the last, and be taken for a part of that.
	kickAgain = time.Millisecond
)

// seat is a thread that runs guest code. It belongs to the context that holds it, or is idle.
type seat struct {
	pairs.Guest
	p     *Platform
	proc  *process
	index int // of its area
	area
	last *context // whose extended state it has, if that has it as home
	fpu  uint64   // offset in the area of that state, which restore asked for or a frame holds
	live bool     // that state is in the processor instead
	dead bool     // reaped

	asked  sync.Mutex   // whoever asks for the extended state
	secret uint64       // the token that it was summoned with, 0 if it was not
	halted atomic.Bool  // executes nothing of the guest's any more, as do all of its process
	kicked atomic.Bool  // since its turn began, whatever the state says, which the guest may have forged
	sent   atomic.Int64 // when the signal for that was sent, in nanoseconds from the platform's beginning; 0: it was not

	answers patch.Page
	trapped bool // the page of breakpoints is there, as the handler is told
}

// base is where the blank process has the area.
func (s *seat) base() uint64 { return areasAt + uint64(s.index)*areaSize }

// spawn makes a guest thread of proc and waits until it is ready.
func (p *Platform) spawn(proc *process) (*seat, error) {
	i, err := p.takeArea()
	if err != nil {
		return nil, err
	}
	s := &seat{p: p, proc: proc, index: i, area: newArea(p.areas[i*areaSize : (i+1)*areaSize])}
	s.wipe()
	atomic.StoreUint32(&s.state, stateGuest)
	s.answers = patch.NewPage(s.mem[answersAt:])
	s.stack = sigaltstack{sp: s.base() + stackOffset, size: areaSize - stackOffset}
	calls := []blank.Call{s.mapCall(answersAt, pageSize, unix.PROT_READ)}
	for _, part := range parts() {
		calls = append(calls, s.mapCall(part.at, part.length, unix.PROT_READ|unix.PROT_WRITE))
	}
	tid, err := proc.SpawnGuest(s.base(), calls...)
	if err != nil {
		s.parcel()
		return nil, err
	}
	s.Guest = pairs.NewGuest(tid, proc.LeaderCPU())
	if _, err := s.await(0, nil); err != nil || atomic.LoadUint32(&s.message) != kindReady {
		s.end()
		return nil, blank.ErrDead
	}
	return s, nil
}

// mapCall is the call that maps a part of the area.
func (s *seat) mapCall(at, length uint64, prot uint8) blank.Call {
	return blank.MapCall(s.base()+at, length, prot, int32(s.p.areasFD), uint64(s.index)*areaSize+at)
}

// errHalted says that the thread was stopped for good.
var errHalted = errors.New("the thread was stopped")

// await waits until it is the sentry's turn, first for so many cycles without sleeping, and tells whether it
// slept. It gives up when the thread has ended, or
// does not come out of guest code after kicked was set.
func (s *seat) await(cycles uint64, kicked *atomic.Bool) (slept bool, err error) {
	if spin.WhileClear(&s.state, stateSentry, cycles) {
		return false, nil
	}
	var r resistance
	for patience := firstPatience; ; patience = min(2*patience, lastPatience) {
		if s.sleep(patience) {
			return true, nil
		}
		if end, errno := blank.Exited(s.TID); end || errno != 0 {
			return true, blank.ErrDead
		}
		if s.halted.Load() {
			return true, errHalted
		}
		if kicked == nil || !kicked.Load() {
			continue
		}
		ran, proven := r.note(s.used())
		if proven {
			return true, blank.ErrDead
		}
		if ran { // it may have gone to sleep by itself
			s.sent.Store(0)
			s.interrupt()
		}
		patience = firstPatience / 2
	}
}

// resistance is what is known of a thread that is kicked again and again. In the handler's code, entered at a wrong byte, it can compute on, or
// go back to sleep.
type resistance struct {
	kicks       int
	first, last time.Duration // processor time used at the first kick and at the last one
}

// note takes in how much processor time the thread has used, and tells whether it has run since the last time, and whether it had its chance: one
// that has run after a kick has taken that before it did anything else.
func (r *resistance) note(used time.Duration) (ran, proven bool) {
	if r.kicks == 0 {
		r.first = used
	}
	if ran = r.kicks == 0 || used > r.last; ran {
		r.kicks++
	}
	r.last = used
	return ran, used-r.first > kickTime || r.kicks > maxKicks
}

// sleep waits for at most d, and tells whether it is the sentry's turn.
func (s *seat) sleep(d time.Duration) bool {
	atomic.CompareAndSwapUint32(&s.state, stateGuest, stateAsleep)
	now := atomic.LoadUint32(&s.state)
	if now&stateSentry == 0 {
		blank.Wait(&s.state, now, d)
		now = atomic.LoadUint32(&s.state)
	}
	return now&stateSentry != 0
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

// Kick implements pool.Seat. One that comes before the thread's turn does is for whoever gives it that.
func (s *seat) Kick() {
	s.kicked.Store(true)
	if atomic.LoadUint32(&s.state)&stateSentry == 0 {
		s.interrupt()
	}
}

// interrupt has a kick reach the thread. Mostly one a turn is enough, and each that comes before the thread is done with the last one takes stack.
func (s *seat) interrupt() {
	now := int64(time.Since(s.p.begun))
	if last := s.sent.Load(); last == 0 || now-last > int64(kickAgain) {
		s.sent.Store(now)
		unix.Tgkill(s.TID, s.TID, kickSignal)
	}
}

// turn says that the thread's next turn is about to begin, and nobody has kicked it yet.
func (s *seat) turn() {
	if s.kicked.Load() {
		s.kicked.Store(false)
	}
	if s.sent.Load() != 0 {
		s.sent.Store(0)
	}
}

// end kills the thread. Other threads of the guest's may run on in the process, and write to the area, so that is somebody else's only afterwards.
func (s *seat) end() {
	if s.dead {
		return
	}
	s.dead = true
	unix.Kill(s.TID, unix.SIGKILL)
	blank.Reap(s.TID)
	s.proc.Afterwards(s.freeArea)
}

// freeArea gives the area back.
func (s *seat) freeArea() { s.p.freeArea(s.index) }

// parcel gives the area back that a thread was to have, unmapped first: some of it may be mapped already.
func (s *seat) parcel() {
	unmap := [1]blank.Call{blank.UnmapCall(s.base(), areaSize)}
	if s.proc.Do(unmap[:]) == nil && unmap[0].Errno == 0 {
		s.freeArea()
		return
	}
	s.proc.Afterwards(s.freeArea)
}

// saveFPU copies the extended state of the context that ran last to b, made harmless. spin is how many cycles to wait for it awake.
func (s *seat) saveFPU(b []byte, spin uint64) {
	if s.live {
		s.fetchFPU(spin)
	}
	n := copy(b, s.mem[s.fpu:])
	clear(b[n:])
	arch.SanitizeFPU(b)
}

// fetchFPU has the thread store the extended state that is in the processor. It has done so by itself if it sleeps, or was not told to
// spin.
func (s *seat) fetchFPU(spin uint64) {
	s.fpu, s.live = fpuOffset, false
	if atomic.LoadUint32(&s.block.live) == liveSaved {
		return
	}
	if s.askFPU(spin) != errHalted {
		return
	}
	if s.recall(); s.entered() {
		s.findState()
	}
}

// askFPU has the thread store the extended state.
func (s *seat) askFPU(spin uint64) error {
	// A thread that has died, or does something else, leaves what there was before; whoever runs it next learns of that.
	// One that a kick hits on its way has to be asked again.
	const tries = 10
	var now atomic.Bool
	now.Store(true)
	s.asked.Lock()
	defer s.asked.Unlock()
	for range tries {
		if s.halted.Load() {
			return errHalted
		}
		s.message = saveState
		if s.give() {
			s.wake()
		}
		if _, err := s.await(spin, &now); err != nil || atomic.LoadUint32(&s.message) == kindSaved {
			return err
		}
	}
	return nil
}

// loadFPU has the thread load b when it next runs.
func (s *seat) loadFPU(b []byte) {
	s.fpu, s.live = fpuOffset, false
	copy(s.fpuArea(), b)
	arch.SanitizeFPU(s.fpuArea()[:len(b)])
}
