// Package limits holds the resource limits of a process, as of getrlimit(2).
//
// A Set belongs to one thread group. Its table is immutable and shared between
// sets: Fork copies a pointer, a change replaces the table of the set it is
// made on. So reads take no lock and a fork costs nothing. Who enforces a limit
// reads it at the moment it counts.
package limits

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Infinity stands for no limit (RLIM_INFINITY).
const Infinity = ^uint64(0)

// Resource is the number of a limit (unix.RLIMIT_*), 0 to Count-1.
type Resource int

// Resources, with Linux's numbers for amd64 and their units.
const (
	CPU        Resource = 0  // seconds
	FileSize   Resource = 1  // bytes
	Data       Resource = 2  // bytes
	Stack      Resource = 3  // bytes
	Core       Resource = 4  // bytes
	RSS        Resource = 5  // bytes
	NProc      Resource = 6  // processes and threads of a user
	NoFile     Resource = 7  // highest descriptor + 1
	MemLock    Resource = 8  // bytes
	AS         Resource = 9  // bytes
	Locks      Resource = 10 // file locks
	SigPending Resource = 11 // queued signals of a user
	MsgQueue   Resource = 12 // bytes
	Nice       Resource = 13 // 20 - nice
	RTPrio     Resource = 14 // priority
	RTTime     Resource = 15 // microseconds

	// Count is the number of resources.
	Count = 16
)

// Limit is one limit: Soft counts, up to Hard it may be raised freely.
type Limit struct{ Soft, Hard uint64 }

// Table is all limits of a process.
type Table [Count]Limit

// Values of Defaults that depend on nothing else.
const (
	defaultStack    = 8 << 20
	defaultMemLock  = 8 << 20
	defaultMsgQueue = 819200
	// MaxNoFile is what bounds RLIMIT_NOFILE unless fs.nr_open is changed.
	MaxNoFile = 1 << 20
)

// Defaults returns the limits of a first process. processes bounds both
// processes and queued signals of a user.
func Defaults(processes uint64) Table {
	var t Table
	for r := range t {
		t[r] = Limit{Infinity, Infinity}
	}
	t[Stack] = Limit{defaultStack, Infinity}
	t[Core] = Limit{0, Infinity}
	t[NProc] = Limit{processes, processes}
	t[SigPending] = Limit{processes, processes}
	t[NoFile] = Limit{1024, MaxNoFile}
	t[MemLock] = Limit{defaultMemLock, defaultMemLock}
	t[MsgQueue] = Limit{defaultMsgQueue, defaultMsgQueue}
	t[Nice] = Limit{0, 0}
	t[RTPrio] = Limit{0, 0}
	return t
}

// Set is the limits of one thread group; it is safe for concurrent use.
type Set struct {
	table atomic.Pointer[Table]
}

// New returns a set with the limits of t.
func New(t Table) *Set {
	s := new(Set)
	s.table.Store(&t)
	return s
}

// Fork returns a set with the same limits, independent from then on.
func (s *Set) Fork() *Set {
	f := new(Set)
	f.table.Store(s.table.Load())
	return f
}

// Get returns the limit of r, which must be a valid resource.
func (s *Set) Get(r Resource) Limit { return s.table.Load()[r] }

// Soft returns the soft limit of r, the one that counts.
func (s *Set) Soft(r Resource) uint64 { return s.table.Load()[r].Soft }

// Exceeds tells whether value is over the soft limit of r.
func (s *Set) Exceeds(r Resource, value uint64) bool { return value > s.Soft(r) }

// Table returns all limits as they are now.
func (s *Set) Table() Table { return *s.table.Load() }

// Set makes l the limit of r and returns the old one. EINVAL for an unknown
// resource or a soft limit over the hard one; EPERM when the hard limit would
// rise and privileged (CAP_SYS_RESOURCE) is not given.
func (s *Set) Set(r Resource, l Limit, privileged bool) (old Limit, err error) {
	if !r.Valid() || l.Soft > l.Hard {
		return Limit{}, unix.EINVAL
	}
	for {
		t := s.table.Load()
		old = t[r]
		if l.Hard > old.Hard && !privileged {
			return Limit{}, unix.EPERM
		}
		changed := *t
		changed[r] = l
		if s.table.CompareAndSwap(t, &changed) {
			return old, nil
		}
	}
}

// CompareAndSet makes l the limit of r if it still is old, and tells whether it was.
func (s *Set) CompareAndSet(r Resource, old, l Limit) bool {
	for {
		t := s.table.Load()
		if t[r] != old {
			return false
		}
		changed := *t
		changed[r] = l
		if s.table.CompareAndSwap(t, &changed) {
			return true
		}
	}
}

// Valid tells whether r is the number of a resource.
func (r Resource) Valid() bool { return r >= 0 && r < Count }

// Description returns the name and unit of r as /proc/PID/limits has them; the
// unit is empty where there is none.
func (r Resource) Description() (name, unit string) {
	return descriptions[r].name, descriptions[r].unit
}

var descriptions = [Count]struct{ name, unit string }{
	CPU:        {"Max cpu time", "seconds"},
	FileSize:   {"Max file size", "bytes"},
	Data:       {"Max data size", "bytes"},
	Stack:      {"Max stack size", "bytes"},
	Core:       {"Max core file size", "bytes"},
	RSS:        {"Max resident set", "bytes"},
	NProc:      {"Max processes", "processes"},
	NoFile:     {"Max open files", "files"},
	MemLock:    {"Max locked memory", "bytes"},
	AS:         {"Max address space", "bytes"},
	Locks:      {"Max file locks", "locks"},
	SigPending: {"Max pending signals", "signals"},
	MsgQueue:   {"Max msgqueue size", "bytes"},
	Nice:       {"Max nice priority", ""},
	RTPrio:     {"Max realtime priority", ""},
	RTTime:     {"Max realtime timeout", "us"},
}
