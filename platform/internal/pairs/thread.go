package pairs

import (
	"sync"
	"sync/atomic"
)

// Thread is an OS thread that runs guest code.
type Thread struct {
	// Local is the platform's own.
	Local any

	tid  int
	cpus *cpus
	away int // the processor it was moved to apart from its guest, or AnyCPU

	// seq counts entries to and returns from guest code: odd while there.
	seq atomic.Uint64
	// loose says that the monitor let the thread and its guest run anywhere.
	loose atomic.Bool
	// yield asks the runner to make room for another one.
	yield atomic.Bool

	mu      sync.Mutex
	locks   int    // runners whose goroutine is locked to the thread: one, unless a goroutine runs several
	cpu     int    // where it is pinned; changed by the thread itself, or while locks is 0
	runner  Runner // the one that ran last, if its goroutine is locked to the thread; changed by the thread itself
	lastSeq uint64 // what the monitor saw
}

// TID is the thread's id.
func (t *Thread) TID() int { return t.tid }

// Here is where the thread itself is, which is its guest's place unless they are apart, or AnyCPU.
func (t *Thread) Here() int {
	if t.away != AnyCPU {
		return t.away
	}
	return t.cpu
}

// Asked tells whether the runner is to make room for another one.
func (t *Thread) Asked() bool { return t.yield.Load() }

// Begin says that guest code is about to run, End that it does not any more.
func (t *Thread) Begin() { t.seq.Add(1) }

// End is the opposite of Begin.
func (t *Thread) End() { t.seq.Add(1) }

// enter says that r is locked to the thread, which is the calling one, and gives that a processor.
func (t *Thread) enter(r Runner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runner = r
	t.locks++
	t.yield.Store(false)
	if t.locks == 1 {
		t.place()
	}
}

// Settle says that r, which is locked to the thread and holds g or nothing, runs next. It tells whether
// that undid Apart.
func (t *Thread) Settle(r Runner, g *Guest) bool {
	if t.runner == r && !t.loose.Load() {
		return false
	}
	t.Together()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runner = r
	if t.loose.Load() {
		t.forget(g)
		t.place()
	}
	return true
}

// Follow pins g where the thread is.
func (t *Thread) Follow(g *Guest) { g.pin(t.cpus, t.cpu) }

// Split is where a thread and its guest are that were moved apart. AnyCPU stands for wherever suits.
type Split struct{ Guest, Thread int }

// AnySplit is no place in particular.
func AnySplit() Split { return Split{AnyCPU, AnyCPU} }

// Split is where the thread and its guest are, AnySplit unless they are apart.
func (t *Thread) Split() Split {
	if t.away == AnyCPU {
		return AnySplit()
	}
	return Split{t.cpu, t.away}
}

// Apart moves the thread, which is the calling one, to another processor than its guest's, and tells whether there is one.
// Where two take turns, the second one does best at the places of the first.
func (t *Thread) Apart(at Split) bool {
	if t.cpu == AnyCPU || t.loose.Load() {
		return false
	}
	if t.away == AnyCPU && at.Thread == AnyCPU {
		at = Split{t.cpu, t.cpus.other(t.cpu)}
	}
	if at.Thread == AnyCPU {
		return t.away != AnyCPU
	}
	t.moveHome(at.Guest)
	return t.moveAway(at.Thread)
}

// moveHome says that the thread and its guest belong to another processor. The guest follows.
func (t *Thread) moveHome(cpu int) {
	if cpu == t.cpu {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cpus.load[t.cpu].Add(-1)
	t.cpus.load[cpu].Add(1)
	t.cpu = cpu
}

// moveAway moves the thread alone, and tells whether the host did.
func (t *Thread) moveAway(cpu int) bool {
	if cpu == t.away {
		return true
	}
	if setAffinity(0, t.cpus.mask(cpu)) != 0 {
		return false
	}
	if t.away != AnyCPU {
		t.cpus.load[t.away].Add(-1)
	}
	t.cpus.load[cpu].Add(1)
	t.away = cpu
	return true
}

// Together undoes Apart.
func (t *Thread) Together() {
	if t.away == AnyCPU {
		return
	}
	t.cpus.load[t.away].Add(-1)
	t.away = AnyCPU
	setAffinity(0, t.cpus.mask(t.cpu))
}

// place pins the thread where there is least to do. mu is held.
func (t *Thread) place() {
	cpus := t.cpus
	if len(cpus.list) == 1 {
		return
	}
	cur := t.cpu
	if cur == AnyCPU {
		cur = currentCPU()
	}
	cpu := cpus.choose(cur)
	if cpu != t.cpu && setAffinity(0, cpus.mask(cpu)) == 0 {
		t.cpu = cpu
	}
	if t.cpu != AnyCPU {
		cpus.load[t.cpu].Add(1)
	}
}

// forget gives up the place of the thread, and that of its guest g, which may be nil, if the monitor
// has let them go. mu is held.
func (t *Thread) forget(g *Guest) {
	if !t.loose.Swap(false) {
		return
	}
	if g != nil {
		g.cpu = AnyCPU
	}
	if t.cpu != AnyCPU {
		t.cpus.load[t.cpu].Add(-1)
		t.cpu = AnyCPU
	}
}

// Exit says that its runner, which holds g or nothing, is no longer locked to
// the thread; Set.Leave must follow. It stays where it is pinned until the monitor comes by: the next
// runner is likely to run there too.
func (t *Thread) Exit(g *Guest) {
	t.Together()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(g)
	t.runner = nil
	t.locks--
	if t.locks == 0 && t.cpu != AnyCPU {
		t.cpus.load[t.cpu].Add(-1)
	} else if t.locks > 0 {
		t.loose.Store(true)
	}
}

// look unpins the thread if no runner is locked to it, and tells whether it is needed again and whether a runner is. Otherwise it asks the runner to make
// room if another one waits, and lets the thread and its guest go when that
// has been in guest code since the last look, when its processor is crowded, or once in a while.
func (t *Thread) look(s *Set, n uint32) (needed, inside bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.locks == 0 {
		if t.cpu == AnyCPU {
			return false, false
		}
		setAffinity(t.tid, &t.cpus.all)
		t.cpu = AnyCPU
		return true, false
	}
	if t.runner == nil {
		return true, true
	}
	seq := t.seq.Load()
	computing := seq&1 != 0 && seq == t.lastSeq
	t.lastSeq = seq
	if s.waiting.Load() > 0 {
		t.yield.Store(true)
		t.runner.Kick()
	}
	if t.cpu == AnyCPU || t.loose.Load() {
		return true, true
	}
	if computing || n%rebalanceTicks == 0 || t.cpus.crowded(t.cpu) {
		if g := t.runner.Inside(); g != nil {
			setAffinity(g.TID, &t.cpus.all)
		}
		setAffinity(t.tid, &t.cpus.all)
		t.loose.Store(true)
	}
	return true, true
}
