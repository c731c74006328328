package systrap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

// guest is a program in an address space of its own: a page of code and a page of data.
type guest struct {
	*context
	as   *addressSpace
	regs *arch.Registers
	mem  []byte // both pages

	codeFD int32
	textFD int32 // of a textGuest
}

const guestAt = 0x400000

func newGuest(t testing.TB, p *Platform, code ...byte) *guest {
	t.Helper()
	fd, err := unix.MemfdCreate("code", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Ftruncate(fd, 2*pageSize)
	mem, err := unix.Mmap(fd, 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(mem, code)
	g := &guest{p.NewContext(nil).(*context), nil, startRegs(), mem, int32(fd), -1}
	g.begin(t, p, rand.Uint32())
	t.Cleanup(func() {
		g.Release()
		g.as.Release()
		unix.Munmap(mem)
		unix.Close(fd)
	})
	return g
}

// begin gives the guest an address space of its own with both pages mapped; id is that of its memory.
func (g *guest) begin(t testing.TB, p *Platform, id uint32) {
	t.Helper()
	as, err := p.NewAddressSpace(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := as.Apply([]platform.Change{
		{Op: platform.Map, File: g.codeFD, FileID: id, Addr: guestAt, Length: pageSize, Prot: platform.Read | platform.Exec},
		{Op: platform.Map, File: g.codeFD, FileID: id, Addr: guestAt + pageSize, Length: pageSize, Offset: pageSize, Prot: platform.Read | platform.Write},
	}); err != nil {
		t.Fatal(err)
	}
	g.as = as.(*addressSpace)
}

func startRegs() *arch.Registers {
	return &arch.Registers{Rip: guestAt, Rsp: guestAt + 2*pageSize, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0x202}
}

func testPlatform(t testing.TB) *Platform {
	t.Helper()
	p, err := New(true)
	if err != nil {
		t.Skipf("the host cannot run it: %v", err)
	}
	t.Cleanup(p.Release)
	return p
}

var (
	callCode = []byte{0x0f, 0x05, 0xeb, 0xfc} // syscall; jmp back
	loopCode = []byte{0xeb, 0xfe}             // jmp .
	// forever: rep stosb at rdi for rcx bytes; mov rsi, rdi; mov rdx, rcx; inc al; syscall-free
	smearCode = []byte{0x48, 0x89, 0xf7, 0x48, 0x89, 0xd1, 0xfe, 0xc0, 0xf3, 0xaa, 0xeb, 0xf4}
)

func (g *guest) call(t testing.TB) {
	t.Helper()
	if ev, err := g.Run(g.as, g.regs); err != nil || ev.Kind != platform.Syscall {
		t.Fatalf("%+v %v", ev, err)
	}
}

// bounded runs g once, interrupted after a moment, and fails the test if that does not come back soon.
func (g *guest) bounded(t *testing.T) (platform.Event, error) {
	t.Helper()
	defer time.AfterFunc(time.Millisecond, g.Interrupt).Stop()
	begin := time.Now()
	ev, err := g.Run(g.as, g.regs)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v to come out of guest code", took)
	}
	var died *platform.Died
	if err != nil && !errors.As(err, &died) {
		t.Fatalf("Run: %v", err)
	}
	return ev, err
}

// TestScribble writes all over a thread's area, while it runs and while it does not. Nothing of the sentry's minds, and other
// guests do not notice.
func TestScribble(t *testing.T) {
	p := testPlatform(t)
	other := newGuest(t, p, callCode...)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		g := newGuest(t, p, callCode...)
		g.call(t)
		s, stop := g.s, make(chan struct{})
		var group sync.WaitGroup
		seed := rng.Uint64()
		saved := append([]byte(nil), s.mem...)
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch round % 3 {
				case 0: // words of the block
					binary.LittleEndian.PutUint64(s.mem[8*rng.IntN(48):], rng.Uint64()>>rng.IntN(64))
				case 1: // anything
					s.mem[rng.IntN(len(s.mem))] = byte(rng.Uint32())
				case 2: // what was there before
					copy(s.mem[4:], saved[4:])
				}
			}
		})
		for range 10 {
			if _, err := g.bounded(t); err != nil {
				break
			}
			g.FPU()
			g.regs = startRegs()
		}
		close(stop)
		group.Wait()
		g.Leave()
		other.call(t)
	}
}

// TestOwnArea has the guest itself write over areas, its own among them, without end.
func TestOwnArea(t *testing.T) {
	p := testPlatform(t)
	other := newGuest(t, p, callCode...)
	for at := uint64(0); at < areaSize; at += areaSize / 16 {
		g := newGuest(t, p, callCode...)
		g.call(t)
		copy(g.mem[64:], smearCode)
		g.regs.Rip, g.regs.Rsi, g.regs.Rdx = guestAt+64, g.s.base()+at, areaSize-at
		for range 5 {
			if _, err := g.bounded(t); err != nil {
				break
			}
		}
		g.Leave()
		other.call(t)
	}
}

// TestHandlersCode jumps to every byte of the handler and of the stub, with its own area, another, and nonsense in the registers.
func TestHandlersCode(t *testing.T) {
	p := testPlatform(t)
	other := newGuest(t, p, callCode...)
	other.call(t)
	rng := rand.New(rand.NewPCG(4, 5))
	var g *guest
	died := 0
	for at := uint64(0); at < 2*pageSize; at++ {
		target := codeAt + at
		if at >= pageSize {
			target = 0x7fffffffe000 + at - pageSize
		}
		if at%pageSize > 0x400 {
			continue
		}
		if g == nil {
			g = newGuest(t, p, callCode...)
			g.call(t)
		}
		r := startRegs()
		r.Rip = target
		for _, reg := range []*uint64{&r.Rbx, &r.Rdx, &r.Rdi, &r.Rax, &r.Rcx, &r.R9, &r.R15, &r.Rsp, &r.R12} {
			*reg = []uint64{g.s.base(), other.s.base(), g.s.base() + frameRoom, guestAt + pageSize, 0, rng.Uint64()}[rng.IntN(6)]
		}
		g.regs = r
		if _, err := g.bounded(t); err != nil {
			g.Leave()
			g, died = nil, died+1
		}
		if at%64 == 0 {
			other.call(t)
		}
	}
	t.Logf("%d guests died of it", died)
}

// TestNoHostCalls makes the calls by which a guest could free itself, at its own SYSCALL and at the handler's: all of them
// arrive here, none is made.
func TestNoHostCalls(t *testing.T) {
	p := testPlatform(t)
	image, _, _, err := image()
	if err != nil {
		t.Fatal(err)
	}
	sites := []uint64{guestAt}
	for i := range pageSize {
		if image[i] == 0x0f && image[i+1] == 0x05 {
			sites = append(sites, codeAt+uint64(i))
		}
	}
	g := newGuest(t, p, callCode...)
	g.call(t)
	s := g.s
	for _, site := range sites {
		for _, args := range [][4]uint64{
			{unix.SYS_RT_SIGPROCMASK, 0, guestAt + pageSize, 0}, {unix.SYS_RT_SIGACTION, uint64(unix.SIGSYS), guestAt + pageSize, 0},
			{unix.SYS_RT_SIGRETURN}, {unix.SYS_SIGALTSTACK, guestAt + pageSize}, {unix.SYS_MUNMAP, codeAt, pageSize},
			{unix.SYS_MPROTECT, codeAt, pageSize, 7}, {unix.SYS_MREMAP, codeAt, pageSize, pageSize}, {unix.SYS_MMAP, s.base(), areaSize, 3},
			{unix.SYS_CLONE, unix.CLONE_VM}, {unix.SYS_EXIT}, {unix.SYS_EXIT_GROUP}, {unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG},
			{unix.SYS_SECCOMP, 1}, {unix.SYS_CLOSE_RANGE}, {unix.SYS_PWRITE64, uint64(p.areasFD), guestAt, 8}, {unix.SYS_KILL, uint64(s.TID), 9},
			{unix.SYS_FUTEX, guestAt + pageSize, 0, 0}, {unix.SYS_FUTEX, s.base(), 5, 1}, {unix.SYS_FUTEX, s.base() - 1<<32, 1, 1},
			{unix.SYS_FUTEX, areasAt + maxSeats*areaSize, 1, 1}, {unix.SYS_FUTEX, areasAt - 4, 1, 1},
		} {
			g.regs = startRegs()
			g.regs.Rip, g.regs.Rax, g.regs.Rdi, g.regs.Rsi, g.regs.Rdx = site, args[0], args[1], args[2], args[3]
			ev, err := g.Run(g.as, g.regs)
			if err != nil || ev.Kind != platform.Syscall || g.regs.Rax != args[0] || g.regs.Rip != site+2 {
				t.Fatalf("call %v at %#x: %+v %v, rip %#x", args, site, ev, err, g.regs.Rip)
			}
		}
	}
	if g.s != s {
		t.Error("another thread runs it now")
	}
}

// TestNoDescriptors looks at what a thread of the guest holds.
func TestNoDescriptors(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	names, err := listDir("/proc/" + itoa(g.s.TID) + "/fd")
	if err != nil || len(names) > 0 {
		t.Errorf("%q %v", names, err)
	}
}

// TestSleeper has the guest make the one call it is allowed, a wait without end: it comes out when kicked.
func TestSleeper(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	g.regs = startRegs()
	g.regs.Rax, g.regs.Rdi, g.regs.Rsi, g.regs.Rdx = unix.SYS_FUTEX, g.s.base()+fpuOffset-8, 0, 0
	if ev, err := g.bounded(t); err != nil || ev.Kind != platform.Interrupted {
		t.Errorf("%+v %v", ev, err)
	}
}

// TestIdle looks whether a guest that waits in the sentry takes processor time.
func TestIdle(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	for range 1000 {
		g.call(t)
	}
	s := g.s
	g.Leave()
	before := time.Duration(-1)
	for begin := time.Now(); s.used() != before && time.Since(begin) < time.Minute; time.Sleep(50 * time.Millisecond) {
		before = s.used() // its thread comes to rest by itself
	}
	time.Sleep(500 * time.Millisecond)
	if used := s.used() - before; used > 0 || before == 0 {
		t.Errorf("%v of %v while idle", used, before)
	}
	if free, places := p.turns.Free(), p.pairs.CPUs()/2; p.pairs.Busy() || free != places {
		t.Errorf("the monitor ticks: %v, places apart: %d of %d are free", p.pairs.Busy(), free, places)
	}
}

// computes waits until the thread has taken a millisecond more of processor time, and tells whether it did.
func computes(s *seat) bool {
	for begin, used := time.Now(), s.used(); s.used() < used+time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			return false
		}
	}
	return true
}

// forge has the sentry take g, which runs on, for interrupted, once f has had a look at the thread's area.
func (g *guest) forge(t *testing.T, f func(s *seat)) *seat {
	t.Helper()
	go func() {
		for g.held.Load() == nil {
			time.Sleep(10 * time.Microsecond)
		}
		s := g.held.Load()
		// A thread that has not begun its turn would take what is forged for the sentry's turn, and wait; and the sentry
		// has a last look at interrupted before it sleeps.
		for atomic.LoadUint32(&s.state) != stateAsleep {
			time.Sleep(10 * time.Microsecond)
		}
		computes(s)
		f(s)
		binary.LittleEndian.PutUint32(s.mem[4:], kindAborted)
		binary.LittleEndian.PutUint32(s.mem[0:], stateSentry)
		g.interrupted.Store(true) // with no kick, which would bring it out
	}()
	if ev, err := g.Run(g.as, g.regs); err != nil || ev.Kind != platform.Interrupted {
		t.Fatalf("%+v %v", ev, err)
	}
	return g.s
}

// rogues are where a thread can go on while the sentry takes it for waiting: in code of its own, and in the handler, which is still
// mapped when nothing else is.
func rogues(t *testing.T) map[string]*arch.Registers {
	t.Helper()
	image, _, _, err := image()
	if err != nil {
		t.Fatal(err)
	}
	// In the loop that spins, with a deadline that is far and a state that stays as it is.
	spin, err := mark(image, 1)
	if err != nil {
		t.Fatal(err)
	}
	load := bytes.Index(image[spin:], []byte{0x49, 0x01, 0xc4}) // add %rax,%r12
	if load < 0 {
		t.Fatal("the handler spins no more")
	}
	odd := slices.IndexFunc(image, func(b byte) bool { return b&stateSentry != 0 })
	inHandler := startRegs()
	inHandler.Rip, inHandler.R12, inHandler.Rbx = codeAt+uint64(spin+load+3), 1<<62, codeAt+uint64(odd)
	return map[string]*arch.Registers{"own code": startRegs(), "handler": inHandler}
}

// TestRogue releases an address space while a thread of its runs on, as one that forged its report does. Whoever gets the blank process
// next has nothing of it: neither does it run, nor are registers or the area as it left them.
func TestRogue(t *testing.T) {
	for name, regs := range rogues(t) {
		t.Run(name, func(t *testing.T) {
			shared := 0
			for range 8 {
				if testRogue(t, testPlatform(t), regs) {
					shared++
				}
			}
			if shared == 0 {
				t.Error("the thread was never used again")
			}
		})
	}
}

// testRogue tells whether the heir of a process with a rogue has its thread too.
func testRogue(t *testing.T, p *Platform, regs *arch.Registers) bool {
	g := newGuest(t, p, loopCode...)
	*g.regs = *regs
	g.regs.R14, g.regs.R15 = 0xabcdef, 0xabcdef
	pattern := []byte("left by the former guest")
	rogue := g.forge(t, func(s *seat) {
		copy(s.mem[stateSize:], pattern)
		for _, part := range parts() {
			copy(s.mem[part.at+part.length-pageSize/2:], pattern)
		}
		copy(s.mem[areaSize-frameRoom-pageSize:], pattern)
	})
	if !computes(rogue) {
		t.Fatal("it does not run on")
	}
	g.Leave()
	g.as.Release()
	for end := time.Now().Add(time.Minute); bytes.Contains(rogue.mem, pattern); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what it left is still there")
		}
	}
	var heir *guest
	for tries := 0; heir == nil || heir.s.proc != rogue.proc; tries++ {
		if tries == 16 {
			t.Fatal("the process is not used again")
		}
		heir = newGuest(t, p, callCode...)
		heir.call(t)
		heir.Leave() // the state is in its memory then
		heir.call(t)
	}
	for range 50 {
		want := *heir.regs
		heir.call(t)
		if r := heir.regs; r.Rip != guestAt+2 || r.R14 != want.R14 || r.R15 != want.R15 || r.Rsp != want.Rsp {
			t.Fatalf("the heir has %+v", r)
		}
	}
	if bytes.Contains(heir.s.mem, pattern) {
		t.Fatal("the heir can read what the former guest left")
	}
	return heir.s.TID == rogue.TID
}
