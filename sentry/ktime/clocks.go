package ktime

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Config says how a kernel's clocks differ from the host's.
type Config struct {
	// MonotonicOffset and BoottimeOffset, in ns, are added to the host's clocks
	// (as in a time namespace).
	MonotonicOffset, BoottimeOffset int64
	// NoTSC makes every reading ask the host.
	NoTSC bool
}

// How long parameters hold, in ns: short after the first measurements, longer as the
// rate is known better.
const (
	firstSpan = 10e6
	maxSpan   = 1e9
)

const (
	// maxSlew bounds, in millionths, how much faster or slower than the host the
	// clock runs to make up a difference.
	maxSlew = 500
	// jump is the difference in ns up to which it is made up so; when the host is further
	// ahead, the clock jumps.
	jump = 1e6
	// noise is the error in ns of a measured offset between two host clocks; smaller
	// changes are none.
	noise = 2e3
	// maxDrift, in millionths, is how much two measured rates may differ before
	// the counter is taken to have jumped.
	maxDrift = 2000
)

// Clocks are the clocks of one kernel. It is safe for concurrent use.
type Clocks struct {
	source source
	config Config
	usable bool

	// params is what readers in the sentry use. Written under mu.
	params Page
	// asked is the highest monotonic value that was given out by asking the host.
	asked atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	pages []*Page // those that vDSOs read
	cur   Params
	last  sample
	span  int64 // ns
}

// New returns clocks that follow the host's.
func New(c Config) *Clocks {
	return newClocks(c, host{}, !c.NoTSC && usableTSC())
}

func newClocks(c Config, s source, usable bool) *Clocks {
	k := &Clocks{source: s, config: c, usable: usable}
	k.restart(k.sample())
	return k
}

// sample measures and adds the configured offsets.
func (k *Clocks) sample() sample {
	s := take(k.source)
	s.mono += k.config.MonotonicOffset
	s.boot += k.config.BoottimeOffset
	return s
}

// restart forgets the rate; readers ask the host until there is a new one.
func (k *Clocks) restart(s sample) {
	k.last, k.span = s, 0
	k.publish(func() Params {
		return Params{Mode: ModeCall, MonoBase: s.mono, RealBase: s.real, BootBase: s.boot}
	})
}

// Attach keeps b, the parameter page of a vDSO, up to date from now on. b must be
// at least PageSize bytes, aligned to 8, and stay mapped; EINVAL otherwise.
func (k *Clocks) Attach(b []byte) error {
	p, err := pageAt(b)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pages = append(k.pages, p)
	p.begin()
	p.set(&k.cur)
	p.end()
	return nil
}

// Params returns the present parameters.
func (k *Clocks) Params() Params {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cur
}

// which selects one of the three clocks.
type which int

const (
	monotonic which = iota
	realtime
	boottime
)

func (p *Params) base(w which) int64 {
	switch w {
	case realtime:
		return p.RealBase
	case boottime:
		return p.BootBase
	}
	return p.MonoBase
}

// read returns the time of a clock in ns.
func (k *Clocks) read(w which) int64 {
	for first := true; ; first = false {
		p, seq := k.params.get()
		if seq&1 != 0 {
			// The writer has the lock; wait for it there and not in a loop.
			k.mu.Lock()
			k.mu.Unlock() //nolint:staticcheck // nothing to do but wait
			continue
		}
		if v, ok := k.compute(&p, w); ok {
			if k.params.Seq.Load() == seq {
				return v
			}
			continue
		}
		if first {
			k.refresh(seq)
			continue
		}
		v := k.ask(&p, w)
		if k.params.Seq.Load() == seq {
			return v
		}
		runtime.Gosched()
	}
}

// Rough is Monotonic for accounts, at half the price: it may be read some ns before what precedes it has happened, and
// one reading be before another one that it follows on another processor.
func (k *Clocks) Rough() int64 {
	p := &k.params
	if seq := p.Seq.Load(); seq&1 == 0 && p.Mode.Load() == ModeTSC {
		delta, base := k.source.rough()-p.Base.Load(), p.Mono.get()
		if delta <= p.Span.Load() {
			if v := base + scale(delta, p.Mult.Load()); p.Seq.Load() == seq {
				return v
			}
		}
	}
	return k.read(monotonic)
}

func (k *Clocks) compute(p *Params, w which) (int64, bool) {
	if p.Mode != ModeTSC {
		return 0, false
	}
	ns, ok := p.elapsed(k.source.cycles())
	return p.base(w) + ns, ok
}

// ask reads the host's clock. The monotonic one never gives less than it gave
// before, and the others keep their distance from it until there is a rate.
func (k *Clocks) ask(p *Params, w which) int64 {
	switch {
	case w == monotonic || k.usable:
		return k.askMonotonic() + p.base(w) - p.MonoBase
	case w == realtime:
		return k.source.realtime()
	}
	return k.source.boottime() + k.config.BoottimeOffset
}

func (k *Clocks) askMonotonic() int64 {
	v := k.source.monotonic() + k.config.MonotonicOffset
	for {
		highest := k.asked.Load()
		if v <= highest {
			return highest
		}
		if k.asked.CompareAndSwap(highest, v) {
			return v
		}
	}
}
