package kvm

import (
	"errors"
	"os"
	"slices"
	"testing"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// Where tests map things.
const (
	codeAt  = 0x400000
	dataAt  = 0x10000000
	stackAt = 0x20000000
)

// testGuest is a guest with a page of code, a page of stack, and files.
type testGuest struct {
	*testing.T
	p    *Platform
	fd   int
	mem  []byte
	as   *addressSpace
	c    *context
	regs arch.Registers
	text platform.Change // see patchGuest
}

// filePages is the size of the guest's memory file: code, stack, data.
const filePages = 64

func newGuest(t *testing.T, p *Platform, code ...byte) *testGuest {
	t.Helper()
	g := &testGuest{T: t, p: p}
	var err error
	if g.fd, err = unix.MemfdCreate("guest", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(g.fd) })
	if err = unix.Ftruncate(g.fd, filePages*pageSize); err != nil {
		t.Fatal(err)
	}
	if g.mem, err = unix.Mmap(g.fd, 0, filePages*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(g.mem) })
	copy(g.mem, code)
	g.c = p.NewContext(nil).(*context)
	t.Cleanup(g.c.Release)
	g.space()
	return g
}

// space gives the guest a fresh address space.
func (g *testGuest) space() {
	g.as = g.p.newSpace()
	g.apply(g.at(codeAt, 0, platform.Read|platform.Exec), g.at(stackAt-pageSize, 1, platform.Read|platform.Write))
	g.regs = arch.Registers{Rip: codeAt, Rsp: stackAt - 64}
}

// at is a Map of a page of the memory file.
func (g *testGuest) at(addr, page uint64, prot platform.Prot) platform.Change {
	return platform.Change{Op: platform.Map, Prot: prot, File: int32(g.fd), Addr: addr, Length: pageSize, Offset: page * pageSize}
}

func (g *testGuest) apply(list ...platform.Change) {
	g.Helper()
	if err := g.as.Apply(list); err != nil {
		g.Fatal(err)
	}
}

// run runs the guest from the start of its code.
func (g *testGuest) run() platform.Event {
	g.Helper()
	g.regs.Rip, g.regs.Eflags = codeAt, fixedFlags
	ev, err := g.c.Run(g.as, &g.regs)
	if err != nil {
		g.Fatal(err)
	}
	return ev
}

// want runs the guest and checks how it stopped.
func (g *testGuest) want(want platform.Event) {
	g.Helper()
	if ev := g.run(); ev != want {
		g.Fatalf("%+v, want %+v (rip %#x)", ev, want, g.regs.Rip)
	}
}

var syscallEvent = platform.Event{Kind: platform.Syscall}

// Programs: load or store a word at (%rbx), then call.
var (
	loadText  = []byte{0x48, 0x8b, 0x03, 0x0f, 0x05}
	storeText = []byte{0x48, 0x89, 0x03, 0x0f, 0x05}
)

// TestTruncated reads a host file that becomes shorter, and longer again.
func TestTruncated(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 4 {
		if _, err := f.WriteAt([]byte{byte(10 + i)}, int64(i)*pageSize); err != nil {
			t.Fatal(err)
		}
	}
	g.apply(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(f.Fd()), Addr: dataAt, Length: 8 * pageSize})
	read := func(page uint64, want platform.Event) {
		t.Helper()
		g.regs.Rbx = dataAt + page*pageSize
		g.want(want)
	}
	bus := func(page uint64) platform.Event {
		return platform.Event{Kind: platform.Fault, Signal: unix.SIGBUS, Code: busAdrErr, Access: platform.Read, Addr: dataAt + page*pageSize}
	}
	for range 2 {
		for page := range uint64(4) {
			if read(page, syscallEvent); page < 3 && g.regs.Rax != 10+page {
				t.Fatalf("page %d: %d", page, g.regs.Rax)
			}
		}
		read(4, bus(4))
		if err := f.Truncate(pageSize); err != nil {
			t.Fatal(err)
		}
		read(3, bus(3))
		read(1, bus(1))
		read(0, syscallEvent)
		if err := f.Truncate(4 * pageSize); err != nil {
			t.Fatal(err)
		}
		read(1, syscallEvent)
		if g.regs.Rax != 0 {
			t.Fatalf("a hole reads as %d", g.regs.Rax)
		}
		for i := range 4 {
			f.WriteAt([]byte{byte(10 + i)}, int64(i)*pageSize)
		}
	}
}

// TestReadOnlyFile maps a file that is open for reading only.
func TestReadOnlyFile(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := platform.Change{Op: platform.Map, Prot: platform.Read | platform.Write, File: int32(f.Fd()), Addr: dataAt, Length: pageSize}
	if err := g.as.Apply([]platform.Change{c}); err != unix.EACCES {
		t.Fatalf("mapped for writing: %v", err)
	}
	c.Prot = platform.Read
	g.apply(c)
	g.regs.Rbx = dataAt
	g.want(syscallEvent)
	if byte(g.regs.Rax) != 0x7f {
		t.Errorf("the program begins with %#x", g.regs.Rax)
	}
}

// TestFramesUsedAgain releases address spaces and uses their frames again, with other pages at the same
// addresses: nothing of the old ones may be left.
func TestFramesUsedAgain(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, storeText...)
	g.regs.Rbx = dataAt
	for round := range uint64(40) {
		old, now := 2+round%2, 3-round%2
		g.apply(g.at(dataAt, old, platform.Read|platform.Write))
		g.regs.Rbx, g.regs.Rax = dataAt, 1
		g.want(syscallEvent)
		g.as.Release()
		p.reuse()
		le.PutUint64(g.mem[old*pageSize:], 0)
		g.space()
		g.regs.Rbx, g.regs.Rax = dataAt, 2
		g.want(platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: segvMapErr, Access: platform.Write, Addr: dataAt})
		g.apply(g.at(dataAt, now, platform.Read))
		g.want(platform.Event{Kind: platform.Fault, Signal: unix.SIGSEGV, Code: segvAccErr, Access: platform.Write, Addr: dataAt})
		if w := le.Uint64(g.mem[old*pageSize:]); w != 0 {
			t.Fatalf("round %d: the page of a released address space was written: %d", round, w)
		}
	}
}

// TestWindows maps more files than windows are kept for.
func TestWindows(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	const files = 2*maxIdle + 10
	for i := range uint64(files) {
		fd, err := unix.MemfdCreate("window", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(fd, []byte{byte(i), byte(i >> 8), 0, 0, 0, 0, 0, 0}, 0); err != nil {
			t.Fatal(err)
		}
		g.apply(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(fd), Addr: dataAt, Length: pageSize})
		unix.Close(fd)
		g.regs.Rbx = dataAt
		if g.want(syscallEvent); g.regs.Rax != i {
			t.Fatalf("file %d reads as %d", i, g.regs.Rax)
		}
		g.as.Release()
		g.space()
	}
	p.mem.mu.Lock()
	defer p.mem.mu.Unlock()
	if n := len(p.mem.byGPA); n > maxIdle+2 {
		t.Errorf("%d windows are left", n)
	}
}

// TestWindowsKept has one address space after the other map the same file: its window stays.
func TestWindowsKept(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	for range maxIdle + 10 {
		g.as.Release()
		g.space()
		g.apply(g.at(codeAt, 0, platform.Read|platform.Exec))
	}
	p.mem.mu.Lock()
	defer p.mem.mu.Unlock()
	if n := len(p.mem.idle); n > 1 || p.mem.nextSlot > firstSlot+8 {
		t.Errorf("%d windows are idle, slots up to %d were used", n, p.mem.nextSlot)
	}
	for w := range g.as.windows {
		if w.refs != 1 || slices.Contains(p.mem.idle, w) {
			t.Errorf("a window in use is idle, with %d references", w.refs)
		}
	}
}

// TestDrops maps pages so far apart that an address space's tables become too many: it starts anew.
func TestDrops(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	before := g.as.Drops()
	for i := uint64(1); g.as.Drops() == before; i++ {
		if i > maxFrames {
			t.Fatal("nothing was dropped")
		}
		g.apply(g.at(i<<30, 2, platform.Read))
	}
	if n := g.as.tables.Frames(); n > 8 {
		t.Errorf("%d frames afterwards", n)
	}
	ev := g.run()
	if ev.Kind != platform.Fault || ev.Addr != codeAt || ev.Code != segvMapErr {
		t.Errorf("%+v", ev)
	}
}

// TestWindowsHeld has one address space map file after file: it lets go of windows that it does not use.
func TestWindowsHeld(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	for i := range uint64(maxWindows + 100) {
		fd, err := unix.MemfdCreate("window", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		unix.Pwrite(fd, []byte{byte(i), byte(i >> 8), 0, 0, 0, 0, 0, 0}, 0)
		g.apply(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(fd), Addr: dataAt, Length: pageSize})
		unix.Close(fd)
	}
	if len(g.as.windows) >= maxWindows || g.as.Drops() == 0 {
		t.Errorf("%d windows are held, %d drops", len(g.as.windows), g.as.Drops())
	}
	g.apply(g.at(codeAt, 0, platform.Read|platform.Exec))
	g.regs.Rbx = dataAt
	if g.want(syscallEvent); g.regs.Rax != maxWindows+99 {
		t.Errorf("the last file reads as %d", g.regs.Rax)
	}
}

// TestShrink empties an address space that does not run; it goes on after its faults.
func TestShrink(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	g.apply(g.at(dataAt, 2, platform.Read))
	g.regs.Rbx = dataAt
	g.want(syscallEvent)
	p.shrink()
	p.reuse()
	if g.as.Drops() != 1 {
		t.Errorf("dropped %d times", g.as.Drops())
	}
	if ev := g.run(); ev.Kind != platform.Fault || ev.Addr != codeAt {
		t.Fatalf("%+v", ev)
	}
	g.apply(g.at(codeAt, 0, platform.Read|platform.Exec), g.at(dataAt, 2, platform.Read))
	g.want(syscallEvent)
}

// TestStray has the guest touch the address by which calls leave the machine, in every way that KVM's emulator
// knows; whoever uses the processor next keeps its registers.
func TestStray(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	if p.entry != entryRing3 {
		t.Skip("SYSCALL arrives in ring 0 here: there is no such address")
	}
	other := newGuest(t, p, 0x0f, 0x05)
	for _, code := range [][]byte{
		{0x48, 0x8b, 0x03}, {0x48, 0x89, 0x03}, {0x48, 0xff, 0x03}, {0xf0, 0x48, 0x0f, 0xc1, 0x03}, {0x8a, 0x03},
		{0xf3, 0xaa}, {0xf3, 0x48, 0xab}, {0xf3, 0xa4}, {0xf3, 0x48, 0xa5}, {0xf3, 0xac}, {0xf3, 0xa6}, {0xff, 0x33}, {0x8f, 0x03},
		{0xff, 0x23}, {0xff, 0x13}, {0x0f, 0xae, 0x03}, {0x0f, 0x29, 0x03}, {0xc5, 0xfe, 0x6f, 0x03}, {0x62, 0xf1, 0x7c, 0x48, 0x29, 0x03},
	} {
		g := newGuest(t, p, append(code, 0x0f, 0x05)...)
		g.regs.Rbx, g.regs.Rdi, g.regs.Rsi, g.regs.Rcx = exitAddr, exitAddr, exitAddr, 1<<40
		ev := g.run()
		if ev.Kind == platform.Interrupted {
			t.Errorf("% x: %+v", code, ev)
		}
		g.c.Leave()
		other.regs = arch.Registers{Rsp: 1, Rax: 2, Rbx: 3, Rdx: 4, Rsi: 5, Rdi: 6, Rbp: 7, R8: 8, R15: 15}
		want := other.regs
		other.want(syscallEvent)
		got := other.regs
		got.Rip, got.Rcx, got.R11, got.Eflags, got.Cs, got.Ss = 0, 0, 0, 0, 0, 0
		if got != want {
			t.Errorf("% x: another guest has %+v, want %+v", code, got, want)
		}
		other.c.Leave()
	}
}

// TestTripleFault takes the machine's handlers away: the guest dies, and its processor runs others afterwards.
func TestTripleFault(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	bad, good := newGuest(t, p, 0x0f, 0x0b), newGuest(t, p, 0x0f, 0x0b)
	frame := p.kernel[(idtAddr-kernelBase)/pageSize] & (1<<52 - 1<<12)
	idt := bytesOf(p.pool.Table(frame))
	clear(idt)
	bad.regs.Rip = codeAt
	ev, err := bad.c.Run(bad.as, &bad.regs)
	if died := new(platform.Died); !errors.As(err, &died) {
		t.Fatalf("%+v, %v", ev, err)
	}
	t.Log(err)
	bad.c.Leave()
	copy(idt, idtPage())
	good.want(platform.Event{Kind: platform.Fault, Signal: unix.SIGILL, Code: illIllOpn, Addr: codeAt})
	if _, err := bad.c.Run(bad.as, &bad.regs); err == nil {
		t.Error("a dead address space runs")
	}
}

// TestTruncatedShared shortens a host file that two address spaces map by the same tables, and lengthens it.
func TestTruncatedShared(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	fd, err := unix.MemfdCreate("file", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size := func(n int64) {
		if err := unix.Ftruncate(fd, n); err != nil {
			t.Fatal(err)
		}
	}
	size(4 * pageSize)
	g.apply(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(fd), Addr: dataAt, Length: 4 * pageSize})
	child := p.newSpace()
	defer child.Release()
	if err := g.as.Share(child); err != nil {
		t.Fatal(err)
	}
	g.regs.Rbx = dataAt + 3*pageSize
	bus := platform.Event{Kind: platform.Fault, Signal: unix.SIGBUS, Code: busAdrErr, Access: platform.Read, Addr: g.regs.Rbx}
	parent := g.as
	for range 3 {
		g.as = parent
		g.want(syscallEvent)
		size(pageSize)
		g.want(bus)
		g.as = child
		g.want(bus)
		size(4 * pageSize)
		g.want(syscallEvent)
	}
	parent.Release()
	g.want(syscallEvent)
}

// TestGivenBack frees memory that a guest has written to: the file gives it back to the host although a window has it mapped, and
// the guest reads zeros there.
func TestGivenBack(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	const first, pages = 8, 40
	for i := uint64(first); i < first+pages; i++ {
		g.mem[i*pageSize] = 1
		g.apply(g.at(dataAt+i*pageSize, i, readWrite))
		g.regs.Rbx = dataAt + i*pageSize
		if g.want(syscallEvent); g.regs.Rax != 1 {
			t.Fatalf("page %d: %d", i, g.regs.Rax)
		}
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(g.fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	before := blocks()
	g.apply(platform.Change{Op: platform.Unmap, Addr: dataAt + first*pageSize, Length: pages * pageSize})
	if err := unix.Fallocate(g.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, first*pageSize, pages*pageSize); err != nil {
		t.Fatal(err)
	}
	if n := before - blocks(); n < pages*pageSize/512 {
		t.Errorf("%d blocks of %d were given back", n, pages*pageSize/512)
	}
	g.apply(g.at(dataAt, first, platform.Read))
	g.regs.Rbx = dataAt
	if g.want(syscallEvent); g.regs.Rax != 0 {
		t.Errorf("freed memory reads as %d", g.regs.Rax)
	}
}

// TestSlotsOnDemand maps pages here and there in a large file: windows, which are memory slots, are made for those alone.
func TestSlotsOnDemand(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	g := newGuest(t, p, loadText...)
	fd, err := unix.MemfdCreate("large", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	before := len(p.mem.byGPA)
	for i, window := range []uint64{0, 0, 5, 1000, 5} {
		offset := window*windowSize + uint64(i)*pageSize
		if err := unix.Ftruncate(fd, int64(offset+pageSize)); err != nil { // the file grows, and shrinks
			t.Fatal(err)
		}
		unix.Pwrite(fd, []byte{byte(i + 1)}, int64(offset))
		g.apply(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(fd), Addr: dataAt, Length: pageSize, Offset: offset})
		g.regs.Rbx = dataAt
		if g.want(syscallEvent); g.regs.Rax != uint64(i+1) {
			t.Errorf("page %d reads as %d", i, g.regs.Rax)
		}
	}
	var sizes uint64
	for _, w := range p.mem.files[fileKeyOf(t, fd)] {
		sizes += w.length()
	}
	if n := len(p.mem.byGPA) - before; n != 3 || sizes > 3*windowSize {
		t.Errorf("%d windows of %d bytes", n, sizes)
	}
}

func fileKeyOf(t *testing.T, fd int) fileKey {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return fileKey{st.Dev, st.Ino}
}

// TestDebugTraps tells steps from INT1, which is as easily taken for one.
func TestDebugTraps(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	trap := func(code int32, addr uint64) platform.Event { return fault(unix.SIGTRAP, code, addr) }
	for _, test := range []struct {
		name  string
		code  []byte
		flags uint64
		want  []platform.Event // any of them
	}{
		{"int1", []byte{0xf1, 0x90}, 0, []platform.Event{
			trap(trapBrkpt, codeAt), trap(trapBrkpt, codeAt+1), fault(unix.SIGILL, illIllOpn, codeAt), // QEMU does not know it
		}},
		{"step", []byte{0x90, 0x90}, arch.FlagTF, []platform.Event{trap(trapTrace, codeAt+1)}},
		{"step to int1", []byte{0x90, 0xf1}, arch.FlagTF, []platform.Event{trap(trapTrace, codeAt+1)}},
		{"last step to int1", []byte{0x9d, 0xf1}, arch.FlagTF, []platform.Event{trap(trapTrace, codeAt+1)}}, // popf
	} {
		g := newGuest(t, p, test.code...)
		le.PutUint64(g.mem[2*pageSize-64:], fixedFlags) // what popf finds
		g.regs.Rip, g.regs.Eflags = codeAt, test.flags
		if ev, err := g.c.Run(g.as, &g.regs); err != nil || !slices.Contains(test.want, ev) {
			t.Errorf("%s: %+v %v, want one of %+v", test.name, ev, err, test.want)
		}
	}
}
