package systrap

import "time"

// turn is how long a context may compute while others wait.
const turn = 10 * time.Millisecond

// monitor sees to it that contexts take turns.
func (p *Platform) monitor() {
	if !p.ticking.Load() && p.ticking.CompareAndSwap(false, true) {
		time.AfterFunc(turn, p.tick)
	}
}

// tick asks all contexts to make room, and comes back while there is one that waits.
func (p *Platform) tick() {
	if p.waiting.Load() == 0 {
		p.ticking.Store(false)
		if p.waiting.Load() > 0 {
			p.monitor()
		}
		return
	}
	p.mu.Lock()
	for c := range p.running {
		c.yield.Store(true)
		if s := c.running.Load(); s != nil {
			s.kick()
		}
	}
	p.mu.Unlock()
	time.AfterFunc(turn, p.tick)
}
