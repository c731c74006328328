package kvm

import (
	"runtime"
	"sync/atomic"
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/spin"

	"golang.org/x/sys/unix"
)

// The turn of a runner, a futex: its own, or that of the context that holds its processor; whoever's turn it is not may sleep.
const (
	turnContext = 0
	turnRunner  = 1
	turnAsleep  = 2 // the other side sleeps, or is about to
	turnEnded   = 4 // there is no runner any more
)

// longSleep bounds a sleep that nothing but being woken is to end.
const longSleep = time.Hour

// runner is an OS thread that runs a processor, while the thread of the context that holds it waits for calls in shared memory. It
// has the fields below turn while it is its turn.
type runner struct {
	v     *vcpu
	turn  uint32
	ended atomic.Bool // the platform ends

	wanted func() bool
	as     *addressSpace
	area   *area
	errno  unix.Errno
	ran    bool
}

// newRunner starts the thread of v.
func newRunner(v *vcpu) *runner {
	r := &runner{v: v}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread() // for good: the thread, which pairs.Apart bound, ends with the goroutine
		v.tid.Store(int32(unix.Gettid()))
		close(ready)
		for r.await() {
			r.errno, r.ran = v.enter(r.wanted)
			r.as.finish(v)
			r.hand()
		}
	}()
	<-ready
	return r
}

// hand gives the turn to the context.
func (r *runner) hand() {
	if r.area != nil {
		atomic.OrUint32(&r.area.state, areaOut)
	}
	if atomic.SwapUint32(&r.turn, turnContext)&turnAsleep != 0 {
		blank.Wake(&r.turn)
	}
}

// start has the runner enter guest code in as, if wanted says so, and pass calls over in a. It returns false if the platform has ended.
func (r *runner) start(wanted func() bool, as *addressSpace, a *area) bool {
	r.wanted, r.as, r.area = wanted, as, a
	if a != nil {
		atomic.StoreUint32(&a.state, areaIdle)
	}
	for {
		old := atomic.LoadUint32(&r.turn)
		switch {
		case old&turnEnded != 0:
			return false
		case !atomic.CompareAndSwapUint32(&r.turn, old, turnRunner):
			continue
		case old&turnAsleep != 0:
			blank.Wake(&r.turn)
		}
		return true
	}
}

// await waits for the runner's turn. It returns false when the platform ends.
func (r *runner) await() bool {
	spin.WhileClear(&r.turn, turnRunner, spinCycles)
	for {
		old := atomic.LoadUint32(&r.turn)
		switch {
		case old&turnRunner != 0:
			return true
		case r.ended.Load():
			if atomic.CompareAndSwapUint32(&r.turn, old, turnEnded) {
				return false
			}
		case old&turnAsleep != 0:
			blank.Wait(&r.turn, old, longSleep)
		default:
			atomic.CompareAndSwapUint32(&r.turn, old, old|turnAsleep)
		}
	}
}

// in tells whether it is the runner's turn.
func (r *runner) in() bool { return atomic.LoadUint32(&r.turn)&turnRunner != 0 }

// wait waits for the context's turn.
func (r *runner) wait() {
	for {
		old := atomic.LoadUint32(&r.turn)
		switch {
		case old&turnRunner == 0:
			return
		case old&turnAsleep != 0:
			blank.Wait(&r.turn, old, longSleep)
		default:
			atomic.CompareAndSwapUint32(&r.turn, old, old|turnAsleep)
		}
	}
}

// end ends the runner, once it has left guest code.
func (r *runner) end() {
	r.ended.Store(true)
	for atomic.LoadUint32(&r.turn)&turnEnded == 0 {
		r.v.kick()
		blank.Wake(&r.turn)
		time.Sleep(100 * time.Microsecond)
	}
}
