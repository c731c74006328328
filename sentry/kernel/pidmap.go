package kernel

import (
	"math/bits"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// highPID is where the numbers begin that processes of the sentry's own take.
const highPID = 10

// nextLocked finds a free number after the last one, at a random distance if steps
// says so, and wraps once: to the number behind the reserved ones, if they are behind
// it already. EAGAIN when all are in use.
func (ns *PIDNamespace) nextLocked(high bool) (int32, error) {
	least := int32(1)
	if ns.last >= reservedPIDs && ns.max > reservedPIDs {
		least = reservedPIDs
	}
	from := int64(ns.last) + 1
	if steps := ns.steps.Load(); high {
		from, least = max(from, highPID), max(least, highPID)
	} else if steps > 0 {
		from += rand.Int64N(steps)
	}
	if from >= int64(ns.max) {
		from = int64(least)
	}
	n, ok := ns.used.next(int32(from), ns.max)
	if !ok {
		if n, ok = ns.used.next(least, ns.max); !ok {
			return 0, unix.EAGAIN
		}
	}
	if !high {
		ns.last = n
	}
	return n, nil
}

// lastsLocked are the last numbers found in ns and its ancestors, innermost first.
func (ns *PIDNamespace) lastsLocked() []int32 {
	lasts := make([]int32, 0, ns.level+1)
	for n := ns; n != nil; n = n.parent {
		lasts = append(lasts, n.last)
	}
	return lasts
}

// takeBackLocked frees a number that nobody had, and has the next search begin where this one
// did unless others have searched since.
func (p *PID) takeBackLocked(lasts []int32) {
	for n, i := p.ns, 0; n != nil; n, i = n.parent, i+1 {
		if n.last == p.numbers[n.level] {
			n.last = lasts[i]
		}
	}
	p.freeLocked()
}

// pidMap tells which numbers are in use, in chunks of 4096 that exist while they hold any. A
// search passes over full chunks, of which there are few, as there are few tasks.
type pidMap map[int32]*pidChunk

type pidChunk struct {
	words [64]uint64
	used  int
}

const chunkPIDs = 64 * 64

func (m pidMap) set(n int32) {
	c := m[n/chunkPIDs]
	if c == nil {
		c = new(pidChunk)
		m[n/chunkPIDs] = c
	}
	c.words[n%chunkPIDs/64] |= 1 << (n % 64)
	c.used++
}

func (m pidMap) clear(n int32) {
	c := m[n/chunkPIDs]
	c.words[n%chunkPIDs/64] &^= 1 << (n % 64)
	if c.used--; c.used == 0 {
		delete(m, n/chunkPIDs)
	}
}

// next returns the first free number from from on that is below end.
func (m pidMap) next(from, end int32) (int32, bool) {
	for from < end {
		c := m[from/chunkPIDs]
		if c == nil {
			return from, true
		}
		if n := c.next(from % chunkPIDs); n < chunkPIDs {
			n += from &^ (chunkPIDs - 1)
			return n, n < end
		}
		from = from&^(chunkPIDs-1) + chunkPIDs
	}
	return 0, false
}

// next returns the first free place from from on, chunkPIDs if there is none.
func (c *pidChunk) next(from int32) int32 {
	if c.used == chunkPIDs {
		return chunkPIDs
	}
	free := ^c.words[from/64] &^ (1<<(from%64) - 1)
	for w := from / 64; ; free = ^c.words[w] {
		if free != 0 {
			return w*64 + int32(bits.TrailingZeros64(free))
		}
		if w++; w == int32(len(c.words)) {
			return chunkPIDs
		}
	}
}
