package ktime

import (
	"math/bits"
	"sync/atomic"
)

// Values of Params.Mode.
const (
	// ModeCall means that every reading is a system call.
	ModeCall uint32 = 0
	// ModeTSC means that time is computed from the time-stamp counter.
	ModeTSC uint32 = 1
)

// Params are the parameters of the clock. TSC - BaseCycles, unsigned, above Span means a system call.
type Params struct {
	Mode       uint32
	BaseCycles uint64 // counter at the base
	Span       uint64 // cycles from the base on for which this holds; times Mult less than 1<<64
	Mult       uint64 // nanoseconds a cycle, times 1<<32
	MonoBase   int64  // ns, CLOCK_MONOTONIC at the base
	RealBase   int64  // ns, CLOCK_REALTIME at the base
	BootBase   int64  // ns, CLOCK_BOOTTIME at the base
}

// elapsed is the time in ns from the base to the counter value cycles; false
// when the parameters do not hold there.
func (p *Params) elapsed(cycles uint64) (int64, bool) {
	delta := cycles - p.BaseCycles
	if p.Mode != ModeTSC || delta > p.Span {
		return 0, false
	}
	return scale(delta, p.Mult), true
}

// scale is delta*mult>>32.
func scale(delta, mult uint64) int64 {
	hi, lo := bits.Mul64(delta, mult)
	return int64(hi<<32 | lo>>32)
}

// Page is Params in the layout that the vDSO reads, and that can be read while they are being written. A reader takes Seq until it is even,
// reads the others, and starts over when Seq has changed.
type Page struct {
	Seq, Mode        atomic.Uint32
	Base, Span, Mult atomic.Uint64 // of Params: BaseCycles, Span and Mult
	Mono, Real, Boot Time          // at the base
}

// PageSize is the size of a Page in bytes.
const PageSize = 80

// Time is a time of a clock: to find the seconds takes a division, which would be most of what a reading in the vDSO takes.
type Time struct {
	Seconds     atomic.Int64
	Nanoseconds atomic.Int64 // 0 to 999,999,999
}

const second = 1e9 // ns

func (t *Time) set(ns int64) {
	rest := ns % second
	if rest < 0 {
		rest += second
	}
	t.Seconds.Store((ns - rest) / second)
	t.Nanoseconds.Store(rest)
}

func (t *Time) get() int64 { return t.Seconds.Load()*second + t.Nanoseconds.Load() }

// begin makes readers wait. Writers exclude each other.
func (p *Page) begin() { p.Seq.Add(1) }

// end lets readers go on.
func (p *Page) end() { p.Seq.Add(1) }

// set stores v, between begin and end.
func (p *Page) set(v *Params) {
	p.Mode.Store(v.Mode)
	p.Base.Store(v.BaseCycles)
	p.Span.Store(v.Span)
	p.Mult.Store(v.Mult)
	p.Mono.set(v.MonoBase)
	p.Real.set(v.RealBase)
	p.Boot.set(v.BootBase)
}

// get returns the parameters and Seq, which is odd when they were being written.
func (p *Page) get() (v Params, seq uint32) {
	seq = p.Seq.Load()
	return Params{
		Mode: p.Mode.Load(), BaseCycles: p.Base.Load(), Span: p.Span.Load(), Mult: p.Mult.Load(),
		MonoBase: p.Mono.get(), RealBase: p.Real.get(), BootBase: p.Boot.get(),
	}, seq
}
