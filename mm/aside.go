package mm

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Bounds of what is kept aside, in bytes: an eighth of the memory between them.
const (
	leastAside = 128 << 20
	mostAside  = 1 << 30
)

func asideLimit(limit uint64) int64 { return int64(min(max(limit/8, leastAside), mostAside)) }

// TakeAside counts n bytes that are kept in the sentry's own memory because a guest asked for it: names and attributes of files in f,
// lists of groups, what a call waits for. It is common to f and all its parts. False when there would be too much; a negative n gives back.
func (f *MemoryFile) TakeAside(n int64) bool { return f.takeAside(n) }

func (p *pages) takeAside(n int64) bool {
	if p.aside.Add(n) > p.mostAside.Load() && n > 0 {
		p.aside.Add(-n)
		return false
	}
	return true
}

// MostAside is how many bytes may be counted.
func (f *MemoryFile) MostAside() int64 { return f.mostAside.Load() }

// KeptAside is how many bytes are counted.
func (f *MemoryFile) KeptAside() int64 { return f.aside.Load() }

// Aside counts what is kept for one owner, with which it is given back once the garbage is collected.
type Aside struct {
	pages *pages
	taken atomic.Int64
}

// NewAside returns the count of an owner that nothing is kept for yet.
func NewAside[T any](f *MemoryFile, owner *T) *Aside {
	a := &Aside{pages: f.pages}
	runtime.AddCleanup(owner, func(a *Aside) { a.pages.takeAside(-a.taken.Load()) }, a)
	return a
}

// Take is TakeAside for the owner. Where there is no room it looks first whether owners are gone that nobody has noticed yet.
func (a *Aside) Take(n int64) bool {
	if !a.pages.takeAside(n) && !(a.pages.collect(n) && a.pages.takeAside(n)) {
		return false
	}
	a.taken.Add(n)
	return true
}

// collectEvery is how often a guest that finds no room may have the garbage collected.
const collectEvery = 100 * time.Millisecond

// collect has the garbage collected, unless that was just done, and waits a little until what it finds has given back n bytes.
func (p *pages) collect(n int64) bool {
	last, now := p.collected.Load(), time.Now().UnixNano()
	if now-last < int64(collectEvery) || !p.collected.CompareAndSwap(last, now) {
		return false
	}
	runtime.GC()
	for range 20 {
		if p.aside.Load()+n <= p.mostAside.Load() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return true
}
