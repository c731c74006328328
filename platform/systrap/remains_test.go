package systrap

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/blank"

	"golang.org/x/sys/unix"
)

// choke has the idle thread s, as one that has forged its report can, end since there is no room for a signal's frame. The host takes SIGSEGV's
// handler away then, from all that share it.
func (g *guest) choke(t *testing.T, s *seat) {
	t.Helper()
	copy(g.mem[64:], []byte{0x0f, 0x0b}) // ud2
	regs := startRegs()
	regs.Rip, regs.Rsp = guestAt+64, s.base()+parts()[1].at+256
	s.loadFPU(g.FPU())
	s.restore, s.message = s.base()+s.fpu, loadSegments
	s.setRegisters(regs, false)
	if s.give() {
		s.wake()
	}
	soon(t, "its end", func() bool {
		ended, _ := blank.Exited(s.TID)
		return ended
	})
}

// TestHandlersStay has threads that the sentry takes for waiting end in such a way that signals end whoever shares their actions. The next guest
// has faults all the same.
func TestHandlersStay(t *testing.T) {
	for name, threads := range map[string]int{"alone": 1, "one of two": 2} {
		t.Run(name, func(t *testing.T) {
			p, err := newPlatform(1, maxRunning, true, 0)
			if err != nil {
				t.Skipf("the host cannot run it: %v", err)
			}
			t.Cleanup(p.Release)
			g := newGuest(t, p, callCode...)
			others := make([]*context, threads)
			for i := range others {
				others[i] = p.NewContext(nil).(*context)
				if _, err := others[i].Run(g.as, startRegs()); err != nil {
					t.Fatal(err)
				}
			}
			var last *seat
			for _, c := range others {
				last = c.s
				c.Release()
			}
			g.choke(t, last)
			g.as.Release()
			heir := newGuest(t, p, callCode...)
			heir.regs.Rip = 0x10000
			if ev, err := heir.Run(heir.as, heir.regs); err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV {
				t.Errorf("%+v %v, want a fault", ev, err)
			}
		})
	}
}

// free tells whether area i is.
func (p *Platform) free(i int) bool {
	p.areaMu.Lock()
	defer p.areaMu.Unlock()
	return i >= p.usedAreas || slices.Contains(p.freeAreas, i)
}

// TestAreaOfTheDead has one of two threads end. Its area is no other guest's as long as the other thread could write there.
func TestAreaOfTheDead(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	other := p.NewContext(nil).(*context)
	if _, err := other.Run(g.as, startRegs()); err != nil {
		t.Fatal(err)
	}
	area := g.s.index
	unix.Kill(g.s.TID, unix.SIGKILL)
	if _, err := g.Run(g.as, g.regs); err == nil {
		t.Fatal("it lives")
	}
	if time.Sleep(10 * time.Millisecond); p.free(area) {
		t.Error("the area is free while it is still mapped")
	}
	other.Leave()
}

// TestAreasOfSome has a guest with several threads released, and its process taken by a guest that has the same mapped: of the threads' areas only one
// is mapped then, and the others are free.
func TestAreasOfSome(t *testing.T) {
	p := testPlatform(t)
	p.pool.LeaveFor = time.Minute
	const id = 5
	g := newGuest(t, p, callCode...)
	g.as.Release()
	g.begin(t, p, id)
	var others [3]*context
	areas := map[int]bool{}
	for i := range others {
		others[i] = p.NewContext(nil).(*context)
		if _, err := others[i].Run(g.as, startRegs()); err != nil {
			t.Fatal(err)
		}
		areas[others[i].s.index] = true
	}
	for _, c := range others {
		c.Release()
	}
	g.as.Lock()
	pid := g.as.Process().PID()
	g.as.Unlock()
	g.as.Release()
	g.begin(t, p, id)
	g.call(t)
	if g.s.proc.PID() != pid {
		t.Fatal("another process was taken")
	}
	if left := areasIn(t, pid); len(left) != 1 || left[0] != g.s.base() {
		t.Errorf("areas are mapped at %#x, want %#x", left, g.s.base())
	}
	if delete(areas, g.s.index); len(areas) != 2 {
		t.Errorf("area %d is used", g.s.index)
	}
	for i := range areas {
		if !p.free(i) {
			t.Errorf("area %d is not free", i)
		}
	}
}

// areasIn is where areas of threads are mapped in a process.
func areasIn(t *testing.T, pid int) (at []uint64) {
	t.Helper()
	maps, err := os.ReadFile("/proc/" + itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var a uint64
		fmt.Sscanf(line, "%x-", &a)
		if a >= areasAt && a < areasAt+maxSeats*areaSize && !slices.Contains(at, a&^(areaSize-1)) {
			at = append(at, a&^(areaSize-1))
		}
	}
	return at
}

// TestAreaOfNobody has the host refuse to map all of a thread's area: what it has mapped is unmapped before another guest gets it.
func TestAreaOfNobody(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	pid := g.s.proc.PID()
	statm, err := os.ReadFile("/proc/" + itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	var mapped uint64
	fmt.Sscan(string(statm), &mapped)
	limit := unix.Rlimit{Cur: (mapped + 1) * pageSize, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &limit, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := p.spawn(g.s.proc); err == nil {
		t.Fatalf("%+v", s)
	}
	if left := areasIn(t, pid); len(left) != 1 || left[0] != g.s.base() {
		t.Errorf("areas are mapped at %#x, want %#x", left, g.s.base())
	}
}
