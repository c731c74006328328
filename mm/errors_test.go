package mm

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

const (
	pg      = PageSize
	exec    = platform.Exec
	huge    = 1 << 63
	kernel  = 0xffff_8000_0000_0000
	topPage = fakeHi - pg
)

// guestCalls makes memoryCalls on mm.
type guestCalls struct{ *MemoryManager }

func (g guestCalls) MProtect(a Addr, n uint64, prot uint8, growsDown bool) error {
	return g.MemoryManager.MProtect(a, n, platform.Prot(prot), growsDown)
}

func (g guestCalls) Mincore(a Addr, n uint64) error {
	return g.MemoryManager.Mincore(a, make([]byte, n))
}

func (g guestCalls) MAdvise(a Addr, n uint64, advice int) error {
	return g.MemoryManager.MAdvise(a, n, advice, nil)
}

func (g guestCalls) MLock(a Addr, n uint64) error {
	return g.MemoryManager.MLock(a, n, false, false, nil)
}

// TestErrors holds what a guest may try, and what Linux says to that: the host answers the same
// table.
func TestErrors(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	t.Run("guest", func(t *testing.T) { testErrors(t, guestCalls{w.m}) })
	t.Run("host", func(t *testing.T) {
		defer func() {
			_ = hostCalls{}.MUnmap(0x4000_0000, 8*pg)
			_ = hostCalls{}.MUnmap(0x5000_0000, 2*pg)
		}()
		if !(hostCalls{}).movesMany() {
			t.Skip("the host's mremap is an older one")
		}
		testErrors(t, hostCalls{})
	})
}

// The pages of testErrors: errAt is the start of a mapping of 4 pages, rw, rw, a hole, read-only; errFile
// that of 2 read-only pages of a file.
const (
	errAt   Addr = 0x4000_0000
	errFile Addr = 0x5000_0000
)

// errorCase is a call and what Linux says to it.
type errorCase struct {
	what string
	call func() error
	want error
}

func testErrors(t *testing.T, m memoryCalls) {
	rwFile := newHostFile(t, make([]byte, 4*pg))
	readOnly, err := os.Open(rwFile.f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	ro := &hostFile{f: readOnly}
	_, err1 := m.MMap(MMapOpts{Addr: errAt, Length: 4 * pg, Prot: rw, Private: true, Fixed: true})
	_, err2 := m.MMap(MMapOpts{Addr: errFile, Length: 2 * pg, Prot: platform.Read, MaxProt: platform.Read, Fixed: true, File: ro})
	if err := errors.Join(err1, err2, m.MUnmap(errAt+2*pg, pg), m.MProtect(errAt+3*pg, pg, unix.PROT_READ, false)); err != nil {
		t.Fatal(err)
	}
	cases := append(mmapErrors(m, ro), protectErrors(m)...)
	cases = append(cases, remapErrors(m)...)
	for i, x := range append(cases, otherErrors(m)...) {
		if err := x.call(); err != x.want {
			t.Errorf("%d: %s: %v, want %v", i, x.what, err, x.want)
		}
	}
}

func mmapErrors(m memoryCalls, ro *hostFile) []errorCase {
	const at = errAt
	mmap := func(o MMapOpts) func() error {
		return func() error {
			_, err := m.MMap(o)
			return err
		}
	}
	fixed := func(addr Addr, n uint64) func() error {
		return mmap(MMapOpts{Addr: addr, Length: n, Prot: rw, Private: true, Fixed: true})
	}
	return []errorCase{
		{"mmap of nothing", mmap(MMapOpts{Prot: rw, Private: true}), unix.EINVAL},
		{"mmap of all", mmap(MMapOpts{Length: ^uint64(0), Private: true}), unix.ENOMEM},
		{"mmap of half", mmap(MMapOpts{Length: huge, Private: true}), unix.ENOMEM},
		{"mmap of more than there is", mmap(MMapOpts{Length: fakeHi, Private: true}), unix.ENOMEM},
		{"mmap of all that is free", mmap(MMapOpts{Length: fakeHi - fakeLo, Private: true}), unix.ENOMEM},
		{"fixed, unaligned", fixed(0x1000_0001, pg), unix.EINVAL},
		{"fixed in the kernel", fixed(kernel, pg), unix.ENOMEM},
		{"fixed at the last page of all", fixed(^Addr(0)&^(pg-1), pg), unix.ENOMEM},
		{"fixed, wraps around", fixed(topPage, ^uint64(0)-2*pg), unix.ENOMEM},
		{"fixed over the end", fixed(topPage, 2*pg), unix.ENOMEM},
		{"fixed, no replace", mmap(MMapOpts{Addr: at - pg, Length: 2 * pg, Private: true, NoReplace: true}), unix.EEXIST},
		{"unknown rights", mmap(MMapOpts{Addr: at, Length: pg, Prot: rw | 8, Private: true, Fixed: true}), nil},
		{"offset unaligned", mmap(MMapOpts{Length: pg, File: ro, Offset: 1}), unix.EINVAL},
		{"offset wraps around", mmap(MMapOpts{Length: 2 * pg, File: ro, Offset: ^uint64(0) &^ (pg - 1)}), unix.EOVERFLOW},
		{"beyond the opening mode", mmap(MMapOpts{Length: pg, File: ro, Prot: rw, MaxProt: platform.Read}), unix.EACCES},
		{"shared stack", mmap(MMapOpts{Length: pg, Prot: rw, GrowsDown: true}), unix.EINVAL},
	}
}

func protectErrors(m memoryCalls) []errorCase {
	const at, file = errAt, errFile
	protect := func(a Addr, n uint64, p uint8) func() error {
		return func() error { return m.MProtect(a, n, p, false) }
	}
	return []errorCase{
		{"munmap unaligned", func() error { return m.MUnmap(at+1, pg) }, unix.EINVAL},
		{"munmap of nothing", func() error { return m.MUnmap(at, 0) }, unix.EINVAL},
		{"munmap wraps around", func() error { return m.MUnmap(at, ^uint64(0)-uint64(at)) }, unix.EINVAL},
		{"munmap rounds to 0", func() error { return m.MUnmap(at, ^uint64(0)) }, unix.EINVAL},
		{"munmap over the end", func() error { return m.MUnmap(topPage, 2*pg) }, unix.EINVAL},
		{"munmap of the kernel", func() error { return m.MUnmap(kernel, pg) }, unix.EINVAL},
		{"munmap of a hole", func() error { return m.MUnmap(at+2*pg, pg) }, nil},
		{"mprotect unaligned", protect(at+1, pg, 3), unix.EINVAL},
		{"mprotect of nothing", protect(at, 0, 3), nil},
		{"mprotect unknown rights", protect(at, pg, 16), unix.EINVAL},
		{"mprotect of a hole", protect(at+2*pg, pg, 3), unix.ENOMEM},
		{"mprotect over a hole", protect(at, 4*pg, 3), unix.ENOMEM},
		{"mprotect wraps around", protect(at, ^uint64(0)-pg, 3), unix.ENOMEM},
		{"mprotect of the kernel", protect(kernel, pg, 3), unix.ENOMEM},
		{"mprotect beyond the opening mode", protect(file, pg, 3), unix.EACCES},
		{"mprotect growsdown of no stack", func() error { return m.MProtect(at, pg, 3, true) }, unix.EINVAL},
	}
}

func remapErrors(m memoryCalls) []errorCase {
	const at = errAt
	remap := func(o MRemapOpts) func() error {
		return func() error {
			_, err := m.MRemap(o)
			return err
		}
	}
	return []errorCase{
		{"mremap unaligned", remap(MRemapOpts{Old: at + 1, OldLength: pg, NewLength: pg}), unix.EINVAL},
		{"mremap to nothing", remap(MRemapOpts{Old: at, OldLength: pg}), unix.EINVAL},
		{"mremap of a hole", remap(MRemapOpts{Old: at + 2*pg, OldLength: pg, NewLength: 2 * pg, MayMove: true}), unix.EFAULT},
		{"mremap over a hole", remap(MRemapOpts{Old: at, OldLength: 3 * pg, NewLength: 4 * pg, MayMove: true}), unix.EFAULT},
		{"mremap fixed, may not move", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: pg, New: 0x6000_0000, Fixed: true}), unix.EINVAL},
		{"mremap onto itself", remap(MRemapOpts{Old: at, OldLength: 2 * pg, NewLength: 2 * pg, New: at + pg, Fixed: true, MayMove: true}), unix.EINVAL},
		{"mremap fixed in the kernel", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: pg, New: kernel, Fixed: true, MayMove: true}), unix.EINVAL},
		{"mremap fixed, wraps around", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: huge, New: topPage, Fixed: true, MayMove: true}), unix.EINVAL},
		{"mremap to all", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: ^uint64(0), MayMove: true}), unix.EINVAL},
		{"mremap to half", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: huge, MayMove: true}), unix.EINVAL},
		{"mremap of all", remap(MRemapOpts{Old: at, OldLength: huge, NewLength: pg}), unix.EINVAL},
		{"mremap of all of a hole", remap(MRemapOpts{Old: at + 2*pg, OldLength: huge, NewLength: pg}), unix.EFAULT},
		{"mremap that cannot grow", remap(MRemapOpts{Old: at, OldLength: 2 * pg, NewLength: 8 * pg}), unix.ENOMEM},
		{"mremap duplicates private memory", remap(MRemapOpts{Old: at, NewLength: pg, MayMove: true}), unix.EINVAL},
		{"mremap dontunmap resizes", remap(MRemapOpts{Old: at, OldLength: pg, NewLength: 2 * pg, MayMove: true, DontUnmap: true}), unix.EINVAL},
	}
}

func otherErrors(m memoryCalls) []errorCase {
	const at, file = errAt, errFile
	advise := func(a Addr, n uint64, advice int) func() error {
		return func() error { return m.MAdvise(a, n, advice) }
	}
	sync := func(a Addr, n uint64, flags int) func() error {
		return func() error { return m.MSync(a, n, flags) }
	}
	return []errorCase{
		{"madvise unknown", advise(at, pg, 77), unix.EINVAL},
		{"madvise unaligned", advise(at+1, pg, unix.MADV_NORMAL), unix.EINVAL},
		{"madvise wraps around", advise(at, ^uint64(0)-pg, unix.MADV_DONTNEED), unix.EINVAL},
		{"madvise over a hole", advise(at, 4*pg, unix.MADV_DONTNEED), unix.ENOMEM},
		{"madvise of the kernel", advise(kernel, pg, unix.MADV_DONTNEED), unix.ENOMEM},
		{"madvise of nothing", advise(at, 0, unix.MADV_DONTNEED), nil},
		{"madvise free of a file", advise(file, pg, unix.MADV_FREE), unix.EINVAL},
		{"madvise wipeonfork of a file", advise(file, pg, unix.MADV_WIPEONFORK), unix.EINVAL},
		{"madvise remove of private memory", advise(at, pg, unix.MADV_REMOVE), unix.EINVAL},
		{"madvise remove of a read-only file", advise(file, pg, unix.MADV_REMOVE), unix.EACCES},
		{"madvise hugepage", advise(at, 2*pg, unix.MADV_HUGEPAGE), nil},
		{"madvise populate read-only to write", advise(at+3*pg, pg, madvPopulateWrite), unix.EINVAL},
		{"madvise populate", advise(at, 2*pg, madvPopulateWrite), nil},
		{"madvise populate over a hole", advise(at, 4*pg, madvPopulateRead), unix.ENOMEM},
		{"msync unaligned", sync(at+1, pg, unix.MS_SYNC), unix.EINVAL},
		{"msync both", sync(at, pg, unix.MS_SYNC|unix.MS_ASYNC), unix.EINVAL},
		{"msync unknown", sync(at, pg, 8), unix.EINVAL},
		{"msync of a hole", sync(at+2*pg, pg, unix.MS_SYNC), unix.ENOMEM},
		{"msync wraps around", sync(at, ^uint64(0)-pg, unix.MS_SYNC), unix.ENOMEM},
		{"msync", sync(file, 2*pg, unix.MS_SYNC), nil},
		{"mincore unaligned", func() error { return m.Mincore(at+1, 1) }, unix.EINVAL},
		{"mincore of a hole", func() error { return m.Mincore(at, 4) }, unix.ENOMEM},
		{"mincore", func() error { return m.Mincore(at, 2) }, nil},
		{"mincore of the kernel", func() error { return m.Mincore(kernel, 2) }, unix.ENOMEM},
		{"mlock of a hole", func() error { return m.MLock(at+2*pg, pg) }, unix.ENOMEM},
		{"mlock rounds to 0", func() error { return m.MLock(at, ^uint64(0)-100) }, nil},
		{"mlock wraps around", func() error { return m.MLock(at, ^uint64(0)-2*pg) }, unix.EINVAL},
		{"munlock of a hole", func() error { return m.MUnlock(at+2*pg, pg) }, unix.ENOMEM},
	}
}

// TestHostileCopies tries addresses where nothing can be.
func TestHostileCopies(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	b := make([]byte, 3*pg)
	for _, addr := range []Addr{0, 1, fakeLo - 1, fakeLo, topPage, fakeHi - 1, fakeHi, kernel, ^Addr(0), ^Addr(0) - 3, 1 << 63, 0x8000_0000_0000_0000 - 1} {
		for _, n := range []int{1, 4, 8, len(b)} {
			if k, err := m.CopyIn(addr, b[:n]); k != 0 || err != unix.EFAULT {
				t.Errorf("CopyIn(%#x, %d): %d %v", addr, n, k, err)
			}
			if k, err := m.CopyOut(addr, b[:n]); k != 0 || err != unix.EFAULT {
				t.Errorf("CopyOut(%#x, %d): %d %v", addr, n, k, err)
			}
			if k, err := m.CopyOutForce(addr, b[:n]); k != 0 || err != unix.EFAULT {
				t.Errorf("CopyOutForce(%#x, %d): %d %v", addr, n, k, err)
			}
		}
		if _, err := m.CopyInString(addr, 100); err != unix.EFAULT {
			t.Errorf("CopyInString(%#x): %v", addr, err)
		}
		if _, err := m.ZeroOut(addr, ^uint64(0)); err != unix.EFAULT {
			t.Errorf("ZeroOut(%#x): %v", addr, err)
		}
		for _, known := range []platform.Prot{0, platform.Read, platform.Write, exec} {
			if f, ok := m.HandleFault(addr, known).(*FaultError); !ok || !f.MapErr || f.Addr != addr {
				t.Errorf("HandleFault(%#x): %v", addr, f)
			}
		}
		want := error(unix.EFAULT)
		if addr%4 != 0 {
			want = unix.EINVAL
		}
		if _, err := m.LoadUint32(addr); err != want {
			t.Errorf("LoadUint32(%#x): %v", addr, err)
		}
		if _, err := m.CompareAndSwapUint32(addr, 0, 1); err != want {
			t.Errorf("CompareAndSwapUint32(%#x): %v", addr, err)
		}
		if _, err := m.FutexKey(addr, false); err != want {
			t.Errorf("FutexKey(%#x): %v", addr, err)
		}
		buf := SingleBuffer(m, addr, ^uint64(0))
		if k, err := buf.CopyOut(b); k != 0 || err != unix.EFAULT {
			t.Errorf("Buffer at %#x: %d %v", addr, k, err)
		}
		if k, err := buf.WithBytes(1<<30, true, func([][]byte) (int, error) { return 1, nil }); k != 0 || err != unix.EFAULT {
			t.Errorf("WithBytes at %#x: %d %v", addr, k, err)
		}
	}
}

func TestStringsAtTheEdge(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(3 * pg)
	end := a + 3*pg
	long := make([]byte, 2*pg)
	for i := range long {
		long[i] = 'x'
	}
	_, _ = w.m.CopyOut(end-6, []byte("hello\x00"))
	_, _ = w.m.CopyOut(a, long)
	_, _ = w.m.CopyOut(a+2*pg, []byte{0})
	for _, x := range []struct {
		addr  Addr
		limit int
		want  int
		err   error
	}{
		{end - 6, 100, 5, nil}, {end - 6, 6, 5, nil}, {end - 6, 5, 0, unix.ENAMETOOLONG}, {end - 1, 1, 0, nil},
		{a, 3 * pg, 2 * pg, nil}, {a, 2*pg + 1, 2 * pg, nil}, {a, 2 * pg, 0, unix.ENAMETOOLONG}, {a, 0, 0, unix.ENAMETOOLONG},
	} {
		if s, err := w.m.CopyInString(x.addr, x.limit); len(s) != x.want || err != x.err {
			t.Errorf("%#x, limit %d: %d bytes, %v", x.addr, x.limit, len(s), err)
		}
	}
	_, _ = w.m.CopyOut(end-1, []byte("y"))
	if _, err := w.m.CopyInString(end-1, 10); err != unix.EFAULT {
		t.Errorf("string that runs out of the mapping: %v", err)
	}
}

func withLimit(m *MemoryManager, r limits.Resource, v uint64) {
	table := limits.Defaults(100)
	table[r] = limits.Limit{Soft: v, Hard: v}
	m.SetLimits(limits.New(table))
}

func TestLimits(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	m := w.m
	w.anon(8 * pg)
	private := MMapOpts{Length: 8 * pg, Prot: rw, Private: true}
	locked := private
	locked.Locked = true
	stack := m.Layout().StackTop &^ (pg - 1)
	w.mmap(MMapOpts{Addr: stack - 4*pg, Length: 4 * pg, Prot: rw, Private: true, Fixed: true, GrowsDown: true})
	l := m.Layout()
	l.BrkStart = 0x3000_0000
	m.SetLayout(l)
	for _, x := range []struct {
		what  string
		r     limits.Resource
		value uint64
		call  func() error
		want  error
	}{
		{"AS", limits.AS, 19 * pg, func() error { _, err := m.MMap(private); return err }, unix.ENOMEM},
		{"DATA", limits.Data, 15 * pg, func() error { _, err := m.MMap(private); return err }, unix.ENOMEM},
		{"MEMLOCK", limits.MemLock, 7 * pg, func() error { _, err := m.MMap(locked); return err }, unix.EAGAIN},
		{"MEMLOCK mlock", limits.MemLock, 3 * pg, func() error { return m.MLock(stack-4*pg, 4*pg, false, false, nil) }, unix.ENOMEM},
		{"MEMLOCK 0", limits.MemLock, 0, func() error { return m.MLock(stack-4*pg, 4*pg, false, false, nil) }, unix.EPERM},
		{"MEMLOCK all", limits.MemLock, 3 * pg, func() error { return m.MLockAll(true, false, false, false, nil) }, unix.ENOMEM},
		{"STACK", limits.Stack, 8 * pg, func() error { return m.HandleFault(stack-9*pg, 0) }, &FaultError{stack - 9*pg, true}},
		{"brk DATA", limits.Data, 10 * pg, func() error {
			if m.Brk(0x3000_0000+4*pg) == 0x3000_0000 {
				return unix.ENOMEM
			}
			return nil
		}, unix.ENOMEM},
		{"within STACK", limits.Stack, 8 * pg, func() error { return m.HandleFault(stack-8*pg, 0) }, nil},
		{"within AS", limits.AS, 100 * pg, func() error { _, err := m.MMap(private); return err }, nil},
		{"within MEMLOCK", limits.MemLock, 100 * pg, func() error { _, err := m.MMap(locked); return err }, nil},
	} {
		withLimit(m, x.r, x.value)
		if err := x.call(); fmt.Sprint(err) != fmt.Sprint(x.want) {
			t.Errorf("%s: %v, want %v", x.what, err, x.want)
		}
	}
	if s := m.Stats(); s.Locked != 8*pg || s.Stack != 8*pg {
		t.Errorf("locked %d, stack %d", s.Locked, s.Stack)
	}
}

func TestTooManyMappings(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	base := w.mmap(MMapOpts{Length: 2 * DefaultMappings * pg, Prot: 0, Private: true})
	var err error
	n := Addr(0)
	for ; err == nil; n++ {
		err = w.m.MProtect(base+(2*n+1)*pg, pg, exec, false)
	}
	if k := w.m.Stats().Mappings; err != unix.ENOMEM || k > DefaultMappings || k < DefaultMappings-3 {
		t.Fatalf("%v after %d mappings", err, k)
	}
	if err := w.m.MUnmap(base+(2*n+3)*pg, pg); err != unix.ENOMEM && w.m.Stats().Mappings > DefaultMappings {
		t.Errorf("munmap in the middle: %v, %d mappings", err, w.m.Stats().Mappings)
	}
	if err := w.m.MUnmap(base, 2*DefaultMappings*pg); err != nil {
		t.Error(err)
	}
}

func TestOutOfMemory(t *testing.T) {
	w := newWorld(t, 64*pg)
	defer w.close()
	// Aligned, so that a whole chunk never fits: memory comes in ever smaller pieces.
	a := (w.anon(1<<30+maxChunk) + maxChunk - 1) &^ (maxChunk - 1)
	n := Addr(0)
	for ; n < 200; n++ {
		if err := w.m.HandleFault(a+n*(maxChunk), platform.Write); err != nil {
			if err != unix.ENOMEM {
				t.Fatal(err)
			}
			break
		}
	}
	if n < 5 || n == 200 {
		t.Fatalf("%d chunks of 2 MiB in 64 pages", n)
	}
	if k, err := w.m.CopyOut(a+300*maxChunk, []byte{1}); k != 0 || err != unix.EFAULT {
		t.Errorf("CopyOut without memory: %d %v", k, err)
	}
	if err := w.m.MAdvise(a, 1<<30, unix.MADV_DONTNEED, nil); err != nil {
		t.Fatal(err)
	}
	w.write(w.m, a+300*maxChunk, 1)
}
