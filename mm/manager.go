package mm

import (
	"sync"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// MemoryManager is one guest address space, shared by the tasks that hold it as
// users. It is safe for concurrent use.
type MemoryManager struct {
	platform platform.Platform
	file     *MemoryFile
	payer    atomic.Pointer[MemoryFile] // the same file, or a part of it, that new memory is charged to
	lo, hi   uint64                     // what the guest may use: the platform's UserRange

	users atomic.Int64
	// space is as for readers without the lock.
	space atomic.Pointer[spaceBox]
	owner atomic.Pointer[any]

	starved atomic.Bool // see Starved

	mappingMu  sync.RWMutex
	counted    int64 // vmas and guards, by countVMAs
	vmas       vmaSet
	guards     segset[guard] // within vmas
	usage      usage
	peak       uint64 // of usage.total
	layout     Layout
	brk        uint64 // end of the heap, exact
	searched   searched
	limits     *limits.Set
	lockFuture vmaFlags // mlockall(MCL_FUTURE): flags of new mappings

	activeMu sync.RWMutex
	pmas     segset[pma]
	as       platform.AddressSpace
	drops    uint64 // as of the last look, if as counts them
	kept     *kept  // by as, for goBack; nil: nothing
	changes  []platform.Change
	dropped  []memRange
	suspects suspects
	hot      hotSet
	peakRSS  uint64

	// hostIO guards what files hold for mappings; see the package's doc.
	hostIO sync.RWMutex
	// direct is held shared while memory is written to where it lies in the memory file, and exclusively by Fork: what is being
	// written must not become shared, as the one who has it then may get a copy without what is still to come.
	direct sync.RWMutex
}

type spaceBox struct{ as platform.AddressSpace }

// New returns an empty address space with one user.
func New(p platform.Platform, f *MemoryFile) (*MemoryManager, error) {
	as, err := p.NewAddressSpace(nil)
	if err != nil {
		return nil, err
	}
	m := newManager(p, f, as)
	m.layout = m.NewLayout(8<<20, true)
	return m, nil
}

func newManager(p platform.Platform, f *MemoryFile, as platform.AddressSpace) *MemoryManager {
	m := &MemoryManager{platform: p, file: f, as: as}
	m.payer.Store(f)
	m.lo, m.hi = p.UserRange()
	m.space.Store(&spaceBox{as})
	m.users.Store(1)
	return m
}

// MemoryFile is where the memory comes from.
func (m *MemoryManager) MemoryFile() *MemoryFile { return m.file }

// SetPayer says which part of the memory file new memory is charged to. What there is stays charged as it is.
func (m *MemoryManager) SetPayer(f *MemoryFile) { m.payer.Store(f) }

// AddressSpace is what to give to the platform's Run.
func (m *MemoryManager) AddressSpace() platform.AddressSpace { return m.space.Load().as }

// SetLimits says whose resource limits count; nil means none. RLIMIT_AS, DATA, STACK and
// MEMLOCK are read when they are needed.
func (m *MemoryManager) SetLimits(l *limits.Set) {
	m.mappingMu.Lock()
	m.limits = l
	m.mappingMu.Unlock()
}

// limit is the soft limit of r, from l if that is not nil.
func (m *MemoryManager) limit(l *limits.Set, r limits.Resource) uint64 {
	if l == nil {
		l = m.limits
	}
	if l == nil {
		return limits.Infinity
	}
	return l.Soft(r)
}

// IncUsers adds a user. It returns false when there is none left: the address
// space is gone.
func (m *MemoryManager) IncUsers() bool {
	for {
		n := m.users.Load()
		if n <= 0 {
			return false
		}
		if m.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Users is the number of users.
func (m *MemoryManager) Users() int { return int(m.users.Load()) }

// DecUsers drops a user. With the last one everything is unmapped, and the
// AddressSpace is released: no Run may use it any more.
func (m *MemoryManager) DecUsers() {
	switch n := m.users.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("mm: user dropped from an address space without users")
	}
	m.mappingMu.Lock()
	m.activeMu.Lock()
	as := m.as
	m.as = nil // no changes: it is released whole
	m.space.Store(&spaceBox{deadSpace{}})
	as.Release()
	m.dropPMAs(0, ^uint64(0))
	_ = m.apply()
	m.kept = nil // an open file of /proc may have m for long
	vmas := m.vmas
	m.vmas.clear()
	m.guards.clear()
	m.countVMAs()
	m.usage = usage{}
	m.activeMu.Unlock()
	m.mappingMu.Unlock()
	var w withdrawals
	vmas.each(0, ^uint64(0), func(s, e uint64, a *attrs) bool {
		w.add(s, e, a)
		return true
	})
	m.withdraw(w)
}

// deadSpace stands for a released AddressSpace.
type deadSpace struct{}

func (deadSpace) Apply([]platform.Change) error { return unix.ESRCH }
func (deadSpace) Release()                      {}

// withdrawals are mappings to be withdrawn from their files once no lock is held.
type withdrawals []withdrawal

type withdrawal struct {
	start, end uint64
	a          *attrs
}

func (w *withdrawals) add(start, end uint64, a *attrs) {
	if a.file != nil {
		*w = append(*w, withdrawal{start, end, a})
	}
}

// withdraw tells the files. No lock is held: it waits for I/O on them to end.
func (m *MemoryManager) withdraw(w withdrawals) {
	if len(w) == 0 {
		return
	}
	m.hostIO.Lock()
	defer m.hostIO.Unlock()
	for _, x := range w {
		x.a.file.RemoveMapping(m, Range{Addr(x.start), Addr(x.end)}, x.start+x.a.delta, x.a.mayWriteFile())
	}
}
