package ptrace

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// maxXState is more than any host's extended state has, in bytes.
const maxXState = 1 << 16

// maxRunning bounds the contexts that are locked to OS threads at a time.
const maxRunning = 64

// Platform runs guest code by ptrace.
type Platform struct {
	pairs  *pairs.Set
	pool   *pool.Pool[*tracee]
	xstate int // bytes of the host's extended state
	ids    atomic.Uint64
}

// New forks the template of the blank processes and tries one of them. It is to
// be called once the process has its final user and group, and before it gives up
// system calls other than those of Syscalls. Its processes die with the thread that calls it:
// the goroutine must not end locked to a thread.
func New() (*Platform, error) {
	return newPlatform(pool.MaxProcesses, maxRunning)
}

func newPlatform(limit, running int) (*Platform, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := &Platform{}
	var err error
	if p.pairs, err = pairs.New(running); err != nil {
		return nil, fmt.Errorf("ptrace: sched_getaffinity: %w", err)
	}
	factory, err := blank.NewFactory(blank.Config{Limit: 2 * limit})
	if err == nil {
		p.pool, err = pool.New(pool.Config[*tracee]{
			Factory: factory, Pairs: p.pairs, Limit: limit, High: blank.High, Spawn: spawn, Clean: clean,
			Alike: func(a, b *tracee) bool { return a.owner == b.owner },
		}, p.try)
	}
	if err != nil {
		return nil, fmt.Errorf("ptrace: %w", err)
	}
	return p, nil
}

// try attaches to t, a thread of the first process.
func (p *Platform) try(_ *process, t *tracee) error {
	tr := p.tracer(p.pairs.Thread())
	if err := t.attach(tr); err != nil {
		return fmt.Errorf("attaching to a blank process: %w", err)
	}
	n, errno := getXState(t.TID, make([]byte, maxXState))
	if errno != 0 {
		return fmt.Errorf("extended state: %w", errno)
	}
	if n < arch.FPUSize() {
		return fmt.Errorf("extended state has %d bytes, expected %d", n, arch.FPUSize())
	}
	p.xstate = n
	tr.scratch = make([]byte, n)
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
	return p.pool.NewSpace(), nil
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

var _ platform.Demander = (*Platform)(nil)

// OnDemand implements platform.Demander.
func (p *Platform) OnDemand(f func(several bool)) { p.pairs.OnDemand(f) }

// Release implements platform.Platform. Contexts that still run get *platform.Died.
func (p *Platform) Release() { p.pool.Release() }
