package kvm

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/pairs"
	"gosentry/platform/internal/patch"
	"gosentry/platform/kvm/kvmapi"
)

const (
	// maxRunning bounds the contexts that hold a processor at a time.
	maxRunning = 64
	// turn is how long a context may compute while others wait for a processor.
	turn = 10 * time.Millisecond
)

// Platform runs guest code in a virtual machine.
type Platform struct {
	*machine
	slots   chan struct{}
	places  *pairs.Turns[int] // at staying awake, with the host's processor where that was; nil: there are none
	apart   *pairs.Apart      // keeps who does off its runner's processor
	patches *patch.Store      // nil: no calls are patched

	waiting  atomic.Int32 // contexts that wait for a slot
	ticking  atomic.Bool
	released atomic.Bool

	mu   sync.Mutex
	all  []*vcpu
	free []*vcpu
	idle []*vcpu // free, with runners

	spacesMu sync.Mutex
	spaces   map[*addressSpace]struct{}
}

// New makes the machine on a descriptor of /dev/kvm, which stays the caller's, and tries it. With patching set, calls that
// are made often are patched, where that saves something.
func New(fd int, patching bool) (*Platform, error) {
	m, err := newMachine(fd)
	if err != nil {
		return nil, fmt.Errorf("kvm: %w", err)
	}
	v, err := m.probe()
	if err != nil {
		m.release()
		return nil, fmt.Errorf("kvm: %w", err)
	}
	p := &Platform{machine: m, all: []*vcpu{v}, free: []*vcpu{v}, spaces: make(map[*addressSpace]struct{})}
	awake := 0
	patching = patching && m.entry == entryRing3 && m.cr4&cr4FSGSBase != 0
	if p.apart, err = pairs.NewApart(); err == nil && (patching || m.ring0) {
		awake = min(p.apart.CPUs(), m.vcpus) / 2
	}
	if err == nil && patching {
		cfg := patch.Config{At: trampolinesAt, Code: trampoline, Data: maxRunning * pageSize, Area: maxRunning * pageSize}
		p.patches, err = patch.NewStore(cfg)
	}
	if err != nil {
		v.kvm.Close()
		m.release()
		return nil, fmt.Errorf("kvm: %w", err)
	}
	if awake > 0 {
		p.places = pairs.NewTurns(awake, pairs.AnyCPU)
	}
	p.slots = make(chan struct{}, m.vcpus-awake)
	return p, nil
}

// Verdict says in words what kind of KVM the probe found.
func (p *Platform) Verdict() string {
	paging := "the processor's own paging"
	if p.mem.shadow {
		paging = "shadow page tables"
	}
	calls := ""
	if p.patches != nil {
		calls = "; calls made often are patched"
	}
	if p.ring0 {
		calls = fmt.Sprintf(", in %v if they leave the machine; what is known is answered there", p.callTime.Round(100*time.Nanosecond))
	}
	if n := p.vcpus - cap(p.slots); n > 0 {
		calls += fmt.Sprintf(", and calls are passed over without an exit for %d at a time", n)
	}
	return fmt.Sprintf("SYSCALL %s%s; %s; %d processors", p.entry, calls, paging, p.vcpus)
}

// Statistics says in words how often processors have left guest code; it is empty where KVM does not count that.
func (p *Platform) Statistics() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := uint64(0)
	for _, v := range p.all {
		s, err := v.kvm.OpenStats()
		if err != nil {
			return ""
		}
		n, ok := s.Exits()
		s.Close()
		if !ok {
			return ""
		}
		sum += n
	}
	return fmt.Sprintf("%d exits", sum)
}

// take returns a free processor, best the one that the calling thread tid used last: KVM takes long to
// move one to another thread on some hosts. The caller has a slot.
func (p *Platform) take(tid int) (*vcpu, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released.Load() {
		return nil, &platform.Died{Reason: "the platform was released"}
	}
	for i, v := range p.free {
		if v.tid.Load() == int32(tid) {
			return p.remove(i, tid), nil
		}
	}
	if p.own() < cap(p.slots) {
		v, err := p.newVCPU(len(p.all))
		if err == nil {
			v.tid.Store(int32(tid))
			p.all = append(p.all, v)
			return v, nil
		}
		if len(p.free) == 0 {
			return nil, err
		}
	}
	return p.remove(0, tid), nil
}

// own is how many processors have no runner. mu is held.
func (p *Platform) own() (n int) {
	for _, v := range p.all {
		if v.runner == nil {
			n++
		}
	}
	return n
}

// queued is how many contexts wait for their turn to be awake.
func (p *Platform) queued() int {
	if p.places == nil {
		return 0
	}
	return p.places.Queued()
}

// takeAwake returns a free processor with a runner. The caller has a place among those that are awake.
func (p *Platform) takeAwake() (*vcpu, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released.Load() {
		return nil, &platform.Died{Reason: "the platform was released"}
	}
	if n := len(p.idle); n > 0 {
		v := p.idle[n-1]
		p.idle = p.idle[:n-1]
		v.yield.Store(false)
		return v, nil
	}
	v, err := p.newVCPU(len(p.all))
	if err != nil {
		return nil, err
	}
	v.runner = newRunner(v)
	p.all = append(p.all, v)
	return v, nil
}

// remove takes a processor out of the free ones. mu is held.
func (p *Platform) remove(i, tid int) *vcpu {
	v := p.free[i]
	p.free = append(p.free[:i], p.free[i+1:]...)
	v.tid.Store(int32(tid))
	v.yield.Store(false)
	return v
}

// put gives a processor back.
func (p *Platform) put(v *vcpu) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.runner != nil {
		p.idle = append(p.idle, v)
		return
	}
	p.free = append(p.free, v)
}

// turns makes contexts that hold processors give them up, as long as others wait.
func (p *Platform) turns() {
	if p.ticking.Swap(true) {
		return
	}
	time.AfterFunc(turn, func() {
		p.ticking.Store(false)
		if p.waiting.Load() == 0 {
			return
		}
		p.mu.Lock()
		for _, v := range p.all {
			v.yield.Store(true)
			v.kick()
		}
		p.mu.Unlock()
		p.turns()
	})
}

// NewAddressSpace implements platform.Platform.
func (p *Platform) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return p.newSpace(), nil
}

// NewContext implements platform.Platform.
func (p *Platform) NewContext(fpu []byte) platform.Context {
	c := &context{p: p}
	c.pass.pace.quick, c.pass.pace.busy = quickCall, busyCall
	if p.ring0 {
		c.pass.pace.quick, c.pass.pace.busy = quickExits*p.callTime, busyExits*p.callTime
	}
	if fpu == nil {
		c.fpu = arch.NewFPU()
	} else {
		c.fpu = append(make([]byte, 0, len(fpu)), fpu...)
	}
	return c
}

// UserRange implements platform.Platform.
func (p *Platform) UserRange() (lo, hi uint64) { return userLow, userHigh }

// limitFPU drops components that the machine's processors do not have.
func (p *Platform) limitFPU(b *[kvmapi.XSaveSize]byte) {
	const features = 512
	le.PutUint64(b[features:], le.Uint64(b[features:])&p.xcr0)
}

// Release implements platform.Platform. Contexts that still run get *platform.Died.
func (p *Platform) Release() {
	p.mu.Lock()
	p.released.Store(true)
	all := p.all
	p.mu.Unlock()
	for _, v := range all {
		if v.runner != nil {
			v.runner.end()
		}
		for v.kick(); v.inGuest.Load(); v.kick() {
			time.Sleep(100 * time.Microsecond)
		}
		v.kvm.Close()
	}
	if p.patches != nil {
		p.patches.Release()
	}
	p.machine.release()
}
