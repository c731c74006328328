package pairs

import "golang.org/x/sys/unix"

// Apart keeps the two threads of a pair that both stay awake on different processors.
type Apart struct {
	all unix.CPUSet
}

// NewApart returns what parts threads among the processors that the process may use.
func NewApart() (*Apart, error) {
	all, err := allowed()
	if err != nil {
		return nil, err
	}
	return &Apart{all: all}, nil
}

// CPUs is how many processors there are.
func (a *Apart) CPUs() int { return a.all.Count() }

// Part keeps the calling thread on a processor, AnyCPU for the one it is on, and thread tid away from that. It returns the processor, AnyCPU where
// there is no other one: nothing is done then.
func (a *Apart) Part(tid, cpu int) int {
	if cpu == AnyCPU {
		cpu = currentCPU()
	}
	others := a.all
	others.Clear(cpu)
	if others.Count() == 0 || setAffinity(tid, &others) != 0 {
		return AnyCPU
	}
	var here unix.CPUSet
	here.Set(cpu)
	setAffinity(0, &here)
	return cpu
}

// Join lets the calling thread run anywhere again.
func (a *Apart) Join() { setAffinity(0, &a.all) }
