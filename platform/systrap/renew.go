package systrap

import (
	"sync/atomic"
	"time"

	"gosentry/platform/internal/blank"
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
	}
	for _, s := range seats {
		unix.Kill(s.TID, unix.SIGKILL)
	}
	if kept != nil {
		kept.p.pairs.Pin(&kept.Guest, proc.LeaderCPU())
		kept.recall()
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

// halt stops seats, all of a process. What they report the guest may have forged; that they execute nothing of the guest's any more the host says,
// and mostly at once: whoever has the processor of a thread that was sent SIGSTOP need not wait until it has stopped.
func halt(seats []*seat) {
	for _, s := range seats {
		s.stop()
	}
	var late []*seat
	for _, s := range seats {
		if !s.halted.Load() && !s.p.pairs.Interrupt(s.TID) {
			late = append(late, s)
		}
	}
	awaitStops(late)
	for _, s := range seats {
		s.halted.Store(true) // now that none of them runs it may enter the handler
	}
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
		s.p.pairs.Pin(&s.Guest, s.p.pairs.Here())
		s.recall()
	}
	for _, s := range seats {
		if s = s.renew(); s != nil {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// stop has the host stop the thread, unless it has been stopped.
func (s *seat) stop() {
	if !s.halted.Load() {
		blank.Stop(s.TID)
	}
}

// enter has a thread that has stopped enter the handler, and tells whether it did. Nobody else runs in its process.
//
// Nothing of the guest runs, so what the sentry writes to the area stays. The next thing that the thread does is to
// take the signal, on the stack and at the address that the guest could not change: from there on it does what the handler
// says, and ends up waiting for registers and extended state, all of which the sentry sets.
func (s *seat) enter() bool {
	s.goOn()
	return s.entered()
}

// goOn has a thread enter the handler as enter does, without waiting for that.
func (s *seat) goOn() {
	s.halted.Store(false)
	atomic.StoreUint32(&s.state, stateGuest)
	atomic.StoreUint32(&s.message, 0)
	blank.Continue(s.TID, renewSignal)
}

// entered waits until a thread that goes on has entered the handler, and tells whether it did.
func (s *seat) entered() bool {
	_, err := s.await(0, nil)
	kind, sig := atomic.LoadUint32(&s.message), unix.Signal(atomic.LoadUint32(&s.signal))
	return err == nil && (kind == kindSignal || kind == kindBroken) && sig == renewSignal
}

// recall begins what renew ends, for a thread of a process in which nobody runs. What it does meanwhile it does in the handler.
func (s *seat) recall() {
	if !s.halted.Load() { // a context that left may have had it enter the handler
		blank.Stop(s.TID)
		blank.Stopped(s.TID)
	}
	s.goOn()
}

// renew has a thread that was recalled begin anew, and returns it as a new seat; nil if it has died. No guest code runs in its
// process. What a thread has besides registers, extended state and the area it could
// have changed by system calls only.
func (s *seat) renew() *seat {
	if !s.entered() {
		s.end()
		return nil
	}
	clear(s.mem[stateSize:]) // the frame too
	fresh := &seat{p: s.p, proc: s.proc, index: s.index, area: s.area, answers: patch.NewPage(s.mem[answersAt:])}
	fresh.Guest = s.Guest
	return fresh
}
