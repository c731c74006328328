package systrap

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// summonsSignal brings a thread into the handler, with a token that the handler hands back.
const summonsSignal = unix.SIGBUS

// clean makes proc as good as new. A guest can have its threads run on while the sentry takes them for waiting. So one, which was halted,
// begins anew in the handler; the others are ended.
func clean(proc *process) (c pool.Cleaning, err error) {
	seats := proc.Idle()
	var kept *seat
	if len(seats) > 0 {
		kept, seats = seats[0], seats[1:]
	}
	for _, s := range seats {
		unix.Kill(s.TID, unix.SIGKILL)
		c.Rest = append(c.Rest, blank.UnmapCall(s.base(), areaSize))
	}
	if kept != nil {
		kept.p.pairs.Pin(&kept.Guest, proc.LeaderCPU())
		kept.recall()
	}
	c.All, c.Done = unmapGuest(kept), func() error {
		for _, s := range seats {
			s.end()
		}
		if kept == nil {
			return nil
		}
		fresh := kept.renew()
		if fresh == nil {
			return blank.ErrDead // its area is still mapped, and maybe signals end who comes next
		}
		proc.Keep(fresh)
		if len(seats) > 0 {
			return proc.SetActions()
		}
		return nil
	}
	return c, nil
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
// and mostly at once: whoever has the processor of a thread that was sent a signal need not wait until it has taken that.
func halt(seats []*seat) {
	if len(seats) == 1 && seats[0].arrest() {
		return
	}
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

// arrest is halt for the only thread of its process, which takes no stop: where no other thread could have it leave the handler again, it is
// enough that it enters that next. Not while somebody asks it for its extended state: false.
func (s *seat) arrest() bool {
	if s.halted.Load() {
		return true
	}
	if !s.asked.TryLock() {
		return false
	}
	defer s.asked.Unlock()
	s.summon()
	if !s.p.pairs.Interrupt(s.TID) && !s.entered() {
		unix.Kill(s.TID, unix.SIGKILL)
		blank.Stopped(s.TID)
	}
	s.halted.Store(true)
	return true
}

// summon has the thread enter the handler before it executes anything else in user mode, and wait there. What it reports it could have
// forged; the token nobody knows before the host has put it on the stack, and the thread is in the handler. From there on it does what that
// says, so long as nothing of the guest's runs in its process, and the sentry sets registers and extended state.
func (s *seat) summon() {
	s.secret = rand.Uint64() | 1
	atomic.StoreUint32(&s.state, stateSentry)
	blank.Queue(s.TID, summonsSignal, s.secret)
}

// entered waits until a thread that was summoned waits in the handler, and tells whether it does.
func (s *seat) entered() bool {
	atomic.StoreUint32(&s.waits, 1)
	for late := 0; late < int(haltTime/firstPatience); { // not by the clock: all of the sandbox may have been stopped
		last := atomic.LoadUint32(s.tokenWord())
		if atomic.LoadUint64(&s.token) == s.secret {
			return true
		}
		if ended, errno := blank.Exited(s.TID); ended || errno != 0 {
			return false
		}
		if blank.Wait(s.tokenWord(), last, firstPatience) == unix.ETIMEDOUT {
			late++
		}
	}
	return false
}

// recall has a halted thread enter the handler, if it does not already. Nobody runs in its process.
func (s *seat) recall() {
	if s.secret == 0 {
		s.summon()
		blank.Continue(s.TID)
	}
}

// renew has a thread that was recalled begin anew, and returns it as a new seat; nil if it has died. No guest code runs in its
// process. What a thread has besides registers, extended state and the area it could
// have changed by system calls only.
func (s *seat) renew() *seat {
	if !s.entered() {
		s.end()
		return nil
	}
	s.wipe()
	fresh := &seat{p: s.p, proc: s.proc, index: s.index, area: s.area, answers: patch.NewPage(s.mem[answersAt:])}
	fresh.Guest = s.Guest
	return fresh
}
