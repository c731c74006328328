package ktime

// publish writes new parameters: next computes them while readers wait.
func (k *Clocks) publish(next func() Params) {
	for _, p := range k.pages {
		p.begin()
	}
	k.params.begin()
	k.cur = next()
	k.params.set(&k.cur)
	k.params.end()
	for _, p := range k.pages {
		p.set(&k.cur)
		p.end()
	}
}

// refresh measures the drift and sets new parameters, if those with sequence
// number seq are still the present ones.
func (k *Clocks) refresh(seq uint32) {
	if !k.usable {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.params.Seq.Load() != seq {
		return
	}
	if k.source.monotonic()+k.config.MonotonicOffset-k.last.mono < firstSpan {
		return
	}
	s := k.sample()
	rate := ratio(s.mono-k.last.mono, s.cycles-k.last.cycles)
	if rate == 0 || k.cur.Mode == ModeTSC && differs(rate, k.cur.Mult) {
		k.jumped(s)
		return
	}
	k.span = min(max(2*k.span, 2*firstSpan), maxSpan)
	k.last = s
	k.publish(func() Params { return k.next(s, rate) })
}

// jumped starts over after the counter leapt. The clock stands still until the
// host's is past the highest value that anybody can have read.
func (k *Clocks) jumped(s sample) {
	if k.cur.Mode == ModeTSC {
		highest := k.cur.MonoBase + scale(k.cur.Span, k.cur.Mult)
		k.asked.Store(max(k.asked.Load(), highest))
	}
	k.restart(s)
}

// next computes the parameters that follow the present ones, from a measurement
// and the rate. It runs while readers wait.
func (k *Clocks) next(s sample, rate uint64) Params {
	now := k.source.cycles()
	hostMono := s.mono + scale(now-s.cycles, rate)
	mono := k.value(now, hostMono, rate)
	p := Params{
		Mode:       ModeTSC,
		BaseCycles: now,
		Mult:       slew(rate, hostMono-mono, k.span),
		MonoBase:   mono,
		RealBase:   mono + k.settle(s.real-s.mono, k.cur.RealBase-k.cur.MonoBase),
		BootBase:   mono + k.settle(s.boot-s.mono, k.cur.BootBase-k.cur.MonoBase),
	}
	p.Span = cyclesFor(k.span, rate)
	return p
}

// value is the monotonic time with which the clock goes on at the counter value
// now, when the host's is hostMono. Beyond the span of the old parameters, where nobody read
// the clock, it ran at rate.
func (k *Clocks) value(now uint64, hostMono int64, rate uint64) int64 {
	if k.cur.Mode != ModeTSC {
		return max(hostMono, k.asked.Load())
	}
	delta := now - k.cur.BaseCycles
	held := min(delta, k.cur.Span)
	v := k.cur.MonoBase + scale(held, k.cur.Mult) + scale(delta-held, rate)
	if hostMono-v > jump {
		return hostMono
	}
	return v
}

// settle returns the measured offset between two clocks, or the old one where
// the difference is but noise.
func (k *Clocks) settle(measured, old int64) int64 {
	if measured-old <= noise && old-measured <= noise {
		return old
	}
	return measured
}

// ratio is ns a cycle times 1<<32, 0 when it makes no sense.
func ratio(ns int64, cycles uint64) uint64 {
	const slowest, fastest = 1e6, 1e11 // cycles a second
	if ns <= 0 || cycles == 0 || cycles > 1<<62 {
		return 0
	}
	f := float64(ns) / float64(cycles)
	if perSecond := 1e9 / f; perSecond < slowest || perSecond > fastest {
		return 0
	}
	return uint64(f * (1 << 32))
}

// differs tells whether two rates are too far apart to be one counter's.
func differs(a, b uint64) bool {
	d := max(a, b) - min(a, b)
	return d > b/1e6*maxDrift
}

// slew returns a rate that makes up the difference behind (ns, negative when
// ahead) within span ns, as far as maxSlew allows.
func slew(rate uint64, behind, span int64) uint64 {
	limit := float64(maxSlew) / 1e6
	part := min(max(float64(behind)/float64(span), -limit), limit)
	return uint64(float64(rate) * (1 + part))
}

// cyclesFor is how many cycles ns take.
func cyclesFor(ns int64, rate uint64) uint64 {
	return uint64(float64(ns) / (float64(rate) / (1 << 32)))
}
