package systrap

import (
	"sync"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

const (
	// dear is what CPUID has to take for a breakpoint in its place to be cheaper: where the host is a virtual machine in another one it takes 7 µs and
	// more, and a program of the C library begins with some 70 of them.
	dear = 4 * time.Microsecond
	// maxResults bounds what is kept of CPUID's results.
	maxResults = 1024
)

// trapsWanted is where an address space has the page of breakpoints that stand for CPUID, 0 if there are to be none: where the host's CPUID is not dear,
// and where processors differ.
func trapsWanted() uint64 {
	for range 3 {
		start := time.Now()
		arch.CPUID(0, 0)
		if time.Since(start) < dear {
			return 0
		}
	}
	if arch.Hybrid() {
		return 0
	}
	return trapsAt
}

// cpuid is what CPUID leaves on each processor, for what guests have asked.
type cpuid struct {
	mu      sync.RWMutex
	results map[cpuidKey][4]uint32
}

type cpuidKey struct {
	cpu       int
	leaf, sub uint32
}

// result executes CPUID, or knows what that would leave.
func (c *cpuid) result(leaf, sub uint32) [4]uint32 {
	key := cpuidKey{arch.CPU(), leaf, sub}
	c.mu.RLock()
	r, known := c.results[key]
	c.mu.RUnlock()
	if known {
		return r
	}
	r = arch.CPUID(leaf, sub)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.results == nil {
		c.results = make(map[cpuidKey][4]uint32)
	}
	if len(c.results) < maxResults && arch.CPU() == key.cpu {
		c.results[key] = r
	}
	return r
}

// answerCPUID does what CPUID does if ev is the breakpoint in its place. cuts is what Text.Replaced wants of the thread.
func (as *addressSpace) answerCPUID(cuts *uint64, ev platform.Event, regs *arch.Registers) bool {
	if ev.Kind != platform.Fault || ev.Signal != unix.SIGTRAP || ev.Code != siKernel {
		return false
	}
	as.Lock()
	defer as.Unlock()
	if as.text.Replaced(regs.Rip-1, cuts) {
		regs.Rip--
		return true
	}
	if !as.text.Trapped(regs.Rip - 1) {
		return false
	}
	if stepping(regs) && as.text.Patched() {
		regs.Rip-- // all patches are about to be undone, and CPUID itself is stepped over
		return true
	}
	leaf, sub := uint32(regs.Rax), uint32(regs.Rcx)
	r := as.p.cpuid.result(leaf, sub)
	if !as.p.cpuid.ofProcessor(leaf) {
		as.text.Leaves(leaf, sub, r)
	}
	regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = uint64(r[0]), uint64(r[1]), uint64(r[2]), uint64(r[3])
	regs.Rip++
	return true
}

// ofProcessor tells whether a leaf of CPUID says something of the very processor that executes it, or what is the hypervisor's to say, or may: one that there is not
// leaves what the last one does that there is. The others are the same for all
// processors, so guest threads may find them for themselves (Intel's Software Developer's Manual, volume 2A, CPUID; AMD's, volume 3, appendix E).
func (c *cpuid) ofProcessor(leaf uint32) bool {
	const extended = 1 << 31
	switch leaf {
	case 1, 0xb, 0x1f, 0x8000001e, 0x80000026:
		return true
	}
	return leaf > c.result(leaf&extended, 0)[0]
}

// tellTraps tells the handler whether the page of breakpoints is mapped.
func (s *seat) tellTraps(as *addressSpace) {
	mapped := as.text.TrapsMapped()
	if s.trapped == mapped {
		return
	}
	as.Lock()
	defer as.Unlock()
	if mapped && as.Queue().Len() > 0 {
		return // it may be about to be
	}
	s.trapped = mapped
	var told uint64
	if mapped {
		told = 1
	}
	s.answers.Spare().Store(told)
}
