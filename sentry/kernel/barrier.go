package kernel

import "time"

// barrierPoll is how long a barrier waits between two looks at the other threads.
const barrierPoll = 20 * time.Microsecond

// Barrier returns once every other thread of the sandbox that ran guest code at
// the call has left it, which is a full memory barrier (membarrier(2)).
// ERESTARTNOINTR when a signal is due first.
func (t *Task) Barrier() error {
	inside := t.interruptGuests()
	for o, exits := range inside {
		for o.guestExits.Load() == exits && o.inGuest() {
			if t.Interrupted() {
				return ERESTARTNOINTR
			}
			time.Sleep(barrierPoll)
		}
	}
	return nil
}

// interruptGuests interrupts the other tasks that run guest code, and returns how
// often each had left it.
func (t *Task) interruptGuests() map[*Task]uint64 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	inside := make(map[*Task]uint64)
	for _, p := range t.k.rootPIDNS.ids {
		o := p.task
		if o == nil || o == t || o.exited {
			continue
		}
		if exits := o.guestExits.Load(); o.inGuest() {
			inside[o] = exits
			o.ctx.Interrupt()
		}
	}
	return inside
}

// inGuest tells whether the task runs guest code now.
func (t *Task) inGuest() bool { return cpuMode(t.meter.stamp.Load()%cpuModes) == cpuUser }
