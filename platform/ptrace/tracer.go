package ptrace

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// tracer is an OS thread that traces.
type tracer struct {
	tid  int
	cpus *cpus

	// seq counts entries to and returns from guest code: odd while there.
	seq atomic.Uint64
	// loose says that the monitor let the thread and its tracee run anywhere.
	loose atomic.Bool
	// yield asks the context to make room for another one.
	yield atomic.Bool

	mu      sync.Mutex
	locks   int      // contexts whose goroutine is locked to the thread: one, unless a goroutine runs several
	cpu     int      // where it is pinned; changed by the thread itself, or while locks is 0
	ctx     *context // the one that ran last, if its goroutine is locked to the thread; changed by the thread itself
	lastSeq uint64   // what the monitor saw

	// For the context that is locked to the thread.
	regs    unix.PtraceRegs
	scratch []byte // extended state in the host's full length
}

// enter says that c is locked to the thread, which is the calling one, and gives that a processor.
func (tr *tracer) enter(c *context) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ctx = c
	tr.locks++
	tr.yield.Store(false)
	if tr.locks == 1 {
		tr.place()
	}
}

// turn says that c, which is locked to the thread, runs next.
func (tr *tracer) turn(c *context) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ctx = c
}

// place pins the thread where there is least to do. mu is held.
func (tr *tracer) place() {
	cpus := tr.cpus
	if len(cpus.list) == 1 {
		return
	}
	cur := tr.cpu
	if cur == anyCPU {
		cur = currentCPU()
	}
	cpu := cpus.choose(cur)
	if cpu != tr.cpu && setAffinity(0, cpus.mask(cpu)) == 0 {
		tr.cpu = cpu
	}
	if tr.cpu != anyCPU {
		cpus.load[tr.cpu].Add(1)
	}
}

// again places the thread anew after the monitor has let it and its tracee t go.
func (tr *tracer) again(t *tracee) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.forget(t)
	tr.place()
}

// forget gives up the place of the thread, and that of its tracee t, which may be nil, if the monitor
// has let them go. mu is held.
func (tr *tracer) forget(t *tracee) {
	if !tr.loose.Swap(false) {
		return
	}
	if t != nil {
		t.cpu = anyCPU
	}
	if tr.cpu != anyCPU {
		tr.cpus.load[tr.cpu].Add(-1)
		tr.cpu = anyCPU
	}
}

// exit says that its context, which holds t or nothing, is no longer locked to
// the thread. It stays where it is pinned until the monitor comes by: the next
// context is likely to run there too.
func (tr *tracer) exit(t *tracee) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.forget(t)
	tr.ctx = nil
	tr.locks--
	if tr.locks == 0 && tr.cpu != anyCPU {
		tr.cpus.load[tr.cpu].Add(-1)
	} else if tr.locks > 0 {
		tr.loose.Store(true)
	}
}
