package mm

import (
	"fmt"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// idlePlatform does nothing: what is measured is mm alone.
type idlePlatform struct{}

func (idlePlatform) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return idleSpace{}, nil
}
func (idlePlatform) NewContext([]byte) platform.Context { panic("not used") }
func (idlePlatform) UserRange() (lo, hi uint64)         { return fakeLo, fakeHi }
func (idlePlatform) Release()                           {}

type idleSpace struct{}

func (idleSpace) Apply([]platform.Change) error { return nil }
func (idleSpace) Release()                      {}
func (idleSpace) Drops() uint64                 { return 0 }

func benchSpace(b *testing.B) *MemoryManager {
	b.Helper()
	f := newFile(b, 8<<30)
	m, err := New(idlePlatform{}, f)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		m.DecUsers()
		f.Release()
	})
	return m
}

func benchMap(b *testing.B, m *MemoryManager, o MMapOpts) Addr {
	b.Helper()
	a, err := m.MMap(o)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func BenchmarkCopy(b *testing.B) {
	for _, vmas := range []int{1, 200} {
		m := benchSpace(b)
		var a Addr
		for i := range vmas {
			a = benchMap(b, m, MMapOpts{Addr: Addr(0x10000000 + i*(1<<20)), Length: 16 << 10, Prot: rw, Private: true})
			if _, err := m.CopyOut(a, make([]byte, 16<<10)); err != nil {
				b.Fatal(err)
			}
		}
		a -= Addr(vmas / 2 * (1 << 20))
		for _, size := range []int{8, 4096} {
			buf := make([]byte, size)
			b.Run(fmt.Sprintf("in/vmas=%d/%d", vmas, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := m.CopyIn(a+24, buf); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("out/vmas=%d/%d", vmas, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := m.CopyOut(a+24, buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLoadUint32(b *testing.B) {
	m := benchSpace(b)
	a := benchMap(b, m, MMapOpts{Length: 16 << 10, Prot: rw, Private: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.LoadUint32(a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompareAndSwap(b *testing.B) {
	m := benchSpace(b)
	a := benchMap(b, m, MMapOpts{Length: 16 << 10, Prot: rw, Private: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.CompareAndSwapUint32(a, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkString(b *testing.B) {
	m := benchSpace(b)
	a := benchMap(b, m, MMapOpts{Length: 16 << 10, Prot: rw, Private: true})
	_, _ = m.CopyOut(a, []byte("/usr/lib/x86_64-linux-gnu/libc.so.6\x00"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.CopyInString(a, 4096); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFault is a first touch of private memory, mapping and unmapping left in.
func BenchmarkFault(b *testing.B) {
	m := benchSpace(b)
	b.ReportAllocs()
	for b.Loop() {
		a := benchMap(b, m, MMapOpts{Length: 4 << 20, Prot: rw, Private: true})
		if err := m.HandleFault(a, platform.Write); err != nil {
			b.Fatal(err)
		}
		if err := m.MUnmap(a, 4<<20); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMapUnmap(b *testing.B) {
	m := benchSpace(b)
	b.ReportAllocs()
	for b.Loop() {
		a := benchMap(b, m, MMapOpts{Length: 4 << 20, Prot: rw, Private: true})
		if err := m.MUnmap(a, 4<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCow is a fork and 16 writes in distinct blocks, all of memory that was touched.
func BenchmarkCow(b *testing.B) {
	m := benchSpace(b)
	a := benchMap(b, m, MMapOpts{Length: 1 << 20, Prot: rw, Private: true})
	if _, err := m.CopyOut(a, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := m.Fork()
		if err != nil {
			b.Fatal(err)
		}
		for i := Addr(0); i < 16; i++ {
			if err := c.HandleFault(a+i*cowChunk, platform.Write); err != nil {
				b.Fatal(err)
			}
		}
		c.DecUsers()
	}
}

func benchFork(b *testing.B, m *MemoryManager) {
	b.ReportAllocs()
	for b.Loop() {
		c, err := m.Fork()
		if err != nil {
			b.Fatal(err)
		}
		c.DecUsers()
	}
}

func BenchmarkFork(b *testing.B) {
	for _, n := range []int{20, 1000, 10000} {
		b.Run(fmt.Sprintf("vmas=%d", n), func(b *testing.B) {
			m := benchSpace(b)
			for i := range n {
				a := benchMap(b, m, MMapOpts{Addr: Addr(0x10000000 + i*(1<<20)), Length: 16 << 10, Prot: rw, Private: true})
				if _, err := m.CopyOut(a, make([]byte, 16<<10)); err != nil {
					b.Fatal(err)
				}
			}
			benchFork(b, m)
		})
	}
	for _, size := range []uint64{1 << 20, 1 << 30} {
		b.Run(fmt.Sprintf("touched=%dMiB", size>>20), func(b *testing.B) {
			m := benchSpace(b)
			a := benchMap(b, m, MMapOpts{Length: size, Prot: rw, Private: true})
			for i := Addr(0); i < Addr(size); i += maxChunk {
				if err := m.HandleFault(a+i, platform.Write); err != nil {
					b.Fatal(err)
				}
			}
			for i := Addr(0); i < Addr(size); i += PageSize {
				_, _ = m.CopyOut(a+i, []byte{1})
			}
			benchFork(b, m)
		})
	}
}

func BenchmarkMMapAmongMany(b *testing.B) {
	m := benchSpace(b)
	for i := range 30000 {
		prot := rw
		if i%2 == 0 {
			prot = platform.Read
		}
		benchMap(b, m, MMapOpts{Length: PageSize, Prot: prot, Private: true})
	}
	for b.Loop() {
		a := benchMap(b, m, MMapOpts{Length: PageSize, Prot: platform.Exec, Private: true})
		if err := m.MUnmap(a, PageSize); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWithBytes(b *testing.B) {
	m := benchSpace(b)
	a := benchMap(b, m, MMapOpts{Length: 64 << 10, Prot: rw, Private: true})
	var buf Buffer
	b.ReportAllocs()
	for b.Loop() {
		buf.Reset(m, a, 16<<10)
		_, err := buf.WithBytes(16<<10, true, func(segs [][]byte) (int, error) { return 16 << 10, nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryFile(b *testing.B) {
	f := newFile(b, 1<<30)
	defer f.Release()
	b.Run("page", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			off, err := f.Allocate(PageSize)
			if err != nil {
				b.Fatal(err)
			}
			f.DecRef(off, PageSize)
		}
	})
	b.Run("ref", func(b *testing.B) {
		off, _ := f.Allocate(64 * PageSize)
		b.ReportAllocs()
		for b.Loop() {
			f.IncRef(off+PageSize, PageSize)
			f.DecRef(off+PageSize, PageSize)
		}
		f.DecRef(off, 64*PageSize)
	})
	b.Run("punch 2MiB", func(b *testing.B) {
		for b.Loop() {
			off, err := f.Allocate(2 << 20)
			if err != nil {
				b.Fatal(err)
			}
			mem := f.Bytes(off, 2<<20)
			for i := 0; i < len(mem); i += PageSize {
				mem[i] = 1
			}
			f.DecRef(off, 2<<20)
		}
	})
}

func BenchmarkHostCopy(b *testing.B) {
	m := benchSpace(b)
	h := newHostFile(b, make([]byte, 64<<10))
	a := benchMap(b, m, MMapOpts{Length: 64 << 10, Prot: platform.Read, Private: true, File: h})
	b.Run("in/8", func(b *testing.B) {
		var buf [8]byte
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.CopyIn(a, buf[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pread/8", func(b *testing.B) {
		var buf [8]byte
		for b.Loop() {
			_, _ = unix.Pread(int(h.f.Fd()), buf[:], 0)
		}
	})
}
