package tmpfs_test

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"gosentry/fs/tmpfs"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// spaces is a platform that maps nothing: what mm knows is enough for copies.
type spaces struct{}

type space struct{}

func (space) Apply([]platform.Change) error { return nil }
func (space) Release()                      {}

func (spaces) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return space{}, nil
}
func (spaces) NewContext([]byte) platform.Context { return nil }
func (spaces) UserRange() (lo, hi uint64)         { return 0x10000, 0x7fff_ffff_f000 }
func (spaces) Release()                           {}

func memory(t testing.TB, limit uint64) *mm.MemoryFile {
	f, err := mm.NewMemoryFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

func manager(t testing.TB, mem *mm.MemoryFile) *mm.MemoryManager {
	m, err := mm.New(spaces{}, mem)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mapFile maps the file's first length bytes.
func mapFile(t testing.TB, m *mm.MemoryManager, r *tmpfs.Regular, length uint64, private bool) mm.Addr {
	addr, err := m.MMap(mm.MMapOpts{Length: length, Prot: platform.Read | platform.Write, File: r, Private: private})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func readAt(r *tmpfs.Regular, n int, off int64) ([]byte, error) {
	b := make([]byte, n)
	n, err := r.ReadAt(mm.BytesBuffer(b), off)
	return b[:n], err
}

func writeAt(r *tmpfs.Regular, p []byte, off int64) (int, error) {
	return r.WriteAt(mm.BytesBuffer(p), off)
}

func want(t testing.TB, what string, err error, e unix.Errno) {
	t.Helper()
	if e == 0 && err != nil || e != 0 && !errors.Is(err, e) {
		t.Errorf("%s: %v, want %v", what, err, e)
	}
}

const page = mm.PageSize

// TestRegularModel compares a file, with a shared mapping of it, with an array of bytes.
func TestRegularModel(t *testing.T) {
	mem := memory(t, 256<<20)
	rapid.Check(t, func(rt *rapid.T) {
		const top = 5 << 20
		r := tmpfs.NewRegular(mem, nil, nil)
		m := manager(t, mem)
		addr := mapFile(t, m, r, top, false)
		model, size := make([]byte, top+1<<20), int64(0)
		at := rapid.OneOf(rapid.Int64Range(0, 10*page), rapid.Int64Range(0, top-1), rapid.SampledFrom([]int64{2<<20 - 1, 2 << 20, 4<<20 - page}))
		fill := byte(0)
		for range 40 {
			off := at.Draw(rt, "off")
			n := rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 3*page), rapid.IntRange(1, 300_000)).Draw(rt, "n")
			fill++
			data := bytes.Repeat([]byte{fill}, n)
			end := off + int64(n)
			switch rapid.IntRange(0, 6).Draw(rt, "call") {
			case 0:
				if k, err := writeAt(r, data, off); k != n || err != nil {
					rt.Fatalf("wrote %d: %v", k, err)
				}
				clear(model[min(size, off):off]) // what was stored behind the end
				copy(model[off:], data)
				size = max(size, end)
			case 1:
				if err := r.Truncate(off); err != nil {
					rt.Fatal(err)
				}
				if off <= size {
					clear(model[off:])
				} else {
					clear(model[size:off])
				}
				size = off
			case 2:
				if err := r.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, int64(n)); err != nil {
					rt.Fatal(err)
				}
				clear(model[off:end])
			case 3:
				if err := r.Allocate(0, off, int64(n)); err != nil {
					rt.Fatal(err)
				}
				if end > size {
					clear(model[size:end])
					size = end
				}
			case 4, 5:
				k, err := m.CopyOut(addr+mm.Addr(off), data)
				reach := (size + page - 1) &^ (page - 1)
				expect := int(min(max(reach-off, 0), int64(n), top-off))
				if k != expect || (err == nil) != (k == n) {
					rt.Fatalf("stored %d of %d at %d, the size is %d: %v", k, n, off, size, err)
				}
				copy(model[off:], data[:k])
			case 6:
				// The first byte of data at or behind off, by the file and by content.
				if d, err := r.SeekData(off); err == nil && bytes.IndexFunc(model[off:min(d, size)], func(c rune) bool { return c != 0 }) >= 0 {
					rt.Fatalf("data between %d and %d", off, d)
				}
				if h, err := r.SeekHole(off); err == nil && h < size && !zero(model[h:min((h|(page-1))+1, size)]) {
					rt.Fatalf("no hole at %d", h)
				}
			}
			off = at.Draw(rt, "look")
			got, err := readAt(r, 100_000, off)
			if err != nil || !bytes.Equal(got, model[off:min(max(size, off), off+100_000)]) || r.Size() != size {
				rt.Fatalf("reads wrong at %d, size %d, want %d: %v", off, r.Size(), size, err)
			}
			seen := make([]byte, page)
			if k, _ := m.CopyIn(addr+mm.Addr(off), seen[:min(page, top-off)]); !bytes.Equal(seen[:k], model[off:off+int64(k)]) {
				rt.Fatalf("the mapping is wrong at %d", off)
			}
		}
		m.DecUsers()
		r.Drop()
		if used := mem.Usage(); used != 0 {
			rt.Fatalf("%d bytes are left", used)
		}
	})
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// TestLifetime frees the pages with the last hold or mapping, whichever is later.
func TestLifetime(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	m := manager(t, mem)
	if _, err := writeAt(r, make([]byte, 10*page), 0); err != nil {
		t.Fatal(err)
	}
	addr := mapFile(t, m, r, 10*page, false)
	if !r.Hold() {
		t.Fatal("no hold")
	}
	r.Drop()
	r.Drop()
	if mem.Usage() == 0 {
		t.Fatal("a mapped file was freed")
	}
	if err := m.MUnmap(addr+page, 9*page); err != nil {
		t.Fatal(err)
	}
	if mem.Usage() == 0 {
		t.Fatal("a file mapped in part was freed")
	}
	if err := m.MUnmap(addr, page); err != nil {
		t.Fatal(err)
	}
	if used := mem.Usage(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
	if r.Hold() {
		t.Error("a hold on a freed file")
	}
	m.DecUsers()
}

// TestCollected frees a file that was forgotten with its file system.
func TestCollected(t *testing.T) {
	mem := memory(t, 64<<20)
	func() {
		r := tmpfs.NewRegular(mem, nil, nil)
		if _, err := writeAt(r, make([]byte, page), 0); err != nil {
			t.Fatal(err)
		}
	}()
	for range 1000 {
		runtime.GC()
		if mem.Usage() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d bytes are left", mem.Usage())
}

// TestPrivateMapping keeps private copies over truncation, and shows the file's own bytes else.
func TestPrivateMapping(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	defer r.Drop()
	m := manager(t, mem)
	defer m.DecUsers()
	if _, err := writeAt(r, bytes.Repeat([]byte("f"), 2*page), 0); err != nil {
		t.Fatal(err)
	}
	addr := mapFile(t, m, r, 2*page, true)
	if _, err := m.CopyOut(addr, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if got, _ := readAt(r, 4, 0); string(got) != "ffff" {
		t.Errorf("the file reads %q", got)
	}
	if err := r.Truncate(page); err != nil {
		t.Fatal(err)
	}
	var b [4]byte
	if _, err := m.CopyIn(addr, b[:]); err != nil || string(b[:]) != "mine" {
		t.Errorf("the copy reads %q, %v", b, err)
	}
	if err := r.Truncate(2 * page); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CopyIn(addr+page, b[:]); err != nil || !zero(b[:]) {
		t.Errorf("the new page reads %q, %v", b, err)
	}
}

func TestQuota(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, tmpfs.NewQuota(10*page), nil)
	defer r.Drop()
	if n, err := writeAt(r, make([]byte, 12*page), 0); n != 10*page || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	_, err := writeAt(r, []byte("x"), 11*page)
	want(t, "full", err, unix.ENOSPC)
	if err := r.Truncate(5 * page); err != nil {
		t.Fatal(err)
	}
	want(t, "too much at once", r.Allocate(0, 0, 11*page), unix.ENOSPC)
	if got := r.Blocks(); got != 5*page/512 {
		t.Errorf("a failed allocation leaves %d blocks", got)
	}
	want(t, "just enough", r.Allocate(0, 0, 10*page), 0)
	want(t, "more than all memory", r.Allocate(unix.FALLOC_FL_KEEP_SIZE, 1<<40, 1<<50), unix.ENOSPC)
	want(t, "unknown mode", r.Allocate(unix.FALLOC_FL_COLLAPSE_RANGE, 0, page), unix.EOPNOTSUPP)
	// Without a quota the memory's limit holds.
	big := tmpfs.NewRegular(mem, nil, nil)
	defer big.Drop()
	if err := big.Truncate(1 << 60); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for i := int64(0); ; i++ {
		n, err := writeAt(big, chunk, i<<40)
		if err != nil {
			want(t, "no memory", err, unix.ENOSPC)
			break
		}
		if i > 100 || n == 0 {
			t.Fatal("memory without a limit")
		}
	}
}

func TestSeals(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	defer r.Drop()
	want(t, "a file without sealing", r.AddSeals(unix.F_SEAL_GROW), unix.EPERM)
	r.AllowSeals()
	if _, err := writeAt(r, make([]byte, page), 0); err != nil {
		t.Fatal(err)
	}
	m := manager(t, mem)
	defer m.DecUsers()
	addr := mapFile(t, m, r, page, false)
	want(t, "while mapped writable", r.AddSeals(unix.F_SEAL_WRITE), unix.EBUSY)
	want(t, "size", r.AddSeals(unix.F_SEAL_SHRINK|unix.F_SEAL_GROW), 0)
	want(t, "shrink", r.Truncate(1), unix.EPERM)
	want(t, "grow", r.Truncate(page+1), unix.EPERM)
	_, err := writeAt(r, []byte("xy"), page-1)
	want(t, "grow by writing", err, unix.EPERM)
	_, err = writeAt(r, []byte("x"), page-1)
	want(t, "write within", err, 0)
	if err := m.MUnmap(addr, page); err != nil {
		t.Fatal(err)
	}
	want(t, "write", r.AddSeals(unix.F_SEAL_WRITE|unix.F_SEAL_SEAL), 0)
	_, err = writeAt(r, []byte("x"), 0)
	want(t, "sealed write", err, unix.EPERM)
	want(t, "sealed punch", r.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1), unix.EPERM)
	_, err = m.MMap(mm.MMapOpts{Length: page, Prot: platform.Read | platform.Write, File: r})
	want(t, "sealed mapping", err, unix.EPERM)
	want(t, "more seals", r.AddSeals(unix.F_SEAL_WRITE), unix.EPERM)
}

// TestFutureWriteSeal moves, enlarges and inherits a writable mapping of a file that is sealed against new ones.
func TestFutureWriteSeal(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	defer r.Drop()
	r.AllowSeals()
	want(t, "size", r.Truncate(2*page), 0)
	m := manager(t, mem)
	defer m.DecUsers()
	addr := mapFile(t, m, r, page, false)
	want(t, "seal", r.AddSeals(unix.F_SEAL_FUTURE_WRITE), 0)
	want(t, "full seal", r.AddSeals(unix.F_SEAL_WRITE), unix.EBUSY)
	c, err := m.Fork()
	if err != nil {
		t.Fatalf("fork: %v", err)
	}
	defer c.DecUsers()
	moved, err := m.MRemap(mm.MRemapOpts{Old: addr, OldLength: page, NewLength: 2 * page, MayMove: true})
	if err != nil {
		t.Fatalf("mremap: %v", err)
	}
	if _, err := m.CopyOut(moved+page, []byte{7}); err != nil {
		t.Errorf("a store: %v", err)
	}
}

// TestConcurrentRegular reads, writes, maps and truncates side by side; a read may see
// zeroes or one writer's byte in each place, and nothing else.
func TestConcurrentRegular(t *testing.T) {
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	const top = 64 * page
	var wg sync.WaitGroup
	m := manager(t, mem)
	addr := mapFile(t, m, r, top, false)
	for i := range 2 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte(i + 1)}, 3*page)
			for k := range 300 {
				if _, err := writeAt(r, data, int64(k*5000%top)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for k := range 300 {
			var err error
			if k%2 == 0 {
				err = r.Truncate(int64(k * 7777 % top))
			} else {
				err = r.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(k*999%top), 10*page)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		// Guest memory that is the file itself, as target of reads and source of writes.
		for k := range 300 {
			at := mm.Addr(k * 3 * page % top)
			b := mm.SingleBuffer(m, addr+at, page)
			if k%2 == 0 {
				_, _ = r.ReadAt(b, int64(at)/2)
			} else {
				_, _ = r.WriteAt(b, int64(at)/2)
			}
		}
	})
	wg.Go(func() {
		for range 300 {
			got, err := readAt(r, top, 0)
			if err != nil || len(bytes.Trim(got, "\x00\x01\x02")) != 0 {
				t.Errorf("read of foreign bytes, %v", err)
				return
			}
		}
	})
	wg.Wait()
	m.DecUsers()
	r.Drop()
	if used := mem.Usage(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}
