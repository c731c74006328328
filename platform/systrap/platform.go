package systrap

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/pool"

	"golang.org/x/sys/unix"
)

// maxRunning bounds the contexts that hold a thread of a blank process at a time.
const maxRunning = 64

// Platform runs guest code by seccomp's traps.
type Platform struct {
	pool  *pool.Pool[*seat]
	pairs *pairs.Set
	turns *pairs.Turns[pairs.Split] // at being apart

	patches *patch.Store // nil: no calls are patched
	cpuid   cpuid
	areasFD int
	areas   []byte // all of areasFD

	ids   atomic.Uint64
	begun time.Time

	areaMu    sync.Mutex
	usedAreas int   // those below have been used, of which
	freeAreas []int // are not any more
}

// New forks the template of the blank processes and tries one of them. It is to
// be called once the process has its final user and group, and before it gives up
// system calls other than those of Syscalls. Its processes die with the thread that calls it:
// the goroutine must not end locked to a thread. With patching set, calls that are made often are patched.
func New(patching bool) (*Platform, error) {
	p, err := newPlatform(pool.MaxProcesses, maxRunning, patching, trapsWanted())
	if err != nil {
		return nil, fmt.Errorf("systrap: %w", err)
	}
	return p, nil
}

// newPlatform is New with bounds on processes and on contexts that run, and with the place of breakpoints for CPUID, 0 for none.
func newPlatform(limit, running int, patching bool, traps uint64) (*Platform, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := supported(); err != nil {
		return nil, err
	}
	pages, entry, call, err := image()
	if err != nil {
		return nil, err
	}
	p := &Platform{begun: time.Now()}
	if p.pairs, err = pairs.New(running); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	p.turns = pairs.NewTurns(p.pairs.CPUs()/2, pairs.AnySplit())
	if err := p.makeAreas(); err != nil {
		return nil, err
	}
	if patching {
		code := func(t patch.Trampoline) []byte { return trampoline(t, call) }
		if p.patches, err = patch.NewStore(patch.Config{At: trampolinesAt, Code: code, TrapsAt: traps}); err != nil {
			p.closeFiles()
			return nil, err
		}
	}
	factory, err := blank.NewFactory(blank.Config{
		Limit: 2 * limit, High: userHigh,
		Code: pages, CodeAt: codeAt, Entry: entry, Handler: codeAt, Signals: entrySignals(),
	})
	if err == nil {
		p.pool, err = pool.New(pool.Config[*seat]{
			Factory: factory, Pairs: p.pairs, Limit: limit, High: userHigh,
			Spawn: p.spawn, Halt: halt, Rouse: rouse, Clean: clean, End: (*seat).end,
		}, nil)
	}
	if err != nil {
		p.closeFiles()
		return nil, err
	}
	return p, nil
}

// supported says what the host's processor lacks.
func supported() error {
	if arch.HWCap2()&2 == 0 {
		return fmt.Errorf("the processor or the host's kernel lacks FSGSBASE: %w", unix.ENOTSUP)
	}
	if arch.FPUSize() > answersAt-fpuOffset || arch.FPUSize() > frameRoom-frameMargin {
		return fmt.Errorf("extended state of %d bytes: %w", arch.FPUSize(), unix.ENOTSUP)
	}
	return nil
}

// makeAreas makes the file of areas and maps it.
func (p *Platform) makeAreas() (err error) {
	if p.areasFD, err = unix.MemfdCreate("sentry-threads", unix.MFD_CLOEXEC); err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	const size = maxSeats * areaSize
	if err = unix.Ftruncate(p.areasFD, size); err == nil {
		p.areas, err = unix.Mmap(p.areasFD, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(p.areasFD)
		return fmt.Errorf("memory for threads: %w", err)
	}
	return nil
}

// NewAddressSpace implements platform.Platform.
func (p *Platform) NewAddressSpace(parent platform.AddressSpace) (platform.AddressSpace, error) {
	as := &addressSpace{p: p}
	as.Space = p.pool.NewSpace()
	as.text = patch.NewText(p.patches, as.Queue())
	as.Watch(as.text)
	if parent == nil {
		as.text.CatchCPUID()
	}
	return as, nil
}

// NewContext implements platform.Platform.
func (p *Platform) NewContext(fpu []byte) platform.Context {
	c := &context{p: p, id: p.ids.Add(1), dirty: true}
	if fpu == nil {
		c.fpu = arch.NewFPU()
	} else {
		c.fpu = append(make([]byte, 0, len(fpu)), fpu...)
	}
	return c
}

// UserRange implements platform.Platform.
func (p *Platform) UserRange() (lo, hi uint64) { return blank.Low, userHigh }

var _ platform.Demander = (*Platform)(nil)

// OnDemand implements platform.Demander.
func (p *Platform) OnDemand(f func(several bool)) { p.pairs.OnDemand(f) }

// Release implements platform.Platform. Contexts that still run get *platform.Died.
func (p *Platform) Release() {
	p.pool.Release()
	p.closeFiles()
}

// closeFiles closes what the platform has open itself.
func (p *Platform) closeFiles() {
	unix.Close(p.areasFD)
	if p.patches != nil {
		p.patches.Release()
	}
}

// takeArea returns the index of a free area.
func (p *Platform) takeArea() (int, error) {
	p.areaMu.Lock()
	defer p.areaMu.Unlock()
	if n := len(p.freeAreas); n > 0 {
		i := p.freeAreas[n-1]
		p.freeAreas = p.freeAreas[:n-1]
		return i, nil
	}
	if p.usedAreas == maxSeats {
		return 0, unix.EAGAIN
	}
	p.usedAreas++
	return p.usedAreas - 1, nil
}

// freeArea takes an area back.
func (p *Platform) freeArea(i int) {
	p.areaMu.Lock()
	defer p.areaMu.Unlock()
	p.freeAreas = append(p.freeAreas, i)
}
