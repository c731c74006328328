package kernel

import (
	"sync/atomic"
	"time"
)

// Usage is what getrusage(2) and times(2) report.
type Usage struct {
	User, System           time.Duration
	MaxRSS                 uint64 // in bytes
	MinorFaults, MajFaults uint64
	VoluntarySwitches      uint64
	InvoluntarySwitches    uint64
}

// Add adds v to u; the largest resident size counts, not the sum.
func (u *Usage) Add(v Usage) {
	u.User += v.User
	u.System += v.System
	u.MaxRSS = max(u.MaxRSS, v.MaxRSS)
	u.MinorFaults += v.MinorFaults
	u.MajFaults += v.MajFaults
	u.VoluntarySwitches += v.VoluntarySwitches
	u.InvoluntarySwitches += v.InvoluntarySwitches
}

// accounting counts what one task uses; the task adds, anyone may read.
type accounting struct {
	user, system atomic.Int64 // ns
	faults       atomic.Uint64
	voluntary    atomic.Uint64
	maxRSS       atomic.Uint64 // bytes, as of the last look
}

func (a *accounting) usage() Usage {
	return Usage{
		User:              time.Duration(a.user.Load()),
		System:            time.Duration(a.system.Load()),
		MinorFaults:       a.faults.Load(),
		VoluntarySwitches: a.voluntary.Load(),
		MaxRSS:            a.maxRSS.Load(),
	}
}

// Usage returns what the thread has used.
func (t *Task) Usage() Usage {
	t.settle()
	return t.acct.usage()
}

// MeasureRSS brings the largest resident size in Usage up to date. Those call it who want to know, and the
// last user of an address space before it goes.
func (t *Task) MeasureRSS() {
	if m := t.MM(); m != nil {
		t.acct.maxRSS.Store(m.PeakRSS())
	}
}

// Usage returns what all threads of the group have used, those that ended too.
func (tg *ThreadGroup) Usage() Usage {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.usageLocked()
}

func (tg *ThreadGroup) usageLocked() Usage {
	u := tg.deadUsage
	for _, t := range tg.tasks {
		if !t.exited {
			u.Add(t.Usage())
		}
	}
	return u
}

// ChildUsage returns what the children that were waited for have used.
func (tg *ThreadGroup) ChildUsage() Usage {
	tg.k.tree.RLock()
	defer tg.k.tree.RUnlock()
	return tg.childUsage
}
