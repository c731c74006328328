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

// Params are the parameters of the clock in the layout that the vDSO reads;
// offsets in bytes. A reader takes Seq until it is even, reads the others and
// the counter, and starts over when Seq has changed. TSC - BaseCycles, unsigned, above Span
// means a system call.
type Params struct {
	Seq        uint32 // 0
	Mode       uint32 // 4
	BaseCycles uint64 // 8: counter at the base
	Span       uint64 // 16: cycles from the base on for which this holds
	Mult       uint64 // 24: nanoseconds a cycle, times 1<<32
	MonoBase   int64  // 32: ns, CLOCK_MONOTONIC at the base
	RealBase   int64  // 40: ns, CLOCK_REALTIME at the base
	BootBase   int64  // 48: ns, CLOCK_BOOTTIME at the base
}

// ParamsSize is the size of Params in bytes.
const ParamsSize = 56

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

// page is a Params that is read while it is being written.
type page struct {
	seq, mode        atomic.Uint32
	base, span, mult atomic.Uint64
	mono, real, boot atomic.Int64
}

// begin makes readers wait. Writers exclude each other.
func (p *page) begin() { p.seq.Add(1) }

// end lets readers go on.
func (p *page) end() { p.seq.Add(1) }

// set stores v but for Seq, between begin and end.
func (p *page) set(v *Params) {
	p.mode.Store(v.Mode)
	p.base.Store(v.BaseCycles)
	p.span.Store(v.Span)
	p.mult.Store(v.Mult)
	p.mono.Store(v.MonoBase)
	p.real.Store(v.RealBase)
	p.boot.Store(v.BootBase)
}

// get returns the parameters; Seq is odd when they were being written.
func (p *page) get() Params {
	return Params{
		Seq: p.seq.Load(), Mode: p.mode.Load(),
		BaseCycles: p.base.Load(), Span: p.span.Load(), Mult: p.mult.Load(),
		MonoBase: p.mono.Load(), RealBase: p.real.Load(), BootBase: p.boot.Load(),
	}
}
