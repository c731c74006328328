package pool

import (
	"time"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/changes"
)

// kickTime is how long a context may take to come out of guest code before it is kicked again.
const kickTime = time.Millisecond

// abandon unmaps everything by giving the process up. mu is held, and let go meanwhile.
func (as *Space[S]) abandon() {
	if old, queue := as.part(); old != nil {
		as.pool.discardFull(old, &queue)
	}
}

// part takes the process away, if there is one, and returns it with what is mapped there: contexts in guest code are stopped and
// go on in another one, and nothing of the guest's runs in it any more. mu is held, and let go meanwhile.
func (as *Space[S]) part() (old *Process[S], queue changes.Queue) {
	old, queue = as.lose(), as.queue
	as.wipe()
	if old != nil {
		as.empty(old)
	}
	return old, queue
}

// unlessDead returns err, what changing something came to, unless the process is gone. mu is held, and let go meanwhile.
func (as *Space[S]) unlessDead(err error) error {
	if err == blank.ErrDead {
		return as.gone(err)
	}
	return err
}

// gone is dead for Apply: it is for Begin to say. mu is held, and let go meanwhile.
func (as *Space[S]) gone(err error) error {
	as.dead(err)
	as.stopLost()
	return nil
}

// stopLost is called before the memory of an address space that has died may become another's: contexts may still run guest code in the process
// that it had. mu is held, and let go meanwhile.
func (as *Space[S]) stopLost() {
	if lost := as.lost; lost != nil {
		as.lost = nil
		as.empty(lost)
	}
}

// empty waits until no context runs guest code in old, which was taken away, and nothing of the guest's runs there any more. mu is held, and
// let go meanwhile.
func (as *Space[S]) empty(old *Process[S]) {
	as.dropping = old
	for len(old.inside) > 0 {
		as.kickOut(old)
	}
	as.dropping = nil
	as.left.Broadcast()
	old.halt()
}

// kickOut has the contexts in guest code in old come out of it, and waits for that, but not for long: a kick that comes before the
// thread enters guest code is lost. mu is held, and let go meanwhile.
func (as *Space[S]) kickOut(old *Process[S]) {
	for _, s := range old.inside {
		s.Kick()
	}
	late := false
	again := time.AfterFunc(kickTime, func() {
		as.mu.Lock()
		defer as.mu.Unlock()
		late = true
		as.left.Broadcast()
	})
	defer again.Stop()
	for len(old.inside) > 0 && !late {
		as.left.Wait()
	}
}
