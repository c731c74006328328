package mm

import (
	"runtime"
	"testing"
	"time"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// TestAside: a part counts with the whole, and what an owner has taken is given back with the owner.
func TestAside(t *testing.T) {
	f, err := NewMemoryFile(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	part := f.Part(1 << 20)
	defer part.ClosePart()
	owner := new([64]byte)
	a := NewAside(part, owner)
	if !a.Take(leastAside-10) || f.TakeAside(11) || !f.TakeAside(10) || a.Take(1) {
		t.Fatalf("%d bytes are kept", f.KeptAside())
	}
	if a.Take(-5); f.KeptAside() != leastAside-5 {
		t.Fatalf("%d bytes are kept", f.KeptAside())
	}
	runtime.KeepAlive(owner)
	for end := time.Now().Add(10 * time.Second); f.KeptAside() != 10; {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("%d bytes are kept for nobody", f.KeptAside())
		}
	}
}

// TestGuardsOfAll: ranges of guards count as vmas do, however few mappings they are in.
func TestGuardsOfAll(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	const pages = 2*commonVMAs + 100
	a := w.anon(pages * PageSize)
	w.f.vmas.Add(mostVMAs)
	defer w.f.vmas.Add(-mostVMAs)
	made := 0
	var err error
	for i := 0; i < pages && err == nil; i += 2 {
		if err = w.m.MAdvise(a+Addr(i*PageSize), PageSize, madvGuardInstall, nil); err == nil {
			made++
		}
	}
	if err != unix.ENOMEM || made < commonVMAs-10 || made > commonVMAs+10 {
		t.Errorf("%v after %d", err, made)
	}
	if _, err := w.m.Fork(); err != unix.ENOMEM {
		t.Errorf("fork: %v", err)
	}
}

// TestVMAsOfAll: where all address spaces together have very many vmas, one with few still gets more, one with many does not.
func TestVMAsOfAll(t *testing.T) {
	w := newWorld(t, 1<<30)
	defer w.close()
	const pages = 2*commonVMAs + 100
	a := w.anon(pages * PageSize)
	others := int64(mostVMAs)
	w.f.vmas.Add(others)
	split := 0
	var err error
	for i := 0; i < pages && err == nil; i += 2 {
		if err = w.m.MProtect(a+Addr(i*PageSize), PageSize, platform.Read, false); err == nil {
			split++
		}
	}
	if err != unix.ENOMEM || split < commonVMAs/2-10 || split > commonVMAs/2+10 {
		t.Errorf("%v after %d", err, split)
	}
	if _, err := w.m.Fork(); err != unix.ENOMEM {
		t.Errorf("fork: %v", err)
	}
	if err := w.m.MUnmap(a, pages*PageSize); err != nil {
		t.Error(err)
	}
	if n := w.f.vmas.Load() - others; n > 10 {
		t.Errorf("%d vmas are counted after they are gone", n)
	}
	w.f.vmas.Add(-others)
	c, err := w.m.Fork()
	if err != nil {
		t.Fatal(err)
	}
	c.DecUsers()
	w.m.IncUsers()
	w.m.DecUsers()
	if n, want := w.f.vmas.Load(), int64(w.m.vmas.len()); n != want {
		t.Errorf("%d vmas are counted of %d", n, want)
	}
}
