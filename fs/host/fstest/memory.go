package fstest

import (
	"testing"

	"gosentry/mm"
	"gosentry/platform"
)

// nowhere is a platform that runs nothing: its address spaces forget what they are told.
type nowhere struct{}

func (nowhere) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return nowhere{}, nil
}
func (nowhere) NewContext([]byte) platform.Context { return nil }
func (nowhere) UserRange() (lo, hi uint64)         { return 0x10000, 0x7fff_ffff_0000 }
func (nowhere) Release()                           {}
func (nowhere) Apply([]platform.Change) error      { return nil }

// Memory returns a guest's memory that no code runs in, with limit bytes behind it.
func Memory(t testing.TB, limit uint64) *mm.MemoryManager {
	t.Helper()
	file, err := mm.NewMemoryFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mm.New(nowhere{}, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.DecUsers()
		file.Release()
	})
	return m
}

// Map maps length bytes of f, or of fresh memory if f is nil, for reading and writing.
func Map(t testing.TB, m *mm.MemoryManager, f mm.Mappable, length uint64, private bool) mm.Addr {
	t.Helper()
	at, err := m.MMap(mm.MMapOpts{Length: length, Prot: platform.Read | platform.Write, File: f, Private: private || f == nil})
	if err != nil {
		t.Fatal(err)
	}
	return at
}
