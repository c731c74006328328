package ipc

import (
	"fmt"
	"sync"

	"gosentry/mm"
	"gosentry/platform"
	rlimits "gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// SharedMemory are the shared memory segments of a namespace.
type SharedMemory struct {
	config *Config
	limits *limits

	// mu guards the registry and all segments.
	mu       sync.Mutex
	segments registry[*Segment]
	pages    uint64 // of all segments
}

// Bits of a segment's mode beyond permissions.
const (
	shmDest   = 0o1000
	shmLocked = 0o2000
)

// Segment is a shared memory segment. It implements mm.Mappable.
type Segment struct {
	mm.SharedMemory
	of   *SharedMemory
	size uint64 // as asked for
	name string

	// Guarded by SharedMemory.mu.
	Perm
	atime, dtime, ctime int64
	creator, last       Process
	attached            map[*mm.MemoryManager]edges
	attaches            int
	destroyed           bool
}

// edges are where the pieces of an address space that map a segment begin (above zero) and end (below), how many each. Two
// that meet at an edge and go on in the segment are one. Pieces may lie above each other: what was mapped over is taken away
// after the new is there, and a call on memory holds its part a second time.
type edges map[edge]int

// edge is an address, and the offset in the segment less the address there.
type edge struct{ addr, delta uint64 }

// add changes the number at an edge by n, and returns by how many more pieces begin there.
func (e edges) add(at edge, n int) int {
	old := e[at]
	if e[at] = old + n; e[at] == 0 {
		delete(e, at)
	}
	return max(old+n, 0) - max(old, 0)
}

func (s *Segment) perm() *Perm { return &s.Perm }

// ShmHugeTLB is SHM_HUGETLB of shmget(2).
const ShmHugeTLB = 0o4000

// Get is shmget(2) for a segment of size bytes; it returns the id. There are no huge pages: ENOMEM.
func (s *SharedMemory) Get(c Caller, g Get, size uint64) (int32, error) {
	l := s.limits.get()
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := func(o *Segment) error {
		if size > o.size {
			return unix.EINVAL
		}
		return nil
	}
	o, err := s.segments.get(g, &c, s.config.Owner, fits, func(p Perm) (*Segment, error) {
		return s.newSegment(p, &c, g, size, l)
	}, l.ShmMNI)
	if err != nil {
		return 0, err
	}
	return o.ID, nil
}

func (s *SharedMemory) newSegment(p Perm, c *Caller, g Get, size uint64, l Limits) (*Segment, error) {
	pages := pagesOf(size)
	switch {
	case size == 0 || size > l.ShmMax:
		return nil, unix.EINVAL
	case s.pages+pages < s.pages || s.pages+pages > l.ShmAll:
		return nil, unix.ENOSPC
	case g.Flags&ShmHugeTLB != 0 && !c.Creds.HasGlobal(unix.CAP_IPC_LOCK):
		return nil, unix.EPERM
	case pages > s.config.Memory.Limit()/mm.PageSize || g.Flags&ShmHugeTLB != 0:
		return nil, unix.ENOMEM
	}
	if err := s.config.Budget.Take(objectCost); err != nil {
		return nil, err
	}
	s.pages += pages
	return &Segment{
		SharedMemory: mm.NewHeldMemory(s.config.Memory, size), of: s, size: size,
		name: fmt.Sprintf("/SYSV%08x (deleted)", uint32(p.Key)), Perm: p, ctime: s.config.Now(), creator: c.Process,
		attached: make(map[*mm.MemoryManager]edges),
	}, nil
}

func pagesOf(size uint64) uint64 {
	return size/mm.PageSize + (size%mm.PageSize+mm.PageSize-1)/mm.PageSize
}

// removeLocked takes a segment out of sight; its memory goes with the last attach.
func (s *SharedMemory) removeLocked(o *Segment) {
	s.segments.hide(o)
	o.Mode |= shmDest
	s.destroyUnusedLocked(o)
}

func (s *SharedMemory) destroyUnusedLocked(o *Segment) {
	if o.attaches > 0 || o.destroyed || o.Mode&shmDest == 0 && s.limits.get().ShmRmidForced == 0 {
		return
	}
	o.destroyed = true
	s.segments.remove(o)
	s.pages -= pagesOf(o.size)
	s.config.Budget.Give(objectCost)
	o.Release()
}

// removeUnused destroys what nothing is attached to, for shm_rmid_forced.
func (s *SharedMemory) removeUnused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.segments.slots.Values() {
		s.destroyUnusedLocked(o)
	}
}

func (s *SharedMemory) removeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.segments.slots.Values() {
		s.removeLocked(o)
	}
}

// Attach is what shmat(2) asks for.
type Attach struct {
	Addr     mm.Addr // 0: anywhere
	ReadOnly bool
	Exec     bool
	Replace  bool // SHM_REMAP
	Limits   *rlimits.Set
}

// Attach is shmat(2) into m; Addr is aligned to pages.
func (s *SharedMemory) Attach(c Caller, m *mm.MemoryManager, id int32, a Attach) (mm.Addr, error) {
	want, prot := uint32(mayRead), platform.Prot(platform.Read)
	if !a.ReadOnly {
		want, prot = want|mayWrite, prot|platform.Write
	}
	if a.Exec {
		want, prot = want|mayExec, prot|platform.Exec
	}
	s.mu.Lock()
	o, err := s.segments.find(id)
	if err == nil {
		err = o.check(&c, s.config.Owner, want)
	}
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	opts := mm.MMapOpts{
		Addr: a.Addr, Length: o.size, Prot: prot, File: o,
		Fixed: a.Addr != 0, NoReplace: a.Addr != 0 && !a.Replace,
		MaxProt: platform.Read | platform.Write | platform.Exec,
		Limits:  a.Limits,
	}
	if a.ReadOnly {
		opts.MaxProt &^= platform.Write
	}
	addr, err := m.MMap(opts)
	if err == unix.EEXIST {
		err = unix.EINVAL
	}
	return addr, err
}

// Detach is shmdt(2).
func Detach(m *mm.MemoryManager, addr mm.Addr) error {
	return m.Detach(addr, func(f mm.Mappable) bool {
		_, ok := f.(*Segment)
		return ok
	})
}

// AddMapping implements mm.Mappable: EIDRM when the segment has gone meanwhile.
func (s *Segment) AddMapping(m *mm.MemoryManager, ar mm.Range, off uint64, writable bool) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.destroyed {
		return unix.EIDRM
	}
	if more := s.countLocked(m, ar, off, 1); more <= 0 {
		s.of.config.Budget.Give(-more * attachCost)
	} else if err := s.of.config.Budget.Take(more * attachCost); err != nil {
		s.countLocked(m, ar, off, -1)
		return err
	}
	s.last, s.atime = m.Owner(), s.of.config.Now()
	return s.SharedMemory.AddMapping(m, ar, off, writable)
}

// countLocked counts n more of a piece, and returns how many more pieces that makes.
func (s *Segment) countLocked(m *mm.MemoryManager, ar mm.Range, off uint64, n int) int {
	e := s.attached[m]
	if e == nil {
		e = make(edges)
		s.attached[m] = e
	}
	start, end := uint64(ar.Start), uint64(ar.End)
	more := e.add(edge{start, off - start}, n) + e.add(edge{end, off - start}, -n)
	if len(e) == 0 {
		delete(s.attached, m)
	}
	s.attaches += more
	return more
}

// RemoveMapping implements mm.Mappable.
func (s *Segment) RemoveMapping(m *mm.MemoryManager, ar mm.Range, off uint64, writable bool) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.SharedMemory.RemoveMapping(m, ar, off, writable)
	// A piece that is cut in two is charged without asking: it is bounded by the mappings.
	s.of.config.Budget.Give(-s.countLocked(m, ar, off, -1) * attachCost)
	s.last, s.dtime = m.Owner(), s.of.config.Now()
	s.of.destroyUnusedLocked(s)
}

// MappedName implements mm.Mappable: the inode number is the id.
func (s *Segment) MappedName() (string, uint32, uint32, uint64) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.name, 0, 1, uint64(s.ID)
}
