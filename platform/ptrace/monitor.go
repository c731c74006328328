package ptrace

import "time"

const (
	// tickPeriod is how often the monitor looks, and how long a turn is.
	tickPeriod = 10 * time.Millisecond
	// rebalanceTicks is how often a busy pair is let go for the host to balance.
	rebalanceTicks = 16
)

// monitor sees to it that the monitor ticks.
func (p *Platform) monitor() {
	if !p.ticking.Load() && p.ticking.CompareAndSwap(false, true) {
		time.AfterFunc(tickPeriod, p.tick)
	}
}

// tick looks at all OS threads, and comes back while there is one to look after.
func (p *Platform) tick() {
	n := p.ticks.Add(1)
	if p.look(n) {
		time.AfterFunc(tickPeriod, p.tick)
		return
	}
	p.ticking.Store(false)
	if p.look(n) {
		p.monitor()
	}
}

// look looks at all OS threads and tells whether any needs looking after.
func (p *Platform) look(n uint32) (any bool) {
	p.tracerMu.RLock()
	defer p.tracerMu.RUnlock()
	for _, tr := range p.tracers {
		if tr.look(p, n) {
			any = true
		}
	}
	return any
}

// look unpins the thread if no context is locked to it. Otherwise it asks the context to make
// room if another one waits, and lets the thread and its tracee go when that
// has been in guest code since the last look, when its processor is crowded, or once in a while.
func (tr *tracer) look(p *Platform, n uint32) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.locks == 0 {
		if tr.cpu == anyCPU {
			return false
		}
		setAffinity(tr.tid, &p.cpus.all)
		tr.cpu = anyCPU
		return true
	}
	if tr.ctx == nil {
		return true
	}
	seq := tr.seq.Load()
	computing := seq&1 != 0 && seq == tr.lastSeq
	tr.lastSeq = seq
	if p.waiting.Load() > 0 {
		tr.yield.Store(true)
		tr.ctx.kick()
	}
	if tr.cpu == anyCPU || tr.loose.Load() {
		return true
	}
	if computing || n%rebalanceTicks == 0 || p.cpus.crowded(tr.cpu) {
		if t := tr.ctx.running.Load(); t != nil {
			setAffinity(t.tid, &p.cpus.all)
		}
		setAffinity(tr.tid, &p.cpus.all)
		tr.loose.Store(true)
	}
	return true
}
