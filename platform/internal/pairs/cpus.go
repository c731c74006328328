package pairs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// AnyCPU is the place of a thread that is not pinned.
const AnyCPU = -1

// cpus knows the processors that may be used and how many pairs of OS thread and tracee
// are busy on each.
type cpus struct {
	all   unix.CPUSet
	masks []unix.CPUSet // one for each processor, indexed by its number; empty where not allowed
	load  []atomic.Int32
	list  []int // processors allowed
}

// allowed are the processors that the process may use. It is asked for once, when no thread of the process is pinned yet.
var allowed = sync.OnceValues(func() (all unix.CPUSet, err error) {
	err = unix.SchedGetaffinity(0, &all)
	return all, err
})

func newCPUs() (*cpus, error) {
	all, err := allowed()
	if err != nil {
		return nil, err
	}
	c := &cpus{all: all}
	top := 0
	for i := range 8 * len(c.all) * 8 {
		if c.all.IsSet(i) {
			c.list = append(c.list, i)
			top = i
		}
	}
	c.masks = make([]unix.CPUSet, top+1)
	c.load = make([]atomic.Int32, top+1)
	for _, i := range c.list {
		c.masks[i].Set(i)
	}
	return c, nil
}

// choose returns the processor with the fewest busy pairs, by preference cur.
func (c *cpus) choose(cur int) int {
	best := cur
	if cur < 0 || cur >= len(c.load) || !c.all.IsSet(cur) {
		best = c.list[0]
	}
	least := c.load[best].Load()
	for i := 0; least > 0 && i < len(c.list); i++ {
		if n := c.load[c.list[i]].Load(); n < least {
			best, least = c.list[i], n
		}
	}
	return best
}

// other returns the processor with the fewest busy pairs besides cpu, AnyCPU if there is none.
func (c *cpus) other(cpu int) int {
	best := AnyCPU
	for _, i := range c.list {
		if i != cpu && (best == AnyCPU || c.load[i].Load() < c.load[best].Load()) {
			best = i
		}
	}
	return best
}

// mask is what a thread placed at cpu is allowed.
func (c *cpus) mask(cpu int) *unix.CPUSet {
	if cpu == AnyCPU {
		return &c.all
	}
	return &c.masks[cpu]
}

// crowded tells whether a pair at cpu would be better off elsewhere.
func (c *cpus) crowded(cpu int) bool {
	n := c.load[cpu].Load()
	for _, i := range c.list {
		if c.load[i].Load()+2 <= n {
			return true
		}
	}
	return false
}
