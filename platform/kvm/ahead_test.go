package kvm

import (
	"os"
	"path/filepath"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

const aheadPages = 512

// aheadGuest is a guest that stores to (%rbx), and a large file mapped at dataAt, whose Map change it returns.
func aheadGuest(t *testing.T, p *Platform, fd int) (*testGuest, platform.Change) {
	t.Helper()
	if !p.mem.shadow {
		t.Skip("the host has no shadow page tables")
	}
	if err := unix.Ftruncate(fd, aheadPages*pageSize); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, p, 0x48, 0x89, 0x1b, 0x0f, 0x05) // mov %rbx,(%rbx); syscall
	return g, platform.Change{
		Op: platform.Map, Prot: platform.Read | platform.Write, File: int32(fd), Addr: dataAt, Length: aheadPages * pageSize,
	}
}

// memoryFile is an empty file that no directory has.
func memoryFile(t *testing.T) int {
	t.Helper()
	fd, err := unix.MemfdCreate("ahead", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// stores has the guest store to pages of what is mapped at dataAt, and tells how often it left guest code.
func (g *testGuest) stores(pages ...uint64) (entries uint64) {
	g.Helper()
	first := uint64(0)
	if g.c.v != nil {
		first = g.c.v.entries
	}
	for _, page := range pages {
		g.regs.Rbx = dataAt + page*pageSize
		g.want(syscallEvent)
	}
	return g.c.v.entries - first
}

// TestAhead has a guest use a large piece of memory: of little use the host gives little, and of all in turn more at a time than a page.
func TestAhead(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	fd := memoryFile(t)
	g, all := aheadGuest(t, p, fd)
	given := func() uint64 {
		var st unix.Stat_t
		unix.Fstat(fd, &st)
		return uint64(st.Blocks) * 512 / pageSize
	}
	g.regs.Rbx = dataAt + 100*pageSize
	if ev := g.run(); ev.Kind != platform.Fault {
		t.Fatalf("%+v", ev)
	}
	g.apply(all)
	if n := g.stores(100); n != 1 || given() > 8 {
		t.Errorf("a page took %d entries and the host gave %d pages", n, given())
	}
	if n := g.stores(300, 20); n != 4 || given() > 3*8 {
		t.Errorf("two more pages took %d entries and the host has given %d pages", n, given())
	}
	var pages []uint64
	for i := range uint64(aheadPages) {
		pages = append(pages, i)
	}
	if n := g.stores(pages...); n > aheadPages+20 {
		t.Errorf("%d pages took %d entries", aheadPages, n)
	}
	b := make([]byte, 8)
	for i := range pages {
		if _, err := unix.Pread(fd, b, int64(i)*pageSize); err != nil || le.Uint64(b) != dataAt+uint64(i)*pageSize {
			t.Fatalf("page %d reads % x, %v", i, b, err)
		}
	}
}

// TestAheadShort has the file become shorter than what is mapped and not asked for yet.
func TestAheadShort(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	fd := memoryFile(t)
	g, all := aheadGuest(t, p, fd)
	g.apply(all)
	unix.Ftruncate(fd, 10*pageSize)
	g.stores(9)
	for _, page := range []uint64{10, 100} {
		g.regs.Rbx = dataAt + page*pageSize
		g.want(platform.Event{Kind: platform.Fault, Signal: unix.SIGBUS, Code: busAdrErr, Access: platform.Write, Addr: g.regs.Rbx})
	}
}

// TestAheadNamed maps a file that has a name, and one that had: nothing is written to that the guest does not write to.
func TestAheadNamed(t *testing.T) {
	t.Run("named", func(t *testing.T) { testAheadNamed(t, func(string) error { return nil }) })
	t.Run("deleted", func(t *testing.T) { testAheadNamed(t, os.Remove) })
}

func testAheadNamed(t *testing.T, made func(name string) error) {
	p := testPlatform(t)
	defer p.Release()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := made(f.Name()); err != nil {
		t.Fatal(err)
	}
	g, all := aheadGuest(t, p, int(f.Fd()))
	g.apply(all)
	g.stores(100)
	var st unix.Stat_t
	unix.Fstat(int(f.Fd()), &st)
	if n := st.Blocks * 512 / pageSize; n > 1 {
		t.Errorf("the file has %d pages", n)
	}
}
