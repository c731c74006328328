package mm

import (
	"errors"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

func TestAnonymousMemory(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(8 << 20)
	if b := w.read(w.m, a+5); b != 0 {
		t.Fatalf("fresh memory reads %d", b)
	}
	w.write(w.m, a+4096, 7)
	var buf [2]byte
	if n, err := w.m.CopyIn(a+4095, buf[:]); n != 2 || err != nil || buf != [2]byte{0, 7} {
		t.Fatalf("CopyIn: %d %v %v", n, err, buf)
	}
	if n, err := w.m.CopyOut(a+8<<20-3, []byte("abcdef")); n != 3 || err != unix.EFAULT {
		t.Fatalf("CopyOut over the end: %d %v", n, err)
	}
	if b := w.read(w.m, a+8<<20-1); b != 'c' {
		t.Fatalf("guest reads %q", b)
	}
	if err := w.m.MUnmap(a, 8<<20); err != nil {
		t.Fatal(err)
	}
	var fault *FaultError
	if err := w.m.HandleFault(a, 0); !errors.As(err, &fault) || !fault.MapErr {
		t.Fatalf("fault after munmap: %v", err)
	}
	if n := len(space(w.m).pages); n != 0 {
		t.Fatalf("%d pages are still mapped", n)
	}
	if n, err := w.m.CopyIn(a, buf[:]); n != 0 || err != unix.EFAULT {
		t.Fatalf("CopyIn after munmap: %d %v", n, err)
	}
}

func TestForkCopiesOnWrite(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.anon(1 << 20)
	s := w.mmap(MMapOpts{Length: 1 << 20, Prot: rw})
	for i := Addr(0); i < 1<<20; i += 4096 {
		w.write(w.m, a+i, 1)
		w.write(w.m, s+i, 1)
	}
	c, err := w.m.Fork()
	if err != nil {
		t.Fatal(err)
	}
	w.write(w.m, a, 2)
	w.write(c, a+4096, 3)
	w.write(c, s, 4)
	if _, err := c.CopyOut(a+8192, []byte{5}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		m    *MemoryManager
		addr Addr
		want byte
	}{{w.m, a, 2}, {c, a, 1}, {w.m, a + 4096, 1}, {c, a + 4096, 3}, {w.m, s, 4}, {c, s, 4}, {w.m, a + 8192, 1}, {c, a + 8192, 5}} {
		if b := w.read(x.m, x.addr); b != x.want {
			t.Errorf("%#x reads %d, want %d", x.addr, b, x.want)
		}
	}
	c.DecUsers()
	before := w.f.Usage()
	w.write(w.m, a+1<<19, 9)
	if after := w.f.Usage(); after != before {
		t.Errorf("a write copied %d bytes although the child is gone", after-before)
	}
}

func TestPrivateHostFile(t *testing.T) {
	w := newWorld(t, 1<<30)
	content := make([]byte, 200<<10+100)
	for i := range content {
		content[i] = byte(i >> 12)
	}
	h := newHostFile(t, content)
	a := w.mmap(MMapOpts{Length: 300 << 10, Prot: rw, Private: true, File: h})
	if b := w.read(w.m, a+50<<12); b != 50 {
		t.Errorf("page 50 reads %d", b)
	}
	w.write(w.m, a+20<<12, 99)
	var got [3]byte
	if _, err := w.m.CopyIn(a+20<<12-1, got[:]); err != nil || got != [3]byte{19, 99, 20} {
		t.Errorf("CopyIn: %v %v", got, err)
	}
	var disk [1]byte
	if _, err := h.f.ReadAt(disk[:], 20<<12); err != nil || disk[0] != 20 {
		t.Errorf("the file has %d: %v", disk, err)
	}
	var tail [200]byte
	if n, err := w.m.CopyIn(a+200<<10, tail[:]); n != 200 || err != nil || tail[99] != 50 || tail[100] != 0 {
		t.Errorf("the file's last page: %d %v", n, err)
	}
	var bus *BusError
	if err := w.m.HandleFault(a+250<<10, 0); !errors.As(err, &bus) || bus.Addr != a+250<<10 {
		t.Errorf("behind the end: %v", err)
	}
	if n, err := w.m.CopyIn(a+250<<10, got[:]); n != 0 || err != unix.EFAULT {
		t.Errorf("CopyIn behind the end: %d %v", n, err)
	}
	w.close()
	if h.mapped() != 0 || !h.Empty() {
		t.Errorf("%d bytes are still mapped", h.mapped())
	}
}

func TestSharedHostFile(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	h := newHostFile(t, make([]byte, 5000))
	a := w.mmap(MMapOpts{Length: 8192, Prot: rw, File: h})
	w.write(w.m, a+1, 1)
	if n, err := w.m.CopyOut(a+4990, make([]byte, 100)); n != 100 || err != nil {
		t.Errorf("CopyOut across the end: %d %v", n, err)
	}
	if st, _ := h.f.Stat(); st.Size() != 5000 {
		t.Errorf("the file grew to %d", st.Size())
	}
	var b [2]byte
	if _, err := h.f.ReadAt(b[:], 0); err != nil || b[1] != 1 {
		t.Errorf("the file has %v: %v", b, err)
	}
	if v, err := w.m.CompareAndSwapUint32(a+8, 0, 77); v != 0 || err != nil {
		t.Errorf("CompareAndSwap: %d %v", v, err)
	}
	if v, err := w.m.LoadUint32(a + 8); v != 77 || err != nil {
		t.Errorf("Load: %d %v", v, err)
	}
}

func TestForbiddenAccess(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	a := w.mmap(MMapOpts{Length: 8192, Prot: platform.Read, Private: true})
	n := w.mmap(MMapOpts{Length: 8192, Prot: 0, Private: true})
	for _, known := range []bool{false, true} {
		var fault *FaultError
		b := byte(1)
		if err := access(w.m, a, true, known, &b); !errors.As(err, &fault) || fault.MapErr {
			t.Errorf("write to read-only memory: %v", err)
		}
		if err := access(w.m, n, false, known, &b); !errors.As(err, &fault) || fault.MapErr {
			t.Errorf("read of PROT_NONE: %v", err)
		}
	}
	if _, err := w.m.CopyOut(a, []byte{1}); err != unix.EFAULT {
		t.Errorf("CopyOut to read-only memory: %v", err)
	}
	if _, err := w.m.CopyOutForce(a, []byte{42}); err != nil {
		t.Errorf("CopyOutForce: %v", err)
	}
	if b := w.read(w.m, a); b != 42 {
		t.Errorf("reads %d", b)
	}
}

func TestStackGrows(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	top := w.m.Layout().StackTop &^ 4095
	a := w.mmap(MMapOpts{Addr: top - 8192, Length: 8192, Prot: rw, Private: true, Fixed: true, GrowsDown: true})
	w.write(w.m, a-64<<10, 3)
	if _, err := w.m.CopyOut(a-1<<20, []byte{4}); err != nil {
		t.Fatal(err)
	}
	if b := w.read(w.m, a-1<<20); b != 4 {
		t.Fatalf("reads %d", b)
	}
	if _, err := w.m.MMap(MMapOpts{Addr: a - 4<<20, Length: 4096, Prot: rw, Private: true, Fixed: true}); err != nil {
		t.Fatal(err)
	}
	w.write(w.m, a-4<<20+4096+stackGuard, 1)
	if err := w.m.HandleFault(a-4<<20+stackGuard, 0); err == nil {
		t.Error("the stack grew into its guard gap")
	}
}
