package systrap

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"

	"golang.org/x/sys/unix"
)

// renewSignal brings a stopped thread into the handler. Anywhere it reports it, at once.
const renewSignal = unix.SIGBUS

// clean makes proc as good as new. A guest can have its threads run on while the sentry takes them for waiting. So one is stopped and
// begins anew in the handler; the others are ended.
func clean(proc *process) (unmap []blank.Call, done func() error, err error) {
	seats := proc.Idle()
	var kept *seat
	if len(seats) > 0 {
		kept, seats = seats[0], seats[1:]
		kept.stop()
	}
	for _, s := range seats {
		unix.Kill(s.TID, unix.SIGKILL)
	}
	return unmapGuest(kept), func() error {
		for _, s := range seats {
			s.end()
		}
		if kept == nil {
			return nil
		}
		if fresh := kept.renew(); fresh != nil {
			proc.Keep(fresh)
		}
		return nil
	}, nil
}

// unmapGuest returns the calls that unmap everything a guest could have had but for the area of kept, which may be nil.
func unmapGuest(kept *seat) []blank.Call {
	const end = trampolinesAt + patch.TrampolinesSize
	if kept == nil {
		return []blank.Call{blank.UnmapCall(0, end)}
	}
	base := kept.base()
	return []blank.Call{blank.UnmapCall(0, base), blank.UnmapCall(base+areaSize, end-base-areaSize)}
}

// haltTime is how long threads may take to stop.
const haltTime = time.Second

// halt sees to it that seats, all of a process, execute nothing of the guest's any more. What they report the guest may have forged; so the host
// has to vouch for it, and mostly does at once.
func halt(seats []*seat) {
	for _, s := range seats {
		s.turn.Lock()
		defer s.turn.Unlock()
	}
	seats = slices.DeleteFunc(slices.Clone(seats), func(s *seat) bool { return s.halted.Load() })
	if !summon(seats) {
		stopAll(seats)
	}
	for _, s := range seats {
		s.halted.Store(true) // now that none of them runs it may enter the handler
	}
}

// summons is how often summon tries.
const summons = 2

// summon has seats enter the handler before they execute anything else, without waiting for that, and tells whether that is certain: none of them ran from
// before the sentry took their states back until they all had the signal. So what their states say from then on the handler has written.
func summon(seats []*seat) bool {
	if len(seats) == 0 {
		return true
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var tids []int
	for _, s := range seats {
		tids = append(tids, s.TID)
	}
	for range summons { // that one of them had to be moved may have taken the processor from the caller
		cpu, held := seats[0].p.pairs.Hold(tids, func() {
			for _, s := range seats {
				s.expectEntry()
			}
			for _, s := range seats {
				unix.Kill(s.TID, renewSignal)
			}
		})
		if held {
			for _, s := range seats {
				s.at = cpu
			}
			return true
		}
	}
	return false
}

// stopAll has the host stop seats. Whoever has the processor of a thread that was sent SIGSTOP need not wait until it has stopped.
func stopAll(seats []*seat) {
	for _, s := range seats {
		s.stop()
	}
	var late []*seat
	for _, s := range seats {
		if !s.p.pairs.Interrupt(s.TID) {
			late = append(late, s)
		}
	}
	awaitStops(late)
}

// awaitStops waits until seats have stopped. A thread that the host keeps from stopping is killed.
func awaitStops(seats []*seat) {
	if len(seats) == 0 {
		return
	}
	late := time.AfterFunc(haltTime, func() {
		for _, s := range seats {
			unix.Kill(s.TID, unix.SIGKILL)
		}
	})
	defer late.Stop()
	for _, s := range seats {
		blank.Stopped(s.TID)
	}
}

// rouse has seats that were halted begin anew, all of a process. Nobody holds them.
func rouse(seats []*seat) (fresh []*seat) {
	for _, s := range seats {
		s.stop() // a context that left may have had it enter the handler
	}
	for _, s := range seats {
		if s = s.renew(); s != nil {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// stop has the host stop the thread, unless it has been halted.
func (s *seat) stop() {
	if !s.halted.Load() {
		s.stopped = true
		blank.Stop(s.TID)
	}
}

// expectEntry takes back what the thread has said. Neither it nor anybody else runs in its process.
func (s *seat) expectEntry() {
	s.spin = 0
	atomic.StoreUint32(&s.message, 0)
	atomic.StoreUint32(&s.state, stateGuest)
}

// enter has a thread that was halted or has stopped enter the handler, and tells whether it did. Nobody else runs in its process.
//
// Nothing of the guest runs, so what the sentry writes to the area stays. The next thing that the thread does is to
// take the signal, on the stack and at the address that the guest could not change: from there on it does what the handler
// says, and ends up waiting for registers and extended state, all of which the sentry sets.
func (s *seat) enter() bool {
	s.halted.Store(false)
	if s.stopped {
		s.stopped = false
		s.expectEntry()
		blank.Continue(s.TID, renewSignal)
	}
	_, err := s.await(0, nil)
	kind, sig := atomic.LoadUint32(&s.message), unix.Signal(atomic.LoadUint32(&s.signal))
	return err == nil && (kind == kindSignal || kind == kindBroken) && sig == renewSignal
}

// renew has a thread that stop was called for begin anew, and returns it as a new seat; nil if it has died. No guest code runs in its
// process. What a thread has besides registers, extended state and the area it could
// have changed by system calls only.
func (s *seat) renew() *seat {
	if !s.halted.Load() {
		blank.Stopped(s.TID)
	}
	if !s.enter() {
		s.end()
		return nil
	}
	clear(s.mem[stateSize:]) // the frame too
	fresh := &seat{p: s.p, proc: s.proc, index: s.index, area: s.area, at: pairs.AnyCPU, answers: patch.NewPage(s.mem[answersAt:])}
	if fresh.Guest = pairs.NewGuest(s.TID, s.at); s.at == pairs.AnyCPU {
		s.p.pairs.Pin(&fresh.Guest, s.p.pairs.Here())
	}
	return fresh
}
