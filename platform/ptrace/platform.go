package ptrace

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// maxXState is more than any host's extended state has, in bytes.
const maxXState = 1 << 16

// maxRunning bounds the contexts that are locked to OS threads at a time.
const maxRunning = 64

// Platform runs guest code by ptrace.
type Platform struct {
	factory *blank.Factory
	pairs   *pairs.Set
	limit   int // of processes
	xstate  int // bytes of the host's extended state

	dying atomic.Int32 // processes that are being killed
	ids   atomic.Uint64
	uses  atomic.Uint64

	mu       sync.Mutex
	procs    map[*process]*addressSpace // nil for those in store or retired
	spares   []*process                 // empty
	retired  []*process                 // to be emptied
	making   int                        // processes that are being made
	working  bool                       // keepStore runs
	released bool
}

// New forks the template of the blank processes and tries one of them. It is to
// be called once the process has its final user and group, and before it gives up
// system calls other than those of Syscalls. Its processes die with the thread that calls it:
// the goroutine must not end locked to a thread.
func New() (*Platform, error) {
	return newPlatform(maxProcesses, maxRunning)
}

func newPlatform(limit, running int) (*Platform, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := &Platform{
		limit: limit,
		procs: make(map[*process]*addressSpace),
	}
	var err error
	if p.pairs, err = pairs.New(running); err != nil {
		return nil, fmt.Errorf("ptrace: sched_getaffinity: %w", err)
	}
	if err = noChildStops(); err != nil {
		return nil, fmt.Errorf("ptrace: sigaction: %w", err)
	}
	if p.factory, err = blank.NewFactory(blank.Config{Limit: 2 * limit}); err != nil {
		return nil, fmt.Errorf("ptrace: %w", err)
	}
	if err = p.try(); err != nil {
		p.Release()
		return nil, fmt.Errorf("ptrace: %w", err)
	}
	return p, nil
}

// try makes the first spare process and attaches to a thread of it.
func (p *Platform) try() error {
	p.mu.Lock()
	proc, err := p.make(nil)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	tr := p.tracer(p.pairs.Thread())
	t, err := proc.seat(tr)
	if err != nil {
		return fmt.Errorf("attaching to a blank process: %w", err)
	}
	n, errno := getXState(t.TID, make([]byte, maxXState))
	proc.leave(t)
	if errno != 0 {
		return fmt.Errorf("extended state: %w", errno)
	}
	if n < arch.FPUSize() {
		return fmt.Errorf("extended state has %d bytes, expected %d", n, arch.FPUSize())
	}
	p.xstate = n
	tr.scratch = make([]byte, n)
	p.mu.Lock()
	p.spares = append(p.spares, proc)
	p.mu.Unlock()
	return nil
}

// tracer is an OS thread that traces, and what the context that is locked to it uses.
type tracer struct {
	*pairs.Thread
	regs    unix.PtraceRegs
	scratch []byte // extended state in the host's full length
}

// tracer returns the tracer that is t, the calling OS thread.
func (p *Platform) tracer(t *pairs.Thread) *tracer {
	tr, ok := t.Local.(*tracer)
	if !ok {
		tr = &tracer{Thread: t, scratch: make([]byte, p.xstate)}
		t.Local = tr
	}
	return tr
}

// NewAddressSpace implements platform.Platform.
func (p *Platform) NewAddressSpace(parent platform.AddressSpace) (platform.AddressSpace, error) {
	as := &addressSpace{p: p}
	as.left.L = &as.mu
	return as, nil
}

// NewContext implements platform.Platform.
func (p *Platform) NewContext(fpu []byte) platform.Context {
	c := &context{p: p, id: p.ids.Add(1)}
	if fpu == nil {
		c.fpu = arch.NewFPU()
	} else {
		c.fpu = append(make([]byte, 0, len(fpu)), fpu...)
	}
	return c
}

// UserRange implements platform.Platform.
func (p *Platform) UserRange() (lo, hi uint64) { return blank.Low, blank.High }

// Release implements platform.Platform. Contexts that still run get *platform.Died.
func (p *Platform) Release() {
	p.mu.Lock()
	p.released = true
	var all []*process
	for proc := range p.procs {
		all = append(all, proc)
	}
	clear(p.procs)
	p.spares, p.retired = nil, nil
	p.mu.Unlock()
	p.factory.Release()
	for _, proc := range all {
		proc.doom()
	}
}
