package pool

import (
	"cmp"
	"math"
	"slices"

	"gosentry/platform/internal/changes"
)

// What a process costs a space is counted in calls of the host's, some 2 us each.
const (
	// unmappedByCall is how many bytes the host unmaps in the time of one.
	unmappedByCall = 128 << 10
	// emptyingCalls is what it takes to have had a process emptied at the same time on another processor, where the host has to wake up, makingCalls to
	// make one now.
	emptyingCalls = 32
	makingCalls   = 128
	// maxCompared bounds the processes that are compared.
	maxCompared = 8
)

// fitness tells how well a process would do.
type fitness struct {
	usable bool // it has a seat that will do
	cost   int
	rank   int // of the best seat
}

// above tells whether f is better than o.
func (f fitness) above(o fitness) bool {
	if f.usable != o.usable {
		return f.usable
	}
	return cmp.Or(cmp.Compare(o.cost, f.cost), cmp.Compare(f.rank, o.rank)) > 0
}

// pick takes the process that suits best a runner who ranks seats by rank, and a space whose mappings q has: one that another space has just left, used, or
// one that is in store. nil where it is better to make one.
func (p *Pool[S]) pick(rank func(S) int, q *changes.Queue) (proc *Process[S], used bool) {
	left, l := fittest(p.left, rank, q)
	spare, s := fittest(p.spares, rank, nil)
	s.cost = q.Len() + emptyingCalls
	switch {
	case left >= 0 && (spare < 0 || l.above(s)) && (l.cost < s.cost+makingCalls || !p.mayMake()):
		return takeOut(&p.left, left), true
	default:
		return takeOut(&p.spares, spare), false
	}
}

// fittest is the index of the process in list that suits best, of several the last; -1 if there is none. With no q all cost nothing.
func fittest[S Seat](list []*Process[S], rank func(S) int, q *changes.Queue) (at int, best fitness) {
	at = -1
	for i := max(0, len(list)-maxCompared); i < len(list); i++ {
		f := fitness{rank: list[i].highest(rank)}
		f.usable = f.rank > 0
		if q != nil {
			most := math.MaxInt
			if at >= 0 && best.usable {
				most = best.cost + 1
			}
			f.cost = list[i].cost(q, most)
		}
		if at < 0 || !best.above(f) {
			at, best = i, f
		}
	}
	return at, best
}

// takeOut takes the process at index at out of list; nil if that is -1.
func takeOut[S Seat](list *[]*Process[S], at int) *Process[S] {
	if at < 0 {
		return nil
	}
	proc := (*list)[at]
	*list = slices.Delete(*list, at, at+1)
	return proc
}
