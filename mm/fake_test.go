package mm

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// fakePlatform makes address spaces that are page tables in a map.
type fakePlatform struct {
	mu     sync.Mutex
	spaces []*fakeSpace
	fail   error // NewAddressSpace
	share  bool  // new address spaces are sharingSpaces
	keep   bool  // new address spaces are keepingSpaces
}

const (
	fakeLo = 0x10000
	fakeHi = 0x7fff_ffff_f000 // as the host's
)

func (p *fakePlatform) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, p.fail
	}
	s := &fakeSpace{pages: map[uint64]fakePage{}}
	p.spaces = append(p.spaces, s)
	if p.share {
		return sharingSpace{countingSpace{s}}, nil
	}
	if p.keep {
		return keepingSpace{countingSpace{s}}, nil
	}
	return s, nil
}

func (p *fakePlatform) NewContext([]byte) platform.Context { panic("not used") }
func (p *fakePlatform) UserRange() (lo, hi uint64)         { return fakeLo, fakeHi }
func (p *fakePlatform) Release()                           {}

type fakePage struct {
	fd   int32
	off  uint64
	prot platform.Prot
}

// fakeSpace executes changes. Ranges over huge are recorded in lists only.
type fakeSpace struct {
	mu      sync.Mutex
	pages   map[uint64]fakePage
	applies int
	changes []platform.Change
	fail    error // the next Apply
	drops   uint64
	shares  int

	shareFrom uint64
	keepFrom  uint64
	kept      map[uint64]fakePage
	keeps     int // calls of SetAside and GoBack
	backs     int // that went back
	released  bool
}

// countingSpace is a fakeSpace that tells its drops.
type countingSpace struct{ *fakeSpace }

func (s countingSpace) Drops() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drops
}

// sharingSpace is a countingSpace that another can begin as a copy of.
type sharingSpace struct{ countingSpace }

func (s sharingSpace) ShareFrom() uint64 { return s.shareFrom }

// Share forgets everything before, or refuses, at times.
func (s sharingSpace) Share(child platform.AddressSpace) error {
	c := child.(sharingSpace)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shares++; s.shares%3 == 0 {
		return unix.ENOMEM
	}
	if s.shares%4 == 0 {
		s.pages = map[uint64]fakePage{}
		s.drops++
	}
	for a, p := range s.pages {
		p.prot &^= platform.Write
		s.pages[a], c.pages[a] = p, p
	}
	c.drops = s.drops
	return nil
}

// keepingSpace is a countingSpace that can be set aside.
type keepingSpace struct{ countingSpace }

func (s keepingSpace) KeepFrom() uint64 { return s.keepFrom }

// SetAside refuses at times.
func (s keepingSpace) SetAside(drops uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = nil
	if s.keeps++; s.keeps%7 == 0 || drops != s.fakeSpace.drops {
		return false
	}
	s.kept, s.pages = s.pages, map[uint64]fakePage{}
	return true
}

// GoBack refuses at times, and at times it forgets everything.
func (s keepingSpace) GoBack(changes []platform.Change) bool {
	s.mu.Lock()
	if s.keeps++; s.keeps%5 == 0 || s.kept == nil {
		s.mu.Unlock()
		return false
	}
	s.pages, s.kept = s.kept, nil
	s.backs++
	s.mu.Unlock()
	if err := s.Apply(changes); err != nil {
		s.drop()
		return false
	}
	return true
}

func (s *fakeSpace) Apply(changes []platform.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		panic("Apply after Release")
	}
	s.applies++
	s.changes = append(s.changes, changes...)
	if err := s.fail; err != nil {
		s.fail = nil
		for _, c := range changes {
			s.eachPage(c, func(a uint64) { delete(s.pages, a) })
		}
		return err
	}
	for _, c := range changes {
		if c.Addr%PageSize != 0 || c.Length%PageSize != 0 || c.Offset%PageSize != 0 || c.Length == 0 || c.Addr < fakeLo || c.Addr+c.Length > fakeHi {
			panic(fmt.Sprintf("bad change %+v", c))
		}
		s.eachPage(c, func(a uint64) {
			switch c.Op {
			case platform.Map:
				s.pages[a] = fakePage{c.File, c.Offset + a - c.Addr, c.Prot}
			case platform.Unmap:
				delete(s.pages, a)
			case platform.Protect:
				if p, ok := s.pages[a]; ok {
					p.prot = c.Prot
					s.pages[a] = p
				}
			}
		})
	}
	return nil
}

func (s *fakeSpace) eachPage(c platform.Change, f func(uint64)) {
	if c.Op != platform.Map && c.Length/PageSize > uint64(len(s.pages)) {
		for a := range s.pages {
			if a >= c.Addr && a < c.Addr+c.Length {
				f(a)
			}
		}
		return
	}
	for a := c.Addr; a < c.Addr+c.Length; a += PageSize {
		f(a)
	}
}

func (s *fakeSpace) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		panic("Release twice")
	}
	s.released = true
	s.pages = nil
}

// drop forgets everything, as a platform may at any time.
func (s *fakeSpace) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages = map[uint64]fakePage{}
	s.drops++
}

func (s *fakeSpace) page(addr uint64) (fakePage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pages[addr&^(PageSize-1)]
	return p, ok
}

func (s *fakeSpace) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applies, s.changes = 0, nil
}

func (s *fakeSpace) count(op platform.Op) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if c.Op == op {
			n++
		}
	}
	return n
}

// world is a memory file, a platform and one address space.
type world struct {
	t worldT
	p *fakePlatform
	f *MemoryFile
	m *MemoryManager
}

// worldT is what testing.TB and rapid.T have in common.
type worldT interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
	Fatal(...any)
}

func newWorld(t worldT, limit uint64) *world {
	t.Helper()
	return newWorldOn(t, &fakePlatform{}, limit)
}

func newWorldOn(t worldT, p *fakePlatform, limit uint64) *world {
	t.Helper()
	f, err := NewMemoryFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, p: p, f: f}
	if w.m, err = New(w.p, f); err != nil {
		t.Fatal(err)
	}
	return w
}

// close checks that nothing is left behind.
func (w *world) close() {
	w.t.Helper()
	w.m.DecUsers()
	if n := w.f.Usage(); n != 0 {
		w.t.Errorf("%d bytes of memory are left allocated", n)
	}
	w.f.Release()
}

func space(m *MemoryManager) *fakeSpace {
	switch s := m.AddressSpace().(type) {
	case countingSpace:
		return s.fakeSpace
	case sharingSpace:
		return s.fakeSpace
	case keepingSpace:
		return s.fakeSpace
	default:
		return s.(*fakeSpace)
	}
}

// access is an instruction of the guest: it reads or writes one byte, faulting as
// often as the guest would. known says that the platform tells the kind of access.
func access(m *MemoryManager, addr Addr, write, known bool, b *byte) error {
	want := platform.Read
	if write {
		want = platform.Write
	}
	for range 200 {
		p, ok := space(m).page(uint64(addr))
		if ok && p.prot&want != 0 {
			buf := []byte{*b}
			off := int64(p.off + uint64(addr)%PageSize)
			var n int
			var err error
			if write {
				n, err = unix.Pwrite(int(p.fd), buf, off)
			} else {
				n, err = unix.Pread(int(p.fd), buf, off)
			}
			if err != nil {
				return err
			}
			if n == 0 {
				buf[0] = 0
			}
			*b = buf[0]
			return nil
		}
		tell := want
		if !known {
			tell = 0
		}
		if err := m.HandleFault(addr, tell); err != nil {
			return err
		}
	}
	return errors.New("the guest faults for ever")
}

func (w *world) read(m *MemoryManager, addr Addr) byte {
	w.t.Helper()
	var b byte
	if err := access(m, addr, false, false, &b); err != nil {
		w.t.Fatalf("read %#x: %v", addr, err)
	}
	return b
}

func (w *world) write(m *MemoryManager, addr Addr, b byte) {
	w.t.Helper()
	if err := access(m, addr, true, false, &b); err != nil {
		w.t.Fatalf("write %#x: %v", addr, err)
	}
}

func (w *world) mmap(o MMapOpts) Addr {
	w.t.Helper()
	addr, err := w.m.MMap(o)
	if err != nil {
		w.t.Fatalf("MMap(%+v): %v", o, err)
	}
	return addr
}

func (w *world) anon(length uint64) Addr {
	w.t.Helper()
	return w.mmap(MMapOpts{Length: length, Prot: rw, Private: true})
}

const rw = platform.Read | platform.Write

// hostFile is a Mappable over a host file.
type hostFile struct {
	MappingSet
	f    *os.File
	mu   sync.Mutex
	maps int64 // bytes
}

func newHostFile(t testing.TB, content []byte) *hostFile {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &hostFile{f: f}
}

func (h *hostFile) AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error {
	h.Add(m, ar, off, writable)
	h.mu.Lock()
	h.maps += int64(ar.Length())
	h.mu.Unlock()
	return nil
}

func (h *hostFile) RemoveMapping(m *MemoryManager, ar Range, off uint64, writable bool) {
	h.Remove(m, ar, off, writable)
	h.mu.Lock()
	h.maps -= int64(ar.Length())
	h.mu.Unlock()
}

func (h *hostFile) mapped() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.maps
}

func (h *hostFile) Translate(off, length uint64, write bool) (Backing, error) {
	st, err := h.f.Stat()
	if err != nil {
		return Backing{}, err
	}
	end, _ := roundUp(uint64(st.Size()))
	if off >= end {
		return Backing{}, unix.EFAULT
	}
	return Backing{FD: int32(h.f.Fd()), Offset: off, Length: min(length, end-off)}, nil
}

func (h *hostFile) MappedName() (string, uint32, uint32, uint64) { return "/file", 8, 1, 42 }
