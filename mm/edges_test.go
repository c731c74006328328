package mm

import (
	"bytes"
	"testing"

	"gosentry/platform"
)

// TestRecordAfterMove moves pages of which the platform knows less than it might, and then
// takes a right away.
func TestRecordAfterMove(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(2 * pg)
	w.write(w.m, a, 1)
	w.fork().DecUsers()
	if _, err := w.m.CopyOut(a, []byte{2}); err != nil { // ours alone again, mapped read-only
		t.Fatal(err)
	}
	const to = Addr(0x4000_0000)
	if _, err := w.m.MRemap(MRemapOpts{Old: a, OldLength: 2 * pg, NewLength: 2 * pg, New: to, MayMove: true, Fixed: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.m.MProtect(to, 2*pg, platform.Read, false); err != nil {
		t.Fatal(err)
	}
	if p, ok := space(w.m).page(uint64(to)); ok && p.prot&platform.Write != 0 {
		t.Error("the page can still be written")
	}
	if b := w.read(w.m, to); b != 2 {
		t.Errorf("reads %d", b)
	}
}

// leaveDirt frees blocks of memory full of another guest's bytes.
func (w *world) leaveDirt() {
	for n := uint64(1); n <= maxStalePages; n++ {
		off, err := w.f.Allocate(n * pg)
		if err != nil {
			w.t.Fatal(err)
		}
		copy(w.f.Bytes(off, n*pg), bytes.Repeat([]byte{0xdd}, int(n*pg)))
		w.f.DecRef(off, n*pg)
	}
}

func (w *world) wantZero(what string, m *MemoryManager, addr Addr, n int) {
	w.t.Helper()
	b := make([]byte, n)
	if _, err := m.CopyIn(addr, b); err != nil || !bytes.Equal(b, make([]byte, n)) {
		w.t.Errorf("%s: not zero: %v", what, err)
	}
}

// TestOldBytesAreNeverSeen looks for bytes of freed memory wherever memory is given out.
func TestOldBytesAreNeverSeen(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	for pages := uint64(1); pages <= maxStalePages; pages++ {
		w.leaveDirt()
		h := newHostFile(t, make([]byte, pages*pg-3000))
		f := w.mmap(MMapOpts{Length: pages * pg, Prot: rw, Private: true, File: h})
		w.write(w.m, f, 0)
		w.wantZero("copy of a file", w.m, f, int(pages*pg))
		w.leaveDirt()
		a := w.anon(pages * pg)
		w.write(w.m, a, 0)
		c := w.fork()
		w.leaveDirt()
		w.write(c, a+Addr(pages-1)*pg, 0)
		w.wantZero("copy after a fork", c, a, int(pages*pg))
		c.DecUsers()
		w.leaveDirt()
		s := w.mmap(MMapOpts{Length: pages * pg, Prot: rw})
		w.wantZero("shared memory", w.m, s, int(pages*pg))
	}
}

// TestSwappedPagesCountAsTouched: what the host swapped out is not resident, but is not a
// hole either.
func TestSwappedPagesCountAsTouched(t *testing.T) {
	f := newFile(t, 1<<30)
	defer f.Release()
	off, err := f.Allocate(16 * pg)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0}
	for i, touched := range want {
		if touched != 0 {
			f.Bytes(off+uint64(i)*pg, pg)[0] = 1
		}
	}
	for _, resident := range [][]byte{make([]byte, 16), {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}, bytes.Clone(want)} {
		vec := make([]byte, 16)
		copy(vec, resident)
		f.findSwapped(off, vec)
		if !bytes.Equal(vec, want) {
			t.Errorf("resident %v: %v", resident, vec)
		}
	}
}

// askedFile remembers what Translate was asked.
type askedFile struct {
	*hostFile
	writes []bool
}

func (a *askedFile) Translate(off, length uint64, write bool) (Backing, error) {
	a.writes = append(a.writes, write)
	return a.hostFile.Translate(off, length, write)
}

func TestFilesAreToldOfWrites(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	for _, x := range []struct {
		o    MMapOpts
		want bool
	}{
		{MMapOpts{Prot: rw}, true},
		{MMapOpts{Prot: platform.Read}, true}, // mprotect may follow
		{MMapOpts{Prot: platform.Read, MaxProt: platform.Read | exec}, false},
		{MMapOpts{Prot: rw, Private: true}, false},
	} {
		f := &askedFile{hostFile: newHostFile(t, make([]byte, pg))}
		x.o.Length, x.o.File = pg, f
		a := w.mmap(x.o)
		if x.o.Prot&platform.Write != 0 {
			w.write(w.m, a, 1)
		}
		w.read(w.m, a)
		if len(f.writes) == 0 {
			t.Errorf("%+v: was not asked", x.o)
		}
		for _, wr := range f.writes {
			if wr != x.want {
				t.Errorf("%+v: asked with write %v", x.o, wr)
			}
		}
	}
}

func TestInvalidateKeepsPrivateCopies(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	h := newHostFile(t, make([]byte, 64*pg))
	a := w.mmap(MMapOpts{Length: 64 * pg, Prot: rw, Private: true, File: h})
	w.read(w.m, a+40*pg)
	w.write(w.m, a, 5)
	h.Invalidate(0, 64*pg)
	if b := w.read(w.m, a); b != 5 {
		t.Errorf("reads %d", b)
	}
	if _, ok := space(w.m).page(uint64(a + 41*pg)); ok {
		t.Error("a page of the file is still mapped")
	}
}

func TestStoresBehindTheEndOfAFile(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	h := newHostFile(t, make([]byte, 100))
	a := w.mmap(MMapOpts{Length: 2 * pg, Prot: rw, File: h})
	for _, at := range []Addr{99, 100, 101, 4000} {
		if n, err := w.m.CopyOut(a+at, []byte("12345678")); n != 8 || err != nil {
			t.Errorf("at %d: %d %v", at, n, err)
		}
		var b [8]byte
		if n, err := w.m.CopyIn(a+at, b[:]); n != 8 || err != nil || b[7] != 0 {
			t.Errorf("at %d: %d %v %v", at, n, err, b)
		}
	}
	if n, err := w.m.CopyOut(a+pg, []byte{1}); n != 0 || err == nil {
		t.Errorf("a page behind: %d %v", n, err)
	}
	if st, _ := h.f.Stat(); st.Size() != 100 {
		t.Errorf("the file grew to %d", st.Size())
	}
}
