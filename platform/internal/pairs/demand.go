package pairs

import (
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	// lateMost is how late the monitor may be: others that want to run wait as long.
	lateMost = 2 * time.Millisecond
	// oftenEntered is how many runners have to enter in a tick for one processor to pay: each has waited, and mostly for another one.
	oftenEntered = 20
	// maxWaiting is how many goroutines may wait for a processor. On one some do whenever the monitor looks, since it has that processor then.
	maxWaiting = 4
	// enoughGood is by how many ticks those in which one processor would have paid have to outnumber the others, mostGood by how many they can.
	enoughGood, mostGood = 3, 8
	// minHold is how many ticks several processors are wanted at least. Each time that they are wanted again as soon it becomes twice as much, up to maxHold.
	minHold, maxHold = 10, 500
)

// demand tells whether the sentry's own code is better off on one processor, or on several. On several, Go wakes a thread on another processor for each
// goroutine that becomes ready, and has it move there, which pays if that one has something else to do at once. Where one waits for the other, as around
// forks, in pipes and at locks, it does not. On one, whoever is in guest code for longer than some 20 us has the processor taken away, and fetches it back. So one is
// wanted where runners enter often, several are not busy at a time, and nobody lets others wait.
type demand struct {
	one   bool
	good  int // ticks in which one would have paid, less those in which it would not, within bounds
	hold  int // ticks that several are wanted once they are
	since int // ticks since that changed
}

// tick is what the monitor sees at one.
type tick struct {
	busy    int // pairs
	waiting int // goroutines, for a processor
	entered int // runners, since the last one
	late    time.Duration
}

// note takes in a tick, and tells whether what is wanted changes.
func (d *demand) note(t tick) bool {
	d.since++
	if t.busy <= 1 && t.waiting <= maxWaiting && t.entered >= oftenEntered && t.late <= lateMost {
		d.good = min(d.good+1, mostGood)
	} else {
		d.good = max(d.good-1, 0)
	}
	switch {
	case !d.one && (d.good < enoughGood || d.since < d.hold):
		return false
	case d.one && d.good > 0 && t.late <= lateMost:
		return false
	case d.one && d.since < d.hold:
		d.hold = min(2*d.hold, maxHold)
	case d.one:
		d.hold = minHold
	}
	d.one, d.since = !d.one, 0
	return true
}

// follower is who is told of the demand.
type follower struct {
	told    func(several bool)
	telling atomic.Bool
	demand  demand // the monitor's
	entries uint64 // counted at the last tick
	waiting []metrics.Sample
}

// OnDemand has f told whether the sentry's own code is better off on several processors. At first it is. It is to be called before any runner enters;
// f is called by one goroutine at a time, and the monitor does not wait for it.
func (s *Set) OnDemand(f func(several bool)) {
	s.follower = &follower{told: f, waiting: []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}}
}

// note takes in a tick at which so many pairs were busy and so many runners had ever entered. It does nothing on a nil follower.
func (f *follower) note(busy int, entries uint64, late time.Duration) {
	if f == nil || f.telling.Load() {
		return
	}
	t := tick{busy: busy, entered: int(entries - f.entries), late: late}
	f.entries = entries
	metrics.Read(f.waiting)
	if v := f.waiting[0].Value; v.Kind() == metrics.KindUint64 {
		t.waiting = int(v.Uint64())
	}
	if !f.demand.note(t) {
		return
	}
	several := !f.demand.one
	f.telling.Store(true)
	go func() {
		defer f.telling.Store(false)
		f.told(several)
	}()
}
