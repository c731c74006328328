package kernel

import "time"

// barrierPoll is how long a barrier waits between two looks at the other threads, and barrierPolls how often it looks before it makes way for
// threads that are about to run guest code: these may wait for the one that waits for them.
const (
	barrierPoll  = 20 * time.Microsecond
	barrierPolls = 50
)

// Barrier returns once every other thread of the sandbox that ran guest code at
// the call has left it, which is a full memory barrier (membarrier(2)).
// ERESTARTNOINTR when a signal is due first.
func (t *Task) Barrier() error {
	inside, polls := t.interruptGuests(), 0
	for o, exits := range inside {
		for o.inside() == exits {
			if t.Interrupted() {
				return ERESTARTNOINTR
			}
			if polls++; polls == barrierPolls {
				t.ctx.Leave()
			}
			time.Sleep(barrierPoll)
		}
	}
	return nil
}

// interruptGuests interrupts the other tasks that run guest code, and returns what
// inside said of each.
func (t *Task) interruptGuests() map[*Task]int64 {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	inside := make(map[*Task]int64)
	for _, p := range t.k.rootPIDNS.ids {
		o := p.task
		if o == nil || o == t || o.exited {
			continue
		}
		if exits := o.inside(); exits != outside {
			inside[o] = exits
			o.ctx.Interrupt()
		}
	}
	return inside
}

// outside is what inside says of a task that does not run guest code.
const outside = -1

// inside tells how often a task that runs guest code now left it before, as far as meterEntries can tell.
func (t *Task) inside() int64 {
	if stamp := t.meter.stamp.Load(); meterMode(stamp) == cpuUser {
		return stamp % meterUnit / cpuModes
	}
	return outside
}
